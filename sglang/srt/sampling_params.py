"""How one request wants its tokens drawn and where it stops: the checked, internal form of ``sampling_params``."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import msgspec

from sglang.srt.errors import InvalidRequestError, did_you_mean, shown

GREEDY_TEMPERATURE = 1e-6
"""Below this temperature the most likely token is taken and nothing is drawn."""

ALL_TOKENS = -1
"""The value of ``top_k`` that keeps every token."""

_MAX_FLOAT = sys.float_info.max
_MAX_INT = 2**63 - 1
_NOT_HERE = ("custom_params", "stream_interval")
"""Of the published API, and not here: null asks for nothing, as in all of its fields."""

_TOKEN_ID = re.compile(r"-?[0-9]{1,18}")


class Constraint(msgspec.Struct, frozen=True):
    """What the whole output has to match.

    text: a regular expression, a grammar, or the JSON of a schema, of a list of texts or of a structural tag.
    whitespace: of the schemas in it, a regular expression of what stands between any two tokens; empty for nothing, and
        None for what the server says.
    """

    kind: Literal["regex", "ebnf", "json_schema", "choices", "structural_tag"]
    text: str
    whitespace: str | None = None


LogprobsMode = Literal["raw_logprobs", "processed_logprobs"]


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """Names and defaults are those of the published ``/generate`` API.

    ``max_new_tokens=None`` means: until the context or the cache is full. A draw is a pure function of
    ``(sampling_seed, position, sample index)``; an unset seed is replaced by a fresh one per request, and reported.
    ``stop`` strings are matched on the bytes of the output, special tokens included, and cut from the text unless
    ``no_stop_trim``. ``repetition_penalty`` looks at prompt and output; ``frequency_penalty`` and
    ``presence_penalty`` at the output only. ``ignore_eos`` ignores ``stop_token_ids`` too.

    ``constraint`` is what was given as ``regex``, ``ebnf``, ``json_schema``, ``choices`` or ``structural_tag``, not yet
    looked into; nor is ``stop_regex``. ``whitespace_pattern`` belongs to the JSON Schemas of the constraint: a regular
    expression of the white space between the tokens of the JSON, of which there is none by default.
    ``spaces_between_special_tokens`` is accepted and has no field: text is made of the exact bytes of the tokens, and
    there is never a space that no token stands for.

    ``logprobs_mode`` says of which distribution the log-probabilities of output tokens are: ``raw_logprobs``, the
    model's own, before anything here; ``processed_logprobs``, the one that the token was drawn from: after bias,
    penalties, constraint, temperature, ``top_k``, ``top_p`` and ``min_p``, adding up to 1. Of a greedy request it is
    the one after bias, penalties and constraint. Those of the prompt are always the model's own.
    """

    max_new_tokens: int | None = 128
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_regex: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    no_stop_trim: bool = False
    skip_special_tokens: bool = True
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = ALL_TOKENS
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    n: int = 1
    sampling_seed: int | None = None
    constraint: Constraint | None = None
    logprobs_mode: LogprobsMode = "raw_logprobs"

    @property
    def is_greedy(self) -> bool:
        return self.temperature < GREEDY_TEMPERATURE or self.top_k == 1

    @property
    def has_penalties(self) -> bool:
        return self.frequency_penalty != 0.0 or self.presence_penalty != 0.0 or self.repetition_penalty != 1.0

    @classmethod
    def parse(cls, given: Mapping[str, Any] | None, defaults: Mapping[str, Any], vocab_size: int) -> SamplingParams:
        """Check what a user gave and fill the rest from `defaults` (already checked), then from the class.

        A value of None for a name other than ``max_new_tokens`` means "not given".
        Raises InvalidRequestError naming the parameter, its value and what is accepted.
        """
        if given is not None and not isinstance(given, Mapping):
            raise InvalidRequestError(f"sampling_params must be an object of names and values, not {_show(given)}")
        values = {}
        for name, value in (given or {}).items():
            if name in _NOT_HERE and value is None:
                continue
            parser = _PARSERS.get(name)
            if parser is None:
                raise InvalidRequestError(_unknown(name, value))
            if value is not None or name == "max_new_tokens":
                values[name] = parser(name, value)
        constraint = _only_constraint(values)
        fields = {name: value for name, value in values.items() if name in cls.__struct_fields__}
        params = cls(**{**defaults, **fields, "constraint": constraint})
        params._check_together(vocab_size)
        return params

    def without_constraint(self) -> SamplingParams:
        """What is left to say to who is given the constraint as a grammar."""
        return self if self.constraint is None else msgspec.structs.replace(self, constraint=None)

    def _check_together(self, vocab_size: int) -> None:
        if self.max_new_tokens is not None and self.min_new_tokens > self.max_new_tokens:
            raise InvalidRequestError(
                f"min_new_tokens={self.min_new_tokens} must not exceed max_new_tokens={self.max_new_tokens}"
            )
        for name, ids in (("stop_token_ids", self.stop_token_ids), ("logit_bias", self.logit_bias)):
            for token_id in ids:
                if not 0 <= token_id < vocab_size:
                    raise InvalidRequestError(f"{name} has token id {token_id}; valid ids are 0 to {vocab_size - 1}")


def sampling_defaults(generation_config: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling parameters a model's ``generation_config`` recommends, checked like a user's own.

    Raises InvalidRequestError if the file holds an impossible value.
    """
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    values = {name: generation_config[name] for name in names if generation_config.get(name) is not None}
    if values.get("top_k") == 0:  # how transformers writes "all"
        del values["top_k"]
    if generation_config.get("do_sample") is False:
        values["temperature"] = 0.0
    return {name: _PARSERS[name](name, value) for name, value in values.items()}


