"""From a JSON object to a request: what is unknown, not served here, or of a wrong type is refused by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sglang.srt.errors import did_you_mean, shown
from sglang.srt.server.body import Body, unserved_field
from sglang.srt.server.openai.aliases import known_names, with_own_names
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.requests import NOT_HERE, GenerationRequest
from sglang.srt.server.openai.sampling import REQUEST_NAMES

R = TypeVar("R", bound=GenerationRequest)

Path = tuple[int | str, ...]

MAX_STEP = 80
"""Characters of a field's name that an error shows."""

_EXPECTED = {
    "model_type": "an object",
    "string_pattern_mismatch": "a string that matches {pattern!r}",
    "too_short": "a list of {min_length} or more",
}
"""By the type of a complaint, what was expected; the messages of other types say so after "Input should be"."""


def parse(kind: type[R], body: dict[str, Any]) -> R:
    """null means "not given"; only what was given is in ``model_fields_set``. Raises FieldError."""
    body = with_own_names(body)
    unserved = unserved_field(body, kind.not_here)
    if unserved is not None:
        instead = f"; use {kind.instead[unserved]}" if unserved in kind.instead else " yet"
        raise FieldError(f"{unserved}={shown(body[unserved])} is not supported here{instead}", unserved)
    for name in body:
        if name not in kind.model_fields and name not in kind.not_here:
            raise FieldError(f"unknown field {shown(name)}; {_hint(name, kind)}", name[:MAX_STEP])
    given = {name: value for name, value in body.items() if name in kind.model_fields and value is not None}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _refusal(kind, given, error.errors(include_url=False)) from error


def _hint(name: str, kind: type[GenerationRequest]) -> str:
    if name == "extra_body":
        return "that is how clients call what they add to the body: put its fields beside the others"
    own = REQUEST_NAMES.get(name)
    if own in kind.model_fields:
        return f"did you mean {own!r}?"
    return did_you_mean(name, [*kind.model_fields, *known_names()], "fields")


def _refusal(kind: type[R], given: dict[str, Any], complaints: Sequence[ErrorDetails]) -> FieldError:
    """A value that may be of several types gets complaints for each; those that got furthest into it tell."""
    paths = [_path(given, complaint) for complaint in complaints]
    longest = max(paths, key=len)
    same = [complaint for complaint, path in zip(complaints, paths, strict=True) if path == longest]
    name = str(longest[0])
    as_far = {path for path in paths if len(path) == len(longest)}
    # Of a list for a field of several types, two items may each be wrong for the type that the other is right for.
    if len(longest) > 1 and (len(as_far) == 1 or same[0]["loc"][1] == longest[1]):
        param = name + "".join(f"[{step}]" if isinstance(step, int) else f".{step[:MAX_STEP]}" for step in longest[1:])
        return FieldError(_nested(kind, param, same), param)
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


def _nested(kind: type[Body], param: str, complaints: Sequence[ErrorDetails]) -> str:
    first = complaints[0]
    if first["type"] == "missing":
        return f"{param} is missing"
    if first["type"] == "extra_forbidden":
        *way, name = first["loc"]
        return f"unknown field {param}; {did_you_mean(name, _field_names(kind, way), 'fields')}"
    if first["type"] == NOT_HERE:
        return f"{param} {first['msg']}"
    expected = dict.fromkeys(map(_expected, complaints))
    return f"{param} must be {' or '.join(expected)}, not {shown(first['input'])}"


def _expected(complaint: ErrorDetails) -> str:
    if complaint["type"] in _EXPECTED:
        return _EXPECTED[complaint["type"]].format_map(complaint.get("ctx", {}))
    return complaint["msg"].removeprefix("Input should be ")


def _field_names(kind: type[Body], way: Sequence[int | str]) -> list[str]:
    """Of the objects that a complaint's way leads to: its steps are fields, places, and the types that were tried."""
    bodies = [kind]
    for step in way:
        tried = [body for body in bodies if body.__name__ == step]
        fields = [field for body in bodies for name, field in body.model_fields.items() if name == step]
        inner = [body for field in fields for body in _bodies(field.annotation)]
        bodies = tried or inner or bodies
    return [field.alias or name for body in bodies for name, field in body.model_fields.items()]


def _bodies(annotation: Any) -> Iterator[type[Body]]:
    if isinstance(annotation, type) and issubclass(annotation, Body):
        yield annotation
    for part in get_args(annotation):
        yield from _bodies(part)
