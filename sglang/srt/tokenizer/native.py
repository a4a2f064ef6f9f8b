"""The published shape of results: what ``/generate`` and ``Engine.generate`` give back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sglang.srt.tokenizer.call import NativeInput
from sglang.srt.tokenizer.completion import Completion

Result = dict[str, Any]


def shape_results(given: NativeInput, completions: Sequence[Completion]) -> Result | list[Result]:
    """One result for one prompt with one sample, otherwise a list in the order of the sequences' numbers."""
    results = [completion.to_native() for completion in completions]
    return results if _is_list(given, completions[0]) else results[0]


def shape_chunk(given: NativeInput, completion: Completion) -> Result:
    """A sequence as far as it has come; with its number where the call has several."""
    chunk = completion.to_native()
    return {**chunk, "index": completion.index} if _is_list(given, completion) else chunk


def _is_list(given: NativeInput, completion: Completion) -> bool:
    return given.is_batch or completion.request.params.n > 1