MAX_STOPS, MAX_STOP_LENGTH, MAX_IDS = 64, 1024, 4096
"""Of one request: what is looked at for every token must stay short."""


def _show(value: object) -> str:
    return f"{shown(value)} ({type(value).__name__})"


def _unknown(name: object, value: object) -> str:
    if name in _NOT_HERE:
        return f"{name}={shown(value)} is not supported here yet"
    if name == "seed":
        return "unknown sampling parameter 'seed'; it is called 'sampling_seed' here"
    return f"unknown sampling parameter {_show(name)}; {did_you_mean(name, sorted(_PARSERS), 'parameters')}"


def _number(low: float, high: float, low_open: bool = False) -> Callable[[str, Any], float]:
    bracket = "(" if low_open else "["

    def parse(name: str, value: Any) -> float:
        valid = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not valid or not low <= value <= min(high, _MAX_FLOAT) or (low_open and value == low):
            raise InvalidRequestError(f"{name} must be a number in {bracket}{low:g}, {high:g}], not {_show(value)}")
        return float(value)

    return parse


def _integer(low: int, high: int | None = None) -> Callable[[str, Any], int]:
    accepted = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"

    def parse(name: str, value: Any) -> int:
        if not _is_int(value) or value < low or (high is not None and value > high):
            raise InvalidRequestError(f"{name} must be {accepted}, not {_show(value)}")
        return int(value)

    return parse


