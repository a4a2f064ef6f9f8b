"""Runners over a checkpoint, and the steps that they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sglang.srt.args import EngineArgs, KvCacheDtype
from sglang.srt.cache.slot_runs import SlotRuns
from sglang.srt.device import HOST, Device
from sglang.srt.executor.model_runner import ModelRunner
from sglang.srt.executor.native_backend import NativeBackend
from sglang.srt.executor.step import SequenceRows, StepInput
from sglang.srt.kernels.native import KernelChoice
from sglang.srt.model.config import load_config

Floats = npt.NDArray[np.float32]
NOTHING = np.empty(0, np.int64)


def native_backend(
    path: Path, level: str, num_threads: int = 1, kv_cache_dtype: KvCacheDtype = "auto"
) -> NativeBackend:
    args = EngineArgs(model_path=str(path), kv_cache_dtype=kv_cache_dtype)
    choice = KernelChoice(level, "a test asks for it")
    return NativeBackend(choice, Device(HOST, num_threads), path, load_config(path), args, None)


@dataclass
class Stream:
    """A sequence whose slots are known in advance, `num_computed` of which hold its keys and values already."""

    token_ids: Sequence[int]
    slots: Sequence[int]
    num_computed: int = 0

    @classmethod
    def at_slots(cls, token_ids: Sequence[int], first_slot: int) -> Stream:
        return cls(token_ids, range(first_slot, first_slot + len(token_ids)))


def step_of(streams: Sequence[tuple[Stream, int]]) -> StepInput:
    """The next so many tokens of some streams."""
    sequences, row = [], 0
    for stream, num_rows in streams:
        slots = np.array(stream.slots[: stream.num_computed + num_rows])
        sequences.append(SequenceRows(row, num_rows, SlotRuns(slots).as_array()))
        row += num_rows
    ranges = [(s, slice(s.num_computed, s.num_computed + n)) for s, n in streams]
    return StepInput(
        token_ids=np.concatenate([np.array(stream.token_ids[part]) for stream, part in ranges]),
        positions=np.concatenate([np.arange(part.start, part.stop) for _, part in ranges]),
        slots=np.concatenate([np.array(stream.slots[part]) for stream, part in ranges]),
        sequences=sequences,
        sample_rows=NOTHING,
        samples=[],
        prompt_logprobs=[],
    )


def compute(runner: ModelRunner[Any], *streams: tuple[Stream, int]) -> list[Floats]:
    """Run one step. Returns the logits of all its rows, by stream: [rows, vocab]."""
    counts = [num_rows for _, num_rows in streams]
    logits = runner.logits(step_of(streams), np.arange(sum(counts)))
    for stream, num_rows in streams:
        stream.num_computed += num_rows
    return np.split(logits, np.cumsum(counts)[:-1])


def compute_all(runner: ModelRunner[Any], token_ids: Sequence[int]) -> Floats:
    """The logits of every token of one sequence, in one step: [tokens, vocab]."""
    return compute(runner, (Stream.at_slots(token_ids, 0), len(token_ids)))[0]
