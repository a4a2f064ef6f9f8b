"""Keywords that JSON Schema does not have: notes are ignored, as it says; what may be meant as a constraint is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.schema import keywords
from sglang.srt.grammar.xml_arguments import is_any_text
from tests.grammar.texts import grammar_of

TEXT = {"type": "string", "maxLength": 3}
PERSON = {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}

NOTES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    # of the whole, of the property "name"
    ({"version": "1.2", "fileMatch": ["*.json"], "$file": "a"}, {}),
    ({}, {"unit": "kg", "category": {"id": 3}, "aliases": ["n"], "env": True}),
    ({}, {"note": "some text", "nots": 3, "Description": "a", "titles": ["a"]}),
    ({"x-order": 1, "x-minLength": 1}, {"ui": {"widget": "textarea", "format": "wide", "type": "textarea"}}),
    ({"title": "Person", "kind": "record"}, {"propertyOrder": 3, "javaType": "java.lang.String", "scope": "a"}),
    ({"_required": ["x"], "_comment": "a"}, {"_maxLength": 1, "_format": "email"}),
    ({"__info": {"$id": "https://example.com/a"}}, {"links": [{"href": "/a"}], "tsEnumNames": ["a"]}),
]


@pytest.mark.parametrize(("of_whole", "of_name"), NOTES, ids=[str(row)[:40] for row in NOTES])
def test_a_note_changes_nothing(of_whole: dict[str, Any], of_name: dict[str, Any]) -> None:
    noted = {**of_whole, **PERSON, "properties": {"name": {**TEXT, **of_name}}}
    assert grammar_of("json_schema", noted) == grammar_of("json_schema", PERSON)


def test_a_note_may_stand_beside_a_description_alone() -> None:
    assert grammar_of("json_schema", {"title": "A", "unit": "kg"}) == grammar_of("json_schema", {})


def test_arguments_between_tags_may_have_notes() -> None:
    assert is_any_text({"type": "string", "unit": "kg"})
    assert not is_any_text({"type": "string", "maxLenght": 3})


def test_thousands_of_notes_are_read_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def is_none(schema: dict[str, Any]) -> bool:
        asked.append(len(schema))
        return False

    monkeypatch.setattr(keywords, "_is_none", is_none)
    grammar_of("json_schema", {"type": "string", **{f"x-{number}": 1 for number in range(3_000)}})
    assert len(asked) < 10


SUSPICIOUS: list[tuple[dict[str, Any], str]] = [
    (
        {"type": "string", "maxLenght": 3},
        "'maxLenght' at #, which is no keyword of JSON Schema; did you mean 'maxLength'?",
    ),
    ({"type": "string", "max_length": 3}, "; did you mean 'maxLength'?"),
    ({"type": "string", "maxlength": "3"}, "; did you mean 'maxLength'?"),
    ({"type": "object", "additional_properties": False}, "; did you mean 'additionalProperties'?"),
    ({"oneof": [TEXT], "title": "a"}, "; did you mean 'oneOf'?"),
    ({"types": ["string"], "title": "a"}, "; did you mean 'type'?"),
    ({"type": "array", "item": TEXT}, "; did you mean 'items'?"),
    ({"type": "array", "itmes": {}}, "; did you mean 'items'?"),
    ({"type": "string", "enums": ["a"]}, "; did you mean 'enum'?"),
    ({"$defs": {"a": TEXT}, "§ref": "#/$defs/a"}, "; did you mean '$ref'?"),
    ({"type": "object", "name": TEXT}, """; if it is a property, it belongs into "properties\""""),
    ({"type": "object", "children": [{"$ref": "#"}]}, """; if it is a property, it belongs into "properties\""""),
    (
        {"name": "person", "strict": True, "schema": PERSON},
        "'name' at #, which is no keyword of JSON Schema, and neither",
    ),
    (
        {"name": "string", "age": "integer"},
        "'name' at #, which is no keyword of JSON Schema, and neither is what stands",
    ),
    (
        {"title": "Person", "name": "string"},
        "'name' at #, which is no keyword of JSON Schema, and neither is what stands",
    ),
    *(
        ({"type": "string", keyword: 3}, f"json_schema has {keyword!r} at #, which cannot be enforced")
        for keyword in (
            "divisibleBy",
            "formatMinimum",
            "range",
            "length",
            "min",
            "bsonType",
            "x-guidance",
            "minValue",
            "nullable ",
        )
    ),
]


@pytest.mark.parametrize(("schema", "message"), SUSPICIOUS, ids=[str(row[0])[:40] for row in SUSPICIOUS])
def test_what_may_be_a_constraint_is_not_ignored(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        grammar_of("json_schema", json.dumps(schema))
    assert message in str(caught.value)
