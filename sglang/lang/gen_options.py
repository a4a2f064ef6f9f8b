"""How `gen` generates, beside what it is of, for type checkers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from typing_extensions import TypedDict

Constraint: TypeAlias = "str | dict[str, Any] | type[Any]"
"""Text in the language of the constraint; a dict and a pydantic class are a JSON schema."""

LogprobsMode: TypeAlias = Literal["raw_logprobs", "processed_logprobs"]
"""Of which distribution the log-probabilities are: the model's own, or the one that tokens are drawn from."""


class GenOptions(TypedDict, total=False):
    """What `gen` takes by name beside its name, length and constraint. None: as `run` was told."""

    min_tokens: int | None
    n: int | None
    stop: str | Sequence[str] | None
    stop_token_ids: Sequence[int] | None
    stop_regex: str | Sequence[str] | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repetition_penalty: float | None
    ignore_eos: bool | None
    sampling_seed: int | None
    return_logprob: bool | None
    logprob_start_len: int | None
    top_logprobs_num: int | None
    return_text_in_logprobs: bool | None
    logprobs_mode: LogprobsMode | None
    separate_reasoning: bool | str | None


class JsonOptions(GenOptions, total=False):
    """What `gen` takes by name beside a type, which may be written as JSON."""

    whitespace_pattern: str | None
