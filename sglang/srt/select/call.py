"""What ``/select`` and ``/score_choices`` take, checked and of the right types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sglang.srt.errors import InvalidRequestError, did_you_mean, shown
from sglang.srt.tokenizer.call import GenerateCall, NativeInput

MAX_CHOICES = 4096
MAX_CHOICE_CHARACTERS = 1_000_000
"""Of one request, over all its choices."""

MAX_SELECT_ROWS = 65_536

DEFAULT_UNEXPLORED_MASS = 0.001
DEFAULT_SELECT_ROWS = 256

_PROMPT_FIELDS = ("text", "input_ids", "segments", "rid", "cache_salt", "extra_key")
_SAMPLING_FIELDS = ("temperature", "sampling_seed")
_SEARCH_FIELDS = ("max_unexplored_mass", "max_rows")

SELECT_FIELDS = (*_PROMPT_FIELDS, "choices", *_SAMPLING_FIELDS, *_SEARCH_FIELDS)
SCORE_FIELDS = (*_PROMPT_FIELDS, "choices", "unconditional")


@dataclass(frozen=True)
class SelectCall:
    """Which of `choices`, that all differ, comes after a prompt?

    sampling: the sampling parameters as given. max_unexplored_mass: the share of the probability that may be left
    unexplored. max_rows: how many tokens may be computed beside the usual spelling of every choice.
    """

    prompt: GenerateCall
    choices: Sequence[str]
    sampling: Mapping[str, Any]
    max_unexplored_mass: float = DEFAULT_UNEXPLORED_MASS
    max_rows: int = DEFAULT_SELECT_ROWS

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> SelectCall:
        """Raises InvalidRequestError naming what is unknown, missing or wrong. null means "not given"."""
        fields = _known(given, SELECT_FIELDS)
        choices = _choices(fields.get("choices"))
        for choice, count in Counter(choices).items():
            if count > 1:
                raise InvalidRequestError(f"the choice {shown(choice)} is given {count} times; all must differ")
        search = {name: fields[name] for name in _SEARCH_FIELDS if name in fields}
        call = cls(
            _prompt(fields), choices, {name: fields[name] for name in _SAMPLING_FIELDS if name in fields}, **search
        )
        mass, rows = call.max_unexplored_mass, call.max_rows
        if not isinstance(mass, (int, float)) or isinstance(mass, bool) or not 0 <= mass <= 1:
            raise InvalidRequestError(f"max_unexplored_mass must be a number from 0 to 1, not {shown(mass)}")
        if not isinstance(rows, int) or isinstance(rows, bool) or not 0 <= rows <= MAX_SELECT_ROWS:
            raise InvalidRequestError(f"max_rows must be a whole number from 0 to {MAX_SELECT_ROWS}, not {shown(rows)}")
        return call


@dataclass(frozen=True)
class ScoreCall:
    """How likely are the tokens of each of `choices` after a prompt? unconditional: and how likely on their own?"""

    prompt: GenerateCall
    choices: Sequence[str]
    unconditional: bool = False

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> ScoreCall:
        """As `SelectCall.parse`."""
        fields = _known(given, SCORE_FIELDS)
        unconditional = fields.get("unconditional", False)
        if not isinstance(unconditional, bool):
            raise InvalidRequestError(f"unconditional must be true or false, not {shown(unconditional)}")
        return cls(_prompt(fields), _choices(fields.get("choices")), unconditional)


def _known(given: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    for name in given:
        if name not in names:
            raise InvalidRequestError(f"unknown field {shown(name)}; {did_you_mean(name, names, 'fields')}")
    return {name: value for name, value in given.items() if value is not None}


def _prompt(fields: Mapping[str, Any]) -> GenerateCall:
    given = NativeInput(**{name: fields[name] for name in _PROMPT_FIELDS if name in fields})
    if given.is_batch:
        raise InvalidRequestError("one prompt is taken here, not a list of them; send a request for each")
    return given.calls[0]


def _choices(given: object) -> list[str]:
    if not isinstance(given, (list, tuple)) or not given:
        raise InvalidRequestError(f"choices must be a non-empty list of texts, not {shown(given)}")
    if len(given) > MAX_CHOICES:
        raise InvalidRequestError(f"up to {MAX_CHOICES} choices are supported, not {len(given)}")
    for choice in given:
        if not isinstance(choice, str):
            raise InvalidRequestError(f"choices must be texts, but {shown(choice)} is none")
        if not choice:
            raise InvalidRequestError("the choice '' cannot be scored: a choice must not be empty")
    size = sum(map(len, given))
    if size > MAX_CHOICE_CHARACTERS:
        raise InvalidRequestError(f"choices may have up to {MAX_CHOICE_CHARACTERS} characters in all, not {size}")
    return list(given)
