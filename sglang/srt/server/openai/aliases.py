"""Constraints under the names that clients of other servers send: vLLM's, old and new, and llama.cpp's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sglang.srt.errors import did_you_mean, shown
from sglang.srt.sampling_params import CONSTRAINTS, WHITESPACE
from sglang.srt.server.openai.errors import FieldError

FIELDS = {
    "guided_json": "json_schema",
    "guided_regex": "regex",
    "guided_choice": "choices",
    "guided_grammar": "ebnf",
    "guided_structural_tag": "structural_tag",
    "guided_whitespace_pattern": WHITESPACE,
    "grammar": "ebnf",
}
STRUCTURED_OUTPUTS = "structured_outputs"
STRUCTURED_FIELDS = {
    "json": "json_schema",
    "regex": "regex",
    "choice": "choices",
    "grammar": "ebnf",
    "structural_tag": "structural_tag",
    "whitespace_pattern": WHITESPACE,
}
JSON_OBJECT = "json_object"

_Alias = tuple[str, str, Any]
"""Their name, ours, and the value."""


def known_names() -> list[str]:
    """The names that clients of other servers may use."""
    return [*FIELDS, STRUCTURED_OUTPUTS]


def with_own_names(body: dict[str, Any]) -> dict[str, Any]:
    """The body with our names instead of theirs; the values are judged under ours. null means "not given".

    Raises FieldError for two names of constraints or of one field, and for what else ``structured_outputs`` has.
    """
    found = [*_aliased(body), *_structured(body.get(STRUCTURED_OUTPUTS))]
    rest = {name: value for name, value in body.items() if name not in FIELDS and name != STRUCTURED_OUTPUTS}
    return {**rest, **_only(found, rest, CONSTRAINTS), **_only(found, rest, (WHITESPACE,))}


def _only(found: Sequence[_Alias], rest: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Of our `names` the one that is found, with its value; it must be the only one that is given."""
    alike = [one for one in found if one[1] in names]
    if not alike:
        return {}
    theirs, own, value = alike[0]
    others = [name for name, _, _ in alike[1:]] + [name for name in names if rest.get(name) is not None]
    if others:
        raise FieldError(f"only one of {theirs} and {others[0]} can be set", others[0])
    return {own: value}


def _aliased(body: dict[str, Any]) -> Iterator[_Alias]:
    for theirs, own in FIELDS.items():
        if body.get(theirs) is not None:
            yield theirs, own, body[theirs]


def _structured(wanted: Any) -> Iterator[_Alias]:
    if wanted is None:
        return
    if not isinstance(wanted, dict):
        raise FieldError(f"{STRUCTURED_OUTPUTS} must be an object, not {shown(wanted)}", STRUCTURED_OUTPUTS)
    if all(value is None for value in wanted.values()):
        raise FieldError(f"{STRUCTURED_OUTPUTS} must have one of {', '.join(STRUCTURED_FIELDS)}", STRUCTURED_OUTPUTS)
    for name, value in wanted.items():
        path = f"{STRUCTURED_OUTPUTS}.{name}"
        if name in STRUCTURED_FIELDS and value is not None:
            yield path, STRUCTURED_FIELDS[name], value
        elif name == JSON_OBJECT and value is True:
            yield path, "json_schema", {"type": "object"}
        elif name not in (*STRUCTURED_FIELDS, JSON_OBJECT) and value not in (None, False):
            hint = did_you_mean(name, [*STRUCTURED_FIELDS, JSON_OBJECT], "fields")
            raise FieldError(f"{path} is not supported; {hint}", path)
