"""From a JSON object to a request: what is unknown, not served here, or of a wrong type is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sglang.srt.errors import did_you_mean, shown
from sglang.srt.server.body import unserved_field
from sglang.srt.server.openai.aliases import with_own_names
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.requests import NOT_HERE, GenerationRequest

R = TypeVar("R", bound=GenerationRequest)

Path = tuple[int | str, ...]

MAX_STEP = 80
"""Characters of a field's name that an error shows."""


def parse(kind: type[R], body: dict[str, Any]) -> R:
    """null means "not given"; only what was given is in ``model_fields_set``. Raises FieldError."""
    body = with_own_names(body)
    unserved = unserved_field(body, kind.not_here)
    if unserved is not None:
        instead = f"; use {kind.instead[unserved]}" if unserved in kind.instead else " yet"
        raise FieldError(f"{unserved}={shown(body[unserved])} is not supported here{instead}", unserved)
    for name in body:
        if name not in kind.model_fields and name not in kind.not_here:
            hint = did_you_mean(name, kind.model_fields, "fields")
            raise FieldError(f"unknown field {shown(name)}; {hint}", name[:MAX_STEP])
    given = {name: value for name, value in body.items() if name in kind.model_fields and value is not None}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _refusal(kind, given, error.errors(include_url=False, include_context=False)) from error


def _refusal(kind: type[R], given: dict[str, Any], complaints: Sequence[ErrorDetails]) -> FieldError:
    """A value that may be of several types gets complaints for each; those that got furthest into it tell."""
    paths = [_path(given, complaint) for complaint in complaints]
    longest = max(paths, key=len)
    same = [complaint for complaint, path in zip(complaints, paths, strict=True) if path == longest]
    name = str(longest[0])
    # Of a list for a field of several types, two items may each be wrong for the type that the other is right for.
    is_mixed = len({path for path in paths if len(path) == len(longest)}) > 1 and same[0]["loc"][1] != longest[1]
    if len(longest) > 1 and not is_mixed:
        param = name + "".join(f"[{step}]" if isinstance(step, int) else f".{step[:MAX_STEP]}" for step in longest[1:])
        return FieldError(_nested(param, same), param)
    found = shown(given[name]) if name in given else "missing"
    return FieldError(f"{name} must be {kind.model_fields[name].description}, not {found}", name)


def _path(given: dict[str, Any], complaint: ErrorDetails) -> Path:
    """The way to the value; the complaint's own also names, where a value may be of several types, the one tried."""
    path: list[int | str] = []
    value: Any = given
    for step in complaint["loc"]:
        is_step = step in value if isinstance(value, dict) else isinstance(value, list) and isinstance(step, int)
        if is_step:
            value = value[step]
        if is_step or (complaint["type"] == "missing" and step == complaint["loc"][-1]):
            path.append(step)
    return tuple(path)


def _nested(param: str, complaints: Sequence[ErrorDetails]) -> str:
    first = complaints[0]
    if first["type"] == "missing":
        return f"{param} is missing"
    if first["type"] == "extra_forbidden":
        return f"unknown field {param}"
    if first["type"] == NOT_HERE:
        return f"{param} {first['msg']}"
    expected = dict.fromkeys(map(_expected, complaints))
    return f"{param} must be {' or '.join(expected)}, not {shown(first['input'])}"


def _expected(complaint: ErrorDetails) -> str:
    return "an object" if complaint["type"] == "model_type" else complaint["msg"].removeprefix("Input should be ")
