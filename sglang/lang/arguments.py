"""What a user says about sampling, checked where it is said: types, and one constraint at most.

Ranges are the backend's to judge, which knows the model.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, get_args

from sglang.lang.gen_options import LogprobsMode
from sglang.lang.ir import CONSTRAINTS, SamplingArguments
from sglang.lang.typed.shapes import as_schema, check_types, schema_text
from sglang.lang.typed.text_form import TextForm, bare_form, json_form
from sglang.srt.errors import shown

SHORT_NAMES = {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens"}
"""The names that `gen` has for what the native API calls otherwise."""

OF_ONE_GENERATION = (*CONSTRAINTS, "whitespace_pattern", "separate_reasoning")

RUN_ARGUMENTS = tuple(name for name in SamplingArguments.__struct_fields__ if name not in OF_ONE_GENERATION)
"""What may be said for all of a program's generations at once."""

RUN_DEFAULTS = SamplingArguments(
    temperature=1.0, top_p=1.0, top_k=-1, min_p=0.0, frequency_penalty=0.0, presence_penalty=0.0
)
"""What holds where neither `gen` nor `run` says anything. How much is generated is left to the backend."""

DTYPE_REGEXES = {
    "int": r"[-+]?[0-9]+[ \n]*",
    "float": r"[-+]?[0-9]*\.?[0-9]+[ \n]*",
    "bool": r"(True|False)",
    "str": r"\"[\w\d\s]*\"",
}
DTYPE_STOPS = {"int": (" ", "\n"), "float": (" ", "\n")}


def sampling_arguments(given: Mapping[str, Any]) -> SamplingArguments:
    """Those that are not None. Raises TypeError or ValueError, naming the argument; re.error for a bad regex."""
    parsed = {}
    for name, value in given.items():
        if value is not None:
            parsed[SHORT_NAMES.get(name, name)] = _parse(name, value)
    return SamplingArguments(**parsed)


def generation_arguments(given: Mapping[str, Any], constraint: Mapping[str, str]) -> SamplingArguments:
    """Of one `gen`, with its constraint under the name that backends have for it. Raises like `sampling_arguments`;
    ValueError for a `whitespace_pattern` where the text is no JSON.
    """
    sampling = sampling_arguments({**given, **constraint})
    may_have_json = sampling.json_schema or sampling.structural_tag or sampling.ebnf
    if sampling.whitespace_pattern is not None and may_have_json is None:
        raise ValueError(
            "whitespace_pattern says what stands between the tokens of JSON, so it needs json_schema, schema, or a "
            "type that is written as JSON, or a structural_tag"
        )
    return sampling


def run_sampling(given: Mapping[str, Any]) -> SamplingArguments:
    """What holds for a run where `gen` does not say. Raises like `sampling_arguments`."""
    return sampling_arguments(given).over(RUN_DEFAULTS)


def only_one(given: Mapping[str, Any]) -> dict[str, Any]:
    """The constraint that is given, under its name, or nothing. A dtype beside a regex wins, with a warning.

    Raises ValueError if there are several.
    """
    wanted = {name: value for name, value in given.items() if value is not None}
    if "dtype" in wanted and wanted.pop("regex", None) is not None:
        warnings.warn("gen has both dtype and regex; dtype wins", stacklevel=3)
    if len(wanted) > 1:
        raise ValueError(f"only one constraint can hold, but gen has {' and '.join(wanted)}")
    return wanted


def form_of(wanted: Mapping[str, Any]) -> TextForm[Any] | None:
    """What the text is to be a value of, where a type is asked for. Raises TypeError and ValueError."""
    match wanted:
        case {"type": of}:
            return bare_form(of)
        case {"schema": of}:
            return json_form(of)
    return None


def constraint(wanted: Mapping[str, Any]) -> dict[str, str]:
    """The constraint under the name that backends have for it. A dtype stands for its regex.

    A dict or a pydantic class, as `regex` or as `json_schema`, is a JSON schema. Raises like `sampling_arguments`.
    """
    match wanted:
        case {"dtype": dtype}:
            return {"regex": DTYPE_REGEXES[dtype_name(dtype)]}
        case {"regex": schema} if says_what_json(schema):
            return {"json_schema": json_schema_text(schema)}
    return {name: _parse(name, value) for name, value in wanted.items()}


def dtype_name(dtype: Any) -> str:
    name = dtype.__name__ if isinstance(dtype, type) else dtype
    if name not in DTYPE_REGEXES:
        raise ValueError(f"dtype must be int, float, str or bool, not {shown(dtype)}")
    return str(name)


def variable_name(name: Any) -> str | None:
    if name is None or isinstance(name, str):
        return name
    raise TypeError(f"name must be a string, not {shown(name)}")


