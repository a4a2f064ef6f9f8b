"""Prompts of segments: what was generated goes back as it is, and is found in the cache."""

from __future__ import annotations

from typing import Any

import pytest

import sglang as sgl

GREEDY = {"temperature": 0.0, "max_new_tokens": 12}
PROMPT = "The capital of France is"


@pytest.fixture(autouse=True)
def _cold(engine: sgl.Engine) -> None:
    engine.flush_cache()


def test_text_alone_is_a_prompt(engine: sgl.Engine) -> None:
    plain = engine.generate(PROMPT, GREEDY)
    result = engine.generate(segments=["The capital", " of France is"], sampling_params=GREEDY)
    assert result["text"] == plain["text"]
    assert result["segments"] == [result["output_ids"]] and "segments" not in plain


def test_going_on_computes_only_what_is_new(engine: sgl.Engine) -> None:
    first = engine.generate(segments=[PROMPT], sampling_params=GREEDY)
    question = "\nThe capital of Italy is"
    second = engine.generate(segments=[PROMPT, *first["segments"], question], sampling_params=GREEDY)
    meta = second["meta_info"]
    assert meta["prompt_tokens"] == len(engine.tokenizer.encode(PROMPT)) + 12 + len(engine.tokenizer.encode(question))
    # The last generated token was never computed; all before it were.
    assert meta["cached_tokens"] == len(engine.tokenizer.encode(PROMPT)) + 11


def test_what_a_stop_string_cuts_is_text_again(engine: sgl.Engine) -> None:
    whole = engine.generate(PROMPT, GREEDY)
    stop = whole["text"][7:10]  # begins inside a token: " Paris.\n\nThe answer is"
    cut = engine.generate(segments=[PROMPT], sampling_params={**GREEDY, "stop": stop})
    assert cut["text"] == whole["text"][: whole["text"].index(stop)]
    assert text_of(engine, cut["segments"]) == cut["text"]


def test_batches_samples_and_streams(engine: sgl.Engine) -> None:
    prompts = [[PROMPT], ["1 2 3 4 5"]]
    alone = [engine.generate(segments=prompt, sampling_params=GREEDY) for prompt in prompts]
    batch = engine.generate(segments=prompts, sampling_params=GREEDY)
    assert [(one["text"], one["segments"]) for one in batch] == [(one["text"], one["segments"]) for one in alone]
    *_, last = engine.generate(segments=prompts[0], sampling_params=GREEDY, stream=True)
    assert (last["text"], last["segments"]) == (alone[0]["text"], alone[0]["segments"])
    samples = engine.generate(segments=prompts[0], sampling_params={"n": 3, "max_new_tokens": 4})
    assert [text_of(engine, one["segments"]) for one in samples] == [one["text"] for one in samples]


def test_nothing_generated(engine: sgl.Engine) -> None:
    result = engine.generate(segments=[PROMPT], sampling_params={"max_new_tokens": 0})
    assert (result["text"], result["segments"]) == ("", [])


def text_of(engine: sgl.Engine, segments: list[Any]) -> str:
    return "".join(piece if isinstance(piece, str) else engine.tokenizer.decode(piece) for piece in segments)
