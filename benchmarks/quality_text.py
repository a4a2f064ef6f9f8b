"""The text on which quality is measured, cut into windows of token ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics
from typing import Any

import numpy as np

from sglang.srt.errors import ConfigurationError
from sglang.srt.executor.step import IntArray
from sglang.srt.tokenizer.tokenizer import Tokenizer

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
"""Public data sets beside the checkout, where there are any."""


@dataclass(frozen=True, slots=True)
class Text:
    name: str
    content: str


def default_text() -> Text:
    """Questions of MT-bench, then questions and answers of GSM8K; where those are absent Python's language reference,
    which every Python brings.
    """
    mt_bench, gsm8k = SHARED_DATA / "mt-bench" / "question.jsonl", SHARED_DATA / "gsm8k" / "test.jsonl"
    if not (mt_bench.exists() and gsm8k.exists()):
        return Text("Python's language reference (pydoc_data.topics)", "\n\n".join(topics.topics.values()))
    questions = ["\n".join(entry["turns"]) for entry in _json_lines(mt_bench)]
    answers = [f"{entry['question']}\n{_without_calculations(entry['answer'])}" for entry in _json_lines(gsm8k)]
    return Text("MT-bench questions, GSM8K questions and answers", "\n\n".join(questions + answers))


def read_text(path: Path) -> Text:
    """Raises ConfigurationError if there is no such file, or it is no text."""
    try:
        return Text(path.name, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--text must name a file of UTF-8 text: {error}") from error


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())


def _without_calculations(answer: str) -> str:
    """GSM8K's answers have notes for a calculator, such as <<3*4=12>>, which are no ordinary text."""
    return re.sub(r"<<[^>]*>>", "", answer)


def windows_of(text: Text, tokenizer: Tokenizer, num_tokens: int, window: int) -> IntArray:
    """[windows, window + 1]: at least `num_tokens` tokens in windows of `window`, each with the token after it.

    Raises ConfigurationError if these are fewer than two windows, or more than the text has.
    """
    num_windows = -(-num_tokens // window)
    if num_windows < 2:
        raise ConfigurationError(f"{num_tokens} tokens are one window of {window}; an uncertainty needs at least two")
    needed = num_windows * window + 1
    token_ids = np.array(tokenizer.encode(text.content, add_special_tokens=False), np.int64)
    if len(token_ids) < needed:
        raise ConfigurationError(
            f"{num_windows} windows of {window} tokens need {needed} tokens of text, but {text.name} has "
            f"{len(token_ids)}; ask for fewer with --tokens"
        )
    return np.stack([token_ids[begin : begin + window + 1] for begin in range(0, needed - 1, window)])
