"""Sampling arguments on their way to an API that knows some of them: none is dropped that asks for something."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sglang.lang.ir import DEFAULT_MAX_NEW_TOKENS, SamplingArguments
from sglang.srt.errors import UnsupportedError

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "min_new_tokens": (0,),
    "stop": ((), ""),
    "stop_token_ids": ((),),
    "stop_regex": ((),),
    "top_p": (1.0,),
    "top_k": (-1,),
    "min_p": (0.0,),
    "frequency_penalty": (0.0,),
    "presence_penalty": (0.0,),
    "repetition_penalty": (1.0,),
    "ignore_eos": (False,),
    "return_logprob": (False,),
    "logprob_start_len": (-1,),
    "top_logprobs_num": (0,),
    "return_text_in_logprobs": (False, True),
}
"""The values with which an argument asks for nothing by itself. One that is not here always does."""

INSTEAD = {
    "regex": "; these models follow a JSON schema: gen(schema=...)",
    "ebnf": "; these models follow a JSON schema: gen(schema=...)",
    "structural_tag": "; these models follow a JSON schema: gen(schema=...)",
}


def asked_for(sampling: SamplingArguments) -> dict[str, Any]:
    """What asks for something."""
    return {name: value for name, value in sampling.given() if value not in NEUTRAL.get(name, ())}


def refuse_others(asked: Collection[str], taken: Collection[str], api: str) -> None:
    """Raises UnsupportedError for the first that `api` does not take."""
    for name in asked:
        if name not in taken:
            raise UnsupportedError(f"{api} does not support {name}{INSTEAD.get(name, '')}")


def limit(sampling: SamplingArguments) -> int:
    """As with the other backends; APIs have defaults of their own, from 16 to no limit."""
    return DEFAULT_MAX_NEW_TOKENS if sampling.max_new_tokens is None else sampling.max_new_tokens


def stops(sampling: SamplingArguments) -> list[str]:
    stop = sampling.stop or ()
    return [stop] if isinstance(stop, str) else list(stop)


def check_reasoning_is_the_api_s(sampling: SamplingArguments, api: str) -> None:
    """Raises UnsupportedError if the program says how thoughts are marked, where they come apart from the answer."""
    if sampling.separate_reasoning not in (None, "auto"):
        raise UnsupportedError(
            f"{api} tells thoughts and answers apart by itself, so it takes no reasoning parser such as "
            f"{sampling.separate_reasoning!r}: write separate_reasoning=True"
        )