def choice_texts(choices: Any) -> tuple[str, ...]:
    texts = _parse("choices", choices)
    if not texts:
        raise ValueError("choices must have at least one text")
    return tuple(texts)


def check_distinct(choices: Sequence[str]) -> None:
    """Raises ValueError if one is given twice."""
    for choice, count in Counter(choices).items():
        if count > 1:
            raise ValueError(f"the choice {shown(choice)} is given {count} times; for exact all must differ")


def _parse(name: str, value: Any) -> Any:
    try:
        return _PARSERS[name](value)
    except TypeError as error:
        raise TypeError(f"{name} must be {error}, not {shown(value)}") from None


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError("an integer")
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError("a number")
    return float(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError("True or False")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise TypeError("a string")


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise TypeError("a list of strings")


def _text_or_texts(value: Any) -> tuple[str, ...]:
    try:
        return (value,) if isinstance(value, str) else _texts(value)
    except TypeError:
        raise TypeError("a string or a list of strings") from None


def _integers(value: Any) -> tuple[int, ...]:
    try:
        return tuple(map(_integer, value))
    except TypeError:
        raise TypeError("a list of integers") from None


def _regex(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a string, a JSON schema or a pydantic class")
    _check_regex("regex", value)
    return _some_text(value)


def _whitespace_pattern(value: Any) -> str:
    _check_regex("whitespace_pattern", _text(value))
    return str(value)


def _stop_regexes(value: Any) -> tuple[str, ...]:
    patterns = _text_or_texts(value)
    for pattern in patterns:
        _check_regex("stop_regex", pattern)
    return patterns


def _check_regex(name: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise re.error(f"{name} {shown(pattern)} is wrong: {error.msg}", pattern, error.pos) from None


def _reasoning(value: Any) -> str | None:
    """How thoughts are marked, where they are to be told apart."""
    if isinstance(value, bool):
        return "auto" if value else None
    if isinstance(value, str) and value:
        return value
    raise TypeError("True, False or the name of a reasoning parser")


def _some_text(value: Any) -> str:
    """An empty constraint is a mistake, and no constraint at all to some servers."""
    if not _text(value):
        raise ValueError("a constraint must not be empty; leave it out for free text")
    return str(value)


def says_what_json(value: Any) -> bool:
    """Whether it can be a ``json_schema`` that is no text."""
    return isinstance(value, Mapping) or hasattr(value, "model_json_schema")


def json_schema_text(value: Any) -> str:
    """Raises TypeError and ValueError. A dict may be a shape."""
    if isinstance(value, str):
        schema = _loaded("json_schema", value)
        if not isinstance(schema, (dict, bool)):
            raise ValueError(f"json_schema must be the text of a JSON object, not {shown(value)}")
        check_types(schema)
        return value
    if not says_what_json(value):
        raise TypeError("JSON text, a dict or a pydantic class (for another type use schema=)")
    return schema_text(as_schema(value) if isinstance(value, Mapping) else value.model_json_schema())


def _structural_tag(value: Any) -> str:
    tag = _loaded("structural_tag", value) if isinstance(value, str) else value
    if not isinstance(tag, Mapping):
        raise TypeError("a dict with format, or with structures and triggers, or its JSON")
    return value if isinstance(value, str) else _written("structural_tag", tag)


def _written(name: str, value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be written as JSON: {error}: {shown(value)}") from error


def _loaded(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name} is not JSON: {error}: {shown(text)}") from error


def _logprobs_mode(value: Any) -> str:
    modes = get_args(LogprobsMode)
    if value not in modes:
        raise ValueError(f"logprobs_mode must be {' or '.join(map(repr, modes))}, not {shown(value)}")
    return str(value)


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "max_tokens": _integer,
    "min_tokens": _integer,
    "max_new_tokens": _integer,
    "min_new_tokens": _integer,
    "n": _integer,
    "stop": _text_or_texts,
    "stop_token_ids": _integers,
    "stop_regex": _stop_regexes,
    "temperature": _number,
    "top_p": _number,
    "top_k": _integer,
    "min_p": _number,
    "frequency_penalty": _number,
    "presence_penalty": _number,
    "repetition_penalty": _number,
    "ignore_eos": _boolean,
    "sampling_seed": _integer,
    "return_logprob": _boolean,
    "logprob_start_len": _integer,
    "top_logprobs_num": _integer,
    "return_text_in_logprobs": _boolean,
    "logprobs_mode": _logprobs_mode,
    "regex": _regex,
    "ebnf": _some_text,
    "json_schema": json_schema_text,
    "whitespace_pattern": _whitespace_pattern,
    "structural_tag": _structural_tag,
    "choices": _texts,
    "separate_reasoning": _reasoning,
}
