"""What one call may ask for: more would hold up everyone else for seconds only by being read."""

from __future__ import annotations

from collections.abc import Sequence

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.tokenizer.call import GenerateCall

MAX_SEQUENCES = 32_768
MAX_PROMPT_TOKENS = 16_777_216
"""Of one call, over all its prompts and samples."""

MAX_TOP_LOGPROBS = 1024
MAX_TOP_ENTRIES = 1_000_000
"""Alternatives per token, and per sequence."""

MAX_GRAMMAR_CHARACTERS = 33_554_432
"""Of one call: every sequence carries its own grammar to the engine."""


def check_size(prompts: Sequence[Sequence[int]], n: int) -> None:
    check_number(prompts, n)
    if (num_tokens := sum(map(len, prompts)) * n) > MAX_PROMPT_TOKENS:
        raise InvalidRequestError(f"{num_tokens} prompt tokens (n={n}) are more than {MAX_PROMPT_TOKENS} in one call")


def check_number(prompts: Sequence[object], n: int) -> None:
    if len(prompts) * n > MAX_SEQUENCES:
        raise InvalidRequestError(f"{len(prompts)} prompts x n={n} are more than {MAX_SEQUENCES} sequences in one call")


def check_grammars(grammars: Sequence[str | None], n: int) -> None:
    size = sum(len(grammar) for grammar in grammars if grammar is not None) * n
    if size > MAX_GRAMMAR_CHARACTERS:
        raise InvalidRequestError(
            f"the constraints of one call come to {size} characters over its {len(grammars)} prompts x n={n}; "
            f"at most {MAX_GRAMMAR_CHARACTERS} are supported"
        )


def top_logprobs_num(call: GenerateCall, num_rows: int) -> int:
    asked = call.top_logprobs_num
    if not 0 <= asked <= MAX_TOP_LOGPROBS:
        raise InvalidRequestError(f"top_logprobs_num must be 0 to {MAX_TOP_LOGPROBS}, not {shown(asked)}")
    if asked and not call.return_logprob:
        raise InvalidRequestError(f"top_logprobs_num={asked} needs return_logprob=true")
    if asked * num_rows > MAX_TOP_ENTRIES:
        raise InvalidRequestError(
            f"top_logprobs_num={asked} for {num_rows} tokens is more than {MAX_TOP_ENTRIES} entries; "
            f"at most {MAX_TOP_ENTRIES // num_rows} fit, or fewer tokens"
        )
    return asked


def logprob_start(call: GenerateCall, num_prompt: int) -> int | None:
    start = call.logprob_start_len
    if not -1 <= start <= num_prompt:
        raise InvalidRequestError(
            f"logprob_start_len must be -1 (none) to {num_prompt} (the prompt), not {shown(start)}"
        )
    if start >= 0 and not call.return_logprob:
        raise InvalidRequestError(f"logprob_start_len={start} needs return_logprob=true")
    return None if start in (-1, num_prompt) else start
