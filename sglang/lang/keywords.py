"""What to say of a keyword argument that a function of the language does not have."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

NAMES_ELSEWHERE = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "seed": "sampling_seed",
    "logprobs": "return_logprob",
    "top_logprobs": "top_logprobs_num",
    "grammar": "ebnf",
    "guided_grammar": "ebnf",
    "guided_regex": "regex",
    "guided_json": "json_schema",
    "guided_whitespace_pattern": "whitespace_pattern",
    "guided_choice": "choices",
    "response_format": "json_schema",
    "options": "choices",
}
"""Of other APIs, that are too unlike ours to be taken for a misspelling."""


def hinting(function: F) -> F:
    """The function, whose TypeError for an unknown keyword says which one may be meant."""
    parameters = inspect.signature(function).parameters.values()
    known = frozenset(one.name for one in parameters if one.kind is not one.VAR_KEYWORD)
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    if takes_any:
        raise ValueError(f"{function.__name__} takes every keyword, so none is unknown")

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not kwargs.keys() <= known:
            unknown = next(name for name in kwargs if name not in known)
            raise TypeError(f"{function.__name__} has no argument {unknown!r}{_hint(unknown, known)}")
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]  # of the same signature, but for the error


def _hint(unknown: str, known: frozenset[str]) -> str:
    meant = NAMES_ELSEWHERE.get(unknown)
    if meant in known:
        return f"; it is called {meant!r} here"
    close = difflib.get_close_matches(unknown, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(sorted(known))}"
