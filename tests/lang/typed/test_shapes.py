"""What is a JSON Schema as it stands, and what is short for one."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest

from sglang.lang.typed.shapes import as_schema

STRING = {"type": "string"}


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("shape", "schema"),
    [
        ({"itinerary_items": [STRING]}, closed(itinerary_items={"type": "array", "items": STRING})),
        ({"name": STRING, "age": {"type": "integer"}}, closed(name=STRING, age={"type": "integer"})),
        ({"user": {"name": STRING}}, closed(user=closed(name=STRING))),
        ({"users": [{"name": STRING}]}, closed(users={"type": "array", "items": closed(name=STRING)})),
        ({"rows": [[STRING]]}, closed(rows={"type": "array", "items": {"type": "array", "items": STRING}})),
        ({"title": STRING, "pattern": STRING}, closed(title=STRING, pattern=STRING)),
        ({"anything": {}, "more": True}, closed(anything={}, more=True)),
    ],
)
def test_shapes(shape: dict[str, Any], schema: dict[str, Any]) -> None:
    assert as_schema(shape) == schema
    jsonschema.Draft202012Validator.check_schema(as_schema(shape))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        STRING,
        {"type": ["string", "null"]},
        {"properties": {"name": STRING}},
        {"enum": ["a"]},
        {"const": {"a": 1}},
        {"$ref": "#/$defs/A", "$defs": {"A": STRING}},
        {"anyOf": [STRING]},
        {"items": STRING},
        {"additionalProperties": False},
        {"title": "a name only"},
        {"minimum": 0},
        {"x-own": 1, "type": "integer"},
    ],
)
def test_schemas_stay_as_they_are(schema: dict[str, Any]) -> None:
    assert as_schema(schema) == schema


@pytest.mark.parametrize(
    "wrong", [{"name": "string"}, {"name": None}, {"name": []}, {"name": [STRING, STRING]}, {"name": str}]
)
def test_what_is_neither_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=re.escape("'name' is no keyword of JSON Schema, so it must be the name of a")):
        as_schema(wrong)
    with pytest.raises(ValueError, match="'name' is no keyword"):
        as_schema({"users": [wrong]})
