"""JSON Schema: what is enforced is enforced, what cannot be is refused by name, nothing is ignored."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from sglang.srt.errors import InvalidRequestError
from tests.grammar.texts import accepts, grammar_of

PERSON = {
    "title": "Person",
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "default": 3, "examples": [{"not": 1}]}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {"type": "object", "properties": {"left": {"$ref": "#/$defs/node"}}, "additionalProperties": False}
    },
    "$ref": "#/$defs/node",
}

TABLE: list[tuple[Any, list[str], list[str]]] = [
    # schema, accepted, rejected
    ({"type": "object"}, ["{}", '{"a":1}', '{"a":{"b":[1,null,"é"]}}'], ["[]", "1", "", "{ }", '{"a": 1}', '{"a":1,}']),
    ({}, ["1", "{}", "[]", "null", '"a"', "true", "-1.5e3"], ["a", "[1, 2]", "01", " 1"]),
    (True, ["1"], [""]),
    (
        PERSON,
        ['{"name":"A","age":1}'],
        ['{"age":1,"name":"A"}', '{"name":"A"}', '{"name":"A","age":1,"x":1}', '{"name":1,"age":1}'],
    ),
    ({**PERSON, "required": []}, ["{}", '{"age":1}', '{"name":"","age":1}'], ['{"age":1,"name":"A"}']),
    (TREE, ["{}", '{"left":{"left":{}}}'], ['{"left":1}', '{"x":{}}']),
    ({"type": ["integer", "null"]}, ["1", "null"], ["1.5", '"a"']),
    ({"enum": [1, 'a/é"\n', None, [1]]}, ["1", '"a/é\\"\\n"', "null", "[1]"], ["2"]),
    ({"const": {"b": 1, "a": 2}}, ['{"b":1,"a":2}'], ['{"a":2,"b":1}']),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"éé€"'], ['"a"', '"abcd"']),
    ({"type": "string", "pattern": "^a+$", "maxLength": 3}, ['"aaa"'], ['"aaaa"', '"b"']),
    ({"type": "string", "pattern": "b"}, ['"abc"'], ['"a"']),
    ({"type": "string", "format": "date"}, ['"2024-01-31"'], ['"2024-13-31"', '"x"']),
    ({"type": "integer", "minimum": 5, "maximum": 12}, ["5", "12"], ["4", "13", "5.0"]),
    ({"type": "number", "exclusiveMinimum": 3}, ["3.1", "4"], ["3", "3.0"]),
    ({"type": "integer", "multipleOf": 7}, ["14", "0"], ["15"]),
    ({"minimum": 5}, ["5", '"a"', "null"], ["4"]),
    (
        {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
        ["[1]", "[1,2]"],
        ["[]", "[1,2,3]", '["a"]'],
    ),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, ["[]", "[1]"], ["[1,2]"]),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}], "minimum": 3}, ["3", "null"], ["2"]),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, ["1", '"a"'], ["null"]),
    ({"allOf": [{"type": "integer"}, {"minimum": 5}]}, ["5"], ["4"]),
    # An object has the properties that are named, unless the schema says more of others, or is laid over another one.
    ({"properties": {"a": {"type": "integer"}}}, ['{"a":1}', "7"], ['{"a":"x"}', '{"a":1,"a":"x"}', '{"b":1}']),
    ({"properties": {"a": {}}, "additionalProperties": True}, ['{"a":1}', '{"b":"x"}'], ["{"]),
    ({"allOf": [{"properties": {"a": {}}}, {"required": ["b"]}], "type": "object"}, ['{"a":1,"b":2}'], ["{}"]),
    ({"$ref": "#/$defs/b", "properties": {"a": {}}, "$defs": {"b": {"required": ["b"]}}}, ['{"a":1,"b":2}'], ["{}"]),
    ({"required": ["b"], "properties": {"a": {}}, "type": "object"}, ['{"a":1,"b":2}', '{"b":2}'], ["{}", '{"a":1}']),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, ['{"a":1}'], ['{"a":"b"}']),
    ({"type": "object", "patternProperties": {"^a": {"type": "integer"}}}, ['{"ab":1,"b":"x"}'], ['{"ab":"x"}']),
    ({"type": "object", "minProperties": 1}, ['{"a":1}'], ["{}"]),
    (
        {"type": "null", "x-origin": "somewhere", "$schema": "https://json-schema.org/draft/2020-12/schema"},
        ["null"],
        ["1"],
    ),
    (
        {"properties": {"not": {"type": "integer"}, "nullable": False}, "type": "object"},
        ['{"not":1}'],
        ['{"not":"a"}', '{"nullable":1}'],
    ),
]


@pytest.mark.parametrize(("schema", "accepted", "rejected"), TABLE, ids=[str(row[0])[:40] for row in TABLE])
def test_table(schema: Any, accepted: list[str], rejected: list[str]) -> None:
    grammar = grammar_of("json_schema", json.dumps(schema))
    assert [text for text in accepted if not accepts(grammar, text)] == []
    assert [text for text in rejected if accepts(grammar, text)] == []
    for text in accepted:
        jsonschema.validate(json.loads(text), schema)


def chained(length: int) -> dict[str, Any]:
    """A schema of `length` references, each to the next."""
    links = {f"a{i}": {"type": "array", "items": {"$ref": f"#/$defs/a{i + 1}"}} for i in range(1, length)}
    return {"$ref": "#/$defs/a1", "$defs": {**links, f"a{length}": {"type": "null"}}}


CANNOT = "which cannot be enforced"
REFUSED: list[tuple[Any, str]] = [
    *(
        (
            {"type": "object", "properties": {"a": {keyword: value}}},
            f"json_schema has '{keyword}' at #/properties/a, {CANNOT}",
        )
        for keyword, value in {
            "not": {},
            "if": {},
            "then": {},
            "else": {},
            "contains": {},
            "minContains": 1,
            "uniqueItems": True,
            "propertyNames": {},
            "dependentRequired": {},
            "dependentSchemas": {},
            "dependencies": {},
            "unevaluatedProperties": False,
            "$dynamicRef": "#a",
            "nullable": True,
            "contentEncoding": "base64",
        }.items()
    ),
    ({"typ": "object"}, "json_schema has 'typ' at #, which is no keyword of JSON Schema"),
    ({"itinerary": [{"type": "string"}]}, "json_schema has 'itinerary' at #, which is no keyword of JSON Schema"),
    ({"anyOf": [{}, {"foo": 1}]}, "json_schema has 'foo' at #/anyOf/1, which is no keyword of JSON Schema"),
    ({"$defs": {"a": {"foo": 1}}}, "json_schema has 'foo' at #/$defs/a, which is no keyword"),
    ({"items": {"x-guidance": {}}}, "json_schema has 'x-guidance' at #/items, which is no keyword"),
    (
        {"type": "object", "minProperties": 2},
        f"json_schema has minProperties=2 at #, {CANNOT} beyond the required ones",
    ),
    ({"items": 3}, "json_schema has no schema at #/items, but 3"),
    ({"type": "thing"}, "json_schema cannot be used: Invalid type: thing"),
    ({"type": "string", "format": "foo"}, "json_schema cannot be used: Unknown format: foo"),
    ({"type": "string", "pattern": "(?=a)b"}, "json_schema cannot be used: regex parse error"),
    (
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        "json_schema cannot be used: oneOf constraints are not supported",
    ),
    ({"$ref": "http://example.com/x"}, "json_schema cannot be used: Resource 'http://example.com/x' is not present"),
    ({"$ref": "#"}, "json_schema cannot be used: nothing matches it"),
    ({"type": "integer", "minimum": 5, "maximum": 2}, "json_schema cannot be used: Unsatisfiable schema"),
    (chained(2000), "json_schema has 2000 different references between schemas of up to 2 levels"),
    ({"type": "integer", "multipleOf": 99_999_989}, "json_schema has multipleOf [99999989]: "),
    (
        {"type": "integer", "allOf": [{"multipleOf": 997}, {"multipleOf": 991}]},
        "json_schema has multipleOf [991, 997]: without decimal point and zeros at the end a number that is a "
        "multiple of all would be 988027; at most 20000 is supported",
    ),
    ({"enum": []}, "json_schema cannot be used: Unsatisfiable schema"),
    (False, "json_schema cannot be used: Unsatisfiable schema"),
    ("{", "json_schema is not JSON: "),
    ("[]", "json_schema has no schema at #, but []"),
    ('"x"', "json_schema has no schema at #, but 'x'"),
    ("null", "json_schema has no schema at #, but None"),
    ('{"items":' * 49 + "{}" + "}" * 49, "json_schema is nested more than 48 levels deep"),
    ("[" * 100_000, "json_schema is nested more than 48 levels deep"),
    ('{"const":"' + "x" * 10_000_000 + '"}', "json_schema has 10000012 bytes; a constraint has at most 262144"),
]


@pytest.mark.parametrize(("schema", "message"), REFUSED, ids=[str(row[0])[:40] for row in REFUSED])
def test_refused(schema: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        grammar_of("json_schema", schema if isinstance(schema, str) else json.dumps(schema))
    assert str(caught.value).startswith(message) and len(str(caught.value)) < 1000


def test_limits_leave_what_people_write() -> None:
    grammar_of("json_schema", chained(160))
    for multiple in (0.01, 1e-6, 0.25, 7, 86_400, 1_000_000_000):
        grammar_of("json_schema", {"type": "number", "multipleOf": multiple})


def test_the_schema_cannot_change_how_it_is_read() -> None:
    with pytest.raises(InvalidRequestError, match="'x-guidance' at #"):
        grammar_of("json_schema", json.dumps({"x-guidance": {"lenient": True}, "type": "null"}))


@pytest.mark.parametrize(
    ("choices", "accepted", "rejected"),
    [
        (["a"], ["a"], ["", "aa"]),
        (["a", "ab", "b.c", "a"], ["a", "ab", "b.c"], ["", "bxc", "abc"]),
        (["é\n/\"\\x", "😀", "(|)*"], ["é\n/\"\\x", "😀", "(|)*"], ["é", "("]),
        ([f"number {i}" for i in range(2000)], ["number 0", "number 1999"], ["number 2000", "number "]),
    ],
)  # fmt: skip
def test_choices(choices: list[str], accepted: list[str], rejected: list[str]) -> None:
    grammar = grammar_of("choices", choices)
    assert all(accepts(grammar, text) for text in accepted)
    assert not any(accepts(grammar, text) for text in rejected)


def test_too_many_choices() -> None:
    with pytest.raises(InvalidRequestError, match=r"^choices has 270000 bytes; a constraint has at most 262144$"):
        grammar_of("choices", [f"{i:023}" for i in range(10_000)])
