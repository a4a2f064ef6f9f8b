"""Shapes, the short way to write a JSON Schema: a dict of what an object has.

``{"name": {"type": "string"}, "tags": [{"type": "string"}]}`` is an object that has exactly these two properties; a
list of one schema or shape is an array of that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sglang.srt.errors import did_you_mean, shown

TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")

_TYPES_ELSEWHERE = {"int": "integer", "float": "number", "double": "number", "str": "string", "text": "string",
                    "bool": "boolean", "list": "array", "dict": "object", "none": "null"}  # fmt: skip

_ONE_SCHEMA = frozenset(("not", "if", "then", "else", "contains", "propertyNames", "additionalItems", "items",
                         "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "allOf", "anyOf", "oneOf",
                         "prefixItems"))  # fmt: skip
"""Keywords before a schema, or a list of them."""

_SCHEMAS_BY_NAME = frozenset(("$defs", "definitions", "properties", "patternProperties", "dependentSchemas"))

_ANYTHING = (object,)
_SCHEMA = (Mapping, bool)
_BOUND = (int, float)
_KEYWORDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("$ref", "$dynamicRef", "$schema", "$id", "$anchor", "format", "pattern"), (str,)),
    **dict.fromkeys(("title", "description", "$comment", "contentEncoding", "contentMediaType"), (str,)),
    **dict.fromkeys(("enum", "required", "allOf", "anyOf", "oneOf", "prefixItems", "examples"), (list, tuple)),
    **dict.fromkeys(("$defs", "definitions", "properties", "patternProperties"), (Mapping,)),
    **dict.fromkeys(("dependentSchemas", "dependentRequired", "dependencies"), (Mapping,)),
    **dict.fromkeys(("not", "if", "then", "else", "contains", "propertyNames", "additionalItems"), _SCHEMA),
    **dict.fromkeys(("additionalProperties", "unevaluatedItems", "unevaluatedProperties"), _SCHEMA),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), _BOUND),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains"), _BOUND),
    **dict.fromkeys(("minProperties", "maxProperties"), _BOUND),
    **dict.fromkeys(("uniqueItems", "nullable", "deprecated", "readOnly", "writeOnly"), (bool,)),
    "type": (str, list, tuple),
    "items": (Mapping, bool, list, tuple),
    "const": _ANYTHING,
    "default": _ANYTHING,
}
"""The keywords of JSON Schema, and what they stand before. A property may be called ``title``: it has a schema then."""


def is_schema(given: Mapping[str, Any]) -> bool:
    """Whether it is a JSON Schema as it stands, which one keyword is enough for. The empty one is."""
    return not given or any(isinstance(value, _KEYWORDS.get(name, ())) for name, value in given.items())


def as_schema(given: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON Schema as it is, and of a shape the schema. Raises ValueError for what is neither."""
    if is_schema(given):
        return dict(given)
    properties = {name: _item(name, value) for name, value in given.items()}
    return {"type": "object", "properties": properties, "required": list(given), "additionalProperties": False}


def schema_text(schema: Mapping[str, Any]) -> str:
    """Its JSON. Raises ValueError for a value that JSON cannot hold, or an unknown name of a type."""
    check_types(schema)
    try:
        return json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a JSON Schema must be plain JSON: {error}, in {shown(schema)}") from None


def check_types(schema: object) -> None:
    """Raises ValueError for a type that JSON Schema does not have, wherever in the schema it stands."""
    waiting = [schema]
    while waiting:
        current = waiting.pop()
        if not isinstance(current, Mapping):
            continue
        named = current.get("type", ())
        for name in [named] if isinstance(named, str) else named if isinstance(named, (list, tuple)) else ():
            if isinstance(name, str) and name not in TYPES:
                raise ValueError(f"JSON Schema has no type {name!r}; {_meant_type(name)}")
        waiting += _subschemas(current)


def _subschemas(schema: Mapping[str, Any]) -> Iterator[Any]:
    for keyword, value in schema.items():
        if keyword in _ONE_SCHEMA:
            yield from value if isinstance(value, (list, tuple)) else [value]
        elif keyword in _SCHEMAS_BY_NAME and isinstance(value, Mapping):
            yield from value.values()


def _meant_type(name: str) -> str:
    meant = _TYPES_ELSEWHERE.get(name.lower())
    return f"did you mean {meant!r}?" if meant else did_you_mean(name, TYPES, "types")


def _item(name: Any, value: Any) -> dict[str, Any] | bool:
    match value:
        case Mapping():
            return as_schema(value)
        case bool():
            return value
        case [item]:
            return {"type": "array", "items": _item(name, item)}
    raise ValueError(
        f"{shown(name)} is no keyword of JSON Schema, so it must be the name of a property, with a schema such as "
        f'{{"type": "string"}} or a list of one, not {shown(value)}'
    )
