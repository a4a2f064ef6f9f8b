"""Greedy tokens without logits: where they are looked for, and that they are those of the logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader

from sglang.srt.executor import highest_tokens
from sglang.srt.executor.highest_tokens import MOST_ROWS
from sglang.srt.executor.model_runner import ModelRunner
from sglang.srt.executor.native_network import NativeNetwork
from sglang.srt.executor.sampler import SampledToken, SamplingRow
from sglang.srt.kernels.native import usable_levels
from sglang.srt.sampling_params import SamplingParams
from tests.helpers.runners import Stream, native_backend, step_of
from tests.helpers.tiny_models import make_tiny_llama, write_gguf

LEVELS = usable_levels()
NUM_SLOTS = 640
GREEDY = SamplingParams(temperature=0.0)
SIZES: dict[str, Any] = {"vocab_size": 900, "hidden_size": 64, "num_hidden_layers": 1}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[list[int] | None]:
    """What networks answered for tokens, in order. Heads of any size are searched."""
    answers: list[list[int] | None] = []
    own = NativeNetwork.highest_tokens

    def record(self: NativeNetwork, rows: Any) -> list[int] | None:
        answers.append(own(self, rows))
        return answers[-1]

    monkeypatch.setattr(NativeNetwork, "highest_tokens", record)
    monkeypatch.setattr(highest_tokens, "LEAST_BYTES", 0)
    return answers


def head_of(tmp_path: Path, kind: Kind = Kind.Q8_0, **sizes: Any) -> Path:
    write_gguf(make_tiny_llama(tmp_path / "hf", **SIZES, **sizes), tmp_path / "model.gguf", kind)
    return tmp_path / "model.gguf"


def draw(runner: ModelRunner[Any], ids: Sequence[Sequence[int]], **row: Any) -> Sequence[SampledToken]:
    """A token after each prompt."""
    streams = [Stream.at_slots(prompt, 40 * number) for number, prompt in enumerate(ids)]
    step = step_of([(stream, len(stream.token_ids)) for stream in streams])
    samples = [SamplingRow(**{"params": GREEDY, "seed": 0, "position": len(prompt), **row}) for prompt in ids]
    last_rows = np.cumsum([len(prompt) for prompt in ids]) - 1
    return runner.execute(dataclasses.replace(step, sample_rows=last_rows, samples=samples)).samples


def prompts(count: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 900, rng.integers(1, 30)).tolist() for _ in range(count)]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("level", [level for level in LEVELS if level != "portable"])
def test_tokens_are_those_of_the_logits(tmp_path: Path, level: str, tied: bool, found: list[list[int] | None]) -> None:
    runner = native_backend(head_of(tmp_path, tie_word_embeddings=tied), level, 2).make_runner(NUM_SLOTS)
    for count in range(1, MOST_ROWS + 3):
        for seed in range(10):
            tokens = draw(runner, prompts(count, seed))
            scored = draw(runner, prompts(count, seed), return_logprob=True)
            assert [token.token_id for token in tokens] == [token.token_id for token in scored]
            assert found.pop() == ([token.token_id for token in scored] if count <= MOST_ROWS else None)
            assert not found  # scores are made of logits, and nobody asks for less


@pytest.mark.parametrize(
    "row",
    [
        {"params": SamplingParams(temperature=1.0)},
        {"params": SamplingParams(temperature=0.0, logit_bias={3: 5.0})},
        {"params": SamplingParams(temperature=0.0, repetition_penalty=1.5)},
        {"params": SamplingParams(temperature=0.0, frequency_penalty=0.5)},
        {"banned_ids": (1,)},
        {"allowed_mask": np.full(29, 0xFFFFFFFF, np.uint32)},
        {"return_logprob": True},
    ],
)
def test_who_wants_more_has_logits(tmp_path: Path, row: dict[str, Any], found: list[list[int] | None]) -> None:
    runner = native_backend(head_of(tmp_path), LEVELS[0]).make_runner(NUM_SLOTS)
    assert draw(runner, prompts(1, 0), **row)[0].error is None
    assert not found


def test_beside_one_who_wants_more_the_token_is_the_same(tmp_path: Path, found: list[list[int] | None]) -> None:
    runner = native_backend(head_of(tmp_path), LEVELS[0]).make_runner(NUM_SLOTS)
    ids = prompts(2, 3)
    searched = draw(runner, ids)
    assert found.pop() == [token.token_id for token in searched]
    others: list[dict[str, Any]] = [{"return_logprob": True}, {"allowed_mask": np.full(29, 0xFFFFFFFF, np.uint32)}]
    for other in others:
        step = step_of([(Stream.at_slots(prompt, 40 * n), len(prompt)) for n, prompt in enumerate(ids)])
        last_rows = np.cumsum([len(prompt) for prompt in ids]) - 1
        samples = [
            SamplingRow(params=GREEDY, seed=0, position=len(prompt), **row)
            for prompt, row in zip(ids, ({}, other), strict=True)
        ]
        tokens = runner.execute(dataclasses.replace(step, sample_rows=last_rows, samples=samples)).samples
        assert [token.token_id for token in tokens] == [token.token_id for token in searched]
        assert not found


def test_a_row_without_a_distribution_is_told_by_its_logits(tmp_path: Path, found: list[list[int] | None]) -> None:
    path = head_of(tmp_path)
    content = bytearray(path.read_bytes())
    (head,) = (tensor for tensor in GGUFReader(path).tensors if tensor.name == "output.weight")
    content[head.data_offset : head.data_offset + 2] = np.array([np.nan], np.float16).tobytes()
    path.write_bytes(content)
    (token,) = draw(native_backend(path, LEVELS[0]).make_runner(NUM_SLOTS), prompts(1, 0))
    assert found == [None] and token.error is not None and "nan" in token.error


@pytest.mark.parametrize("kind", [Kind.F16, Kind.Q4_0])
def test_other_heads_are_not_searched(tmp_path: Path, kind: Kind, found: list[list[int] | None]) -> None:
    draw(native_backend(head_of(tmp_path, kind), LEVELS[0]).make_runner(NUM_SLOTS), prompts(1, 0))
    assert found == [None]


def test_small_heads_are_not_searched(
    tmp_path: Path, found: list[list[int] | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(highest_tokens, "LEAST_BYTES", 1 << 20)
    draw(native_backend(head_of(tmp_path), LEVELS[0]).make_runner(NUM_SLOTS), prompts(1, 0))
    assert found == [None]


def test_the_default_model_says_the_same(default_model_path: Path, found: list[list[int] | None]) -> None:
    backend = native_backend(default_model_path, LEVELS[0], 2)
    searching, computing = backend.make_runner(NUM_SLOTS), backend.make_runner(NUM_SLOTS)
    for prompt in prompts(2, 1):
        ids = list(prompt)
        for _ in range(8):
            (token,) = draw(searching, [ids])
            assert found.pop() == [token.token_id]
            assert [token.token_id] == [scored.token_id for scored in draw(computing, [ids], return_logprob=True)]
            ids.append(token.token_id or 0)