def _is_int(value: object) -> bool:
    """Whether `value` is an integer that a message can carry."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_INT


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequestError(f"{name} must be true or false, not {_show(value)}")
    return value


def _max_new_tokens(name: str, value: Any) -> int | None:
    return None if value is None else _integer(0)(name, value)


def _top_k(name: str, value: Any) -> int:
    if not _is_int(value) or (value != ALL_TOKENS and value < 1):
        raise InvalidRequestError(f"{name} must be -1 (all tokens) or at least 1, not {_show(value)}")
    return int(value)


def _stop(name: str, value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, (list, tuple)) or not all(isinstance(stop, str) and stop for stop in stops):
        raise InvalidRequestError(f"{name} must be a non-empty string or a list of them, not {_show(value)}")
    for stop in stops:
        _unicode(name, stop)
    if len(stops) > MAX_STOPS or any(len(stop) > MAX_STOP_LENGTH for stop in stops):
        raise InvalidRequestError(f"{name} may have up to {MAX_STOPS} strings of up to {MAX_STOP_LENGTH} characters")
    return tuple(dict.fromkeys(str(stop) for stop in stops))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidRequestError(f"{name} must be a string, not {_show(value)}")
    return _unicode(name, value)


def _constraint(name: str, value: Any) -> Constraint:
    text = _text(name, value)
    if not text:
        raise InvalidRequestError(f"{name} must not be empty; leave it out for free text")
    return Constraint(name, text)  # type: ignore[arg-type]


def _json_schema(name: str, value: Any) -> Constraint:
    if isinstance(value, str):
        return _constraint(name, value)
    if not isinstance(value, (Mapping, bool)):
        hint = "; of a pydantic class give model_json_schema()" if hasattr(value, "model_json_schema") else ""
        found = f"{_show(value)}{hint}"
        raise InvalidRequestError(f"{name} must be a JSON Schema, as JSON text or as an object, not {found}")
    return Constraint("json_schema", _json(name, value))


def _choices(name: str, value: Any) -> Constraint:
    is_list = isinstance(value, (list, tuple)) and value
    if not is_list or not all(isinstance(choice, str) and choice for choice in value):
        raise InvalidRequestError(f"{name} must be a list of non-empty strings, not {_show(value)}")
    return Constraint("choices", _json(name, [_unicode(name, choice) for choice in value]))


def _json(name: str, value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{name} cannot be written as JSON: {error}: {_show(value)}") from error


def _unicode(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{name} is not valid Unicode text: {_show(text)}") from error
    return str(text)


def _structural_tag(name: str, value: Any) -> Constraint | None:
    if isinstance(value, str):
        return _constraint(name, value)
    if not isinstance(value, Mapping):
        raise InvalidRequestError(
            f"{name} must be an object with format, or with structures and triggers, or its JSON, not {_show(value)}"
        )
    return Constraint("structural_tag", _json(name, value))


CONSTRAINTS = ("regex", "ebnf", "json_schema", "choices", "structural_tag")
WHITESPACE = "whitespace_pattern"


def _only_constraint(values: Mapping[str, Any]) -> Constraint | None:
    names = [name for name in CONSTRAINTS if values.get(name) is not None]
    if len(names) > 1:
        known = f"{', '.join(CONSTRAINTS[:-1])} or {CONSTRAINTS[-1]}"
        raise InvalidRequestError(f"Only one of {known} can be set, not both {names[0]} and {names[1]}")
    constraint: Constraint | None = values[names[0]] if names else None
    if constraint is None:
        if values.get(WHITESPACE):
            raise InvalidRequestError(f"{WHITESPACE} belongs to a json_schema, and there is none")
        return None
    return msgspec.structs.replace(constraint, whitespace=values.get(WHITESPACE))


def _logprobs_mode(name: str, value: Any) -> str:
    modes = get_args(LogprobsMode)
    if value not in modes:
        raise InvalidRequestError(f"{name} must be {' or '.join(modes)}, not {_show(value)}")
    return str(value)


def _token_ids(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or not all(_is_int(token) for token in value):
        raise InvalidRequestError(f"{name} must be a list of token ids, not {_show(value)}")
    if len(value) > MAX_IDS:
        raise InvalidRequestError(f"{name} may have up to {MAX_IDS} token ids, not {len(value)}")
    return tuple(dict.fromkeys(value))


def _logit_bias(name: str, value: Any) -> dict[int, float]:
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"{name} must map token ids to numbers, not {_show(value)}")
    if len(value) > MAX_IDS:
        raise InvalidRequestError(f"{name} may have up to {MAX_IDS} token ids, not {len(value)}")
    bias: dict[int, float] = {}
    for key, amount in value.items():
        if not _is_int(key) and not (isinstance(key, str) and _TOKEN_ID.fullmatch(key)):
            raise InvalidRequestError(f"{name} has key {_show(key)}, which is not a token id")
        token_id = int(key)
        if token_id in bias:
            raise InvalidRequestError(f"{name} names token id {token_id} twice")
        bias[token_id] = _number(-100.0, 100.0)(f"{name}[{key}]", amount)
    return bias


_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "max_new_tokens": _max_new_tokens,
    "min_new_tokens": _integer(0),
    "stop": _stop,
    "stop_regex": _stop,
    "stop_token_ids": _token_ids,
    "ignore_eos": _flag,
    "no_stop_trim": _flag,
    "skip_special_tokens": _flag,
    "spaces_between_special_tokens": _flag,
    "temperature": _number(0.0, math.inf),
    "top_p": _number(0.0, 1.0, low_open=True),
    "top_k": _top_k,
    "min_p": _number(0.0, 1.0),
    "frequency_penalty": _number(-2.0, 2.0),
    "presence_penalty": _number(-2.0, 2.0),
    "repetition_penalty": _number(0.0, 2.0, low_open=True),
    "logit_bias": _logit_bias,
    "logprobs_mode": _logprobs_mode,
    "n": _integer(1, 1024),
    "sampling_seed": _integer(0, _MAX_INT),
    "regex": _constraint,
    "ebnf": _constraint,
    "json_schema": _json_schema,
    "choices": _choices,
    "structural_tag": _structural_tag,
    WHITESPACE: _text,
}
