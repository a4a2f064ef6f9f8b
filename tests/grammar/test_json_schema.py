"""JSON Schema: what is enforced is enforced, what cannot be is refused by name, no constraint is ignored."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.json_schema import open_json_schema_grammar
from sglang.srt.grammar.witness.outputs import Outputs
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
    (
        {"type": "object", "patternProperties": {"^a": {"type": "integer"}, "z$": {}}},
        ["{}", '{"ab":1,"z":"x"}'],
        ['{"ab":"x"}', '{"b":1}'],
    ),
    (
        {"properties": {"b": {}}, "patternProperties": {"^a": {"type": "integer"}}, "type": "object"},
        ['{"b":"x","ab":1}'],
        ['{"c":1}'],
    ),
    ({"type": "object", "patternProperties": {"^a": False}}, ['{"b":1}'], ['{"a":1}']),
    (
        {"patternProperties": {"^a": {}}, "propertyNames": {"maxLength": 2}, "type": "object"},
        ['{"bc":1}'],
        ['{"abc":1}'],
    ),
    ({"patternProperties": {"^a": {}}, "additionalProperties": {"type": "null"}}, ['{"b":null}'], ['{"b":1}']),
    ({"type": "object", "minProperties": 1}, ['{"a":1}'], ["{}"]),
    # No output is as long as these bounds.
    ({"type": "string", "maxLength": 2**32 - 1}, ['"a"', '""'], ["1"]),
    (
        {"type": "array", "items": {"type": "null"}, "maxItems": 2**53 - 1, "minItems": 1},
        ["[null,null]"],
        ["[]", "[1]"],
    ),
    ({"type": "object", "additionalProperties": {"type": "null"}, "maxProperties": 2**31 - 1}, ['{"a":null}'], ["[]"]),
    ({"type": ["string", "null"], "minLength": 2**63}, ["null"], ['"a"']),
    ({"type": "object", "not": {"minProperties": 2**40}}, ['{"a":1}', "{}"], ["1"]),
    # As zod writes them: the format is the name of the pattern.
    ({"type": "string", "format": "starts_with", "pattern": "^ab.*"}, ['"abc"'], ['"ac"']),
    (
        {"type": "string", "format": "includes", "allOf": [{"pattern": "^a"}, {"pattern": "q"}]},
        ['"abq"'],
        ['"ab"', '"q"'],
    ),
    ({"not": {"format": "hex", "pattern": "^[0-9a-f]*$"}, "type": "string"}, ['"x"'], ['"a"', '""']),
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
        for keyword, value in {"$recursiveRef": "#", "nullable": True, "contentMediaType": "image/png"}.items()
    ),
    ({"typ": "object"}, "json_schema has 'typ' at #, which is no keyword of JSON Schema; did you mean 'type'?"),
    (
        {"items": {"propertys": {}}},
        "json_schema has 'propertys' at #/items, which is no keyword of JSON Schema; did you mean 'properties'?",
    ),
    (
        {"type": "object", "require": ["a"]},
        "json_schema has 'require' at #, which is no keyword of JSON Schema; did you mean 'required'?",
    ),
    (
        {"properties": {"a": {"type": "string", "nullable": True}}},
        """json_schema has 'nullable' at #/properties/a, which cannot be enforced; write "type": ["string", "null"]""",
    ),
    (
        {"anyOf": [{}], "nullable": True},
        """json_schema has 'nullable' at #, which cannot be enforced; write "type": [..., "null"]""",
    ),
    ({"type": "string", "nullable": False}, "json_schema has 'nullable' at #, which cannot be enforced; leave it out"),
    ({"itinerary": [{"type": "string"}]}, "json_schema has 'itinerary' at #, which is no keyword of JSON Schema"),
    ({"anyOf": [{}, {"foo": 1}]}, "json_schema has 'foo' at #/anyOf/1, which is no keyword of JSON Schema"),
    ({"$defs": {"a": {"foo": 1}}}, "json_schema has 'foo' at #/$defs/a, which is no keyword"),
    ({"items": {"x-guidance": {}}}, "json_schema has 'x-guidance' at #/items, which cannot be enforced"),
    (
        {"type": "object", "minProperties": 2},
        f"json_schema has minProperties=2 at #, {CANNOT} beyond the required ones",
    ),
    ({"items": 3}, "json_schema has items 3 at #; it has to be a schema or a list of schemas"),
    ({"required": "a"}, "json_schema has required 'a' at #; it has to be a list of strings"),
    ({"minLength": -1}, "json_schema has minLength -1 at #; it has to be a whole number, 0 or more"),
    (
        {"exclusiveMinimum": True},
        "json_schema has exclusiveMinimum True at #, which is draft-04; it has to be a number",
    ),
    (
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "exclusiveMinimum": True, "minimum": 1},
        "json_schema has exclusiveMinimum True at #, which is draft-04; it has to be a number",
    ),
    (
        {
            "$ref": "#/$defs/a",
            "$defs": {
                "a": {
                    "$schema": "https://json-schema.org/draft/2020-12/schema",
                    "minimum": 1,
                    "exclusiveMinimum": True,
                }
            },
        },
        "json_schema has exclusiveMinimum True at #/$defs/a, which is draft-04; it has to be a number",
    ),
    ({"type": "string", "format": "lowercase"}, "json_schema has format 'lowercase' at #; it has to be one of date, "),
    ({"type": "array", "minItems": 2**31 - 1}, "json_schema cannot be satisfied: nothing is valid at #"),
    ({"contentEncoding": "base32"}, "json_schema has contentEncoding 'base32' at #; it has to be one of base64, "),
    ({"minimum": "1"}, "json_schema has minimum '1' at #; it has to be a number"),
    ({"type": "thing"}, "json_schema has type 'thing' at #; it has to be of null, boolean, "),
    ({"type": "float"}, "json_schema has type 'float' at #; did you mean 'number'?; it has to be of null, boolean, "),
    ({"format": "datetime"}, "json_schema has format 'datetime' at #; did you mean 'date-time'?; it has to be one of"),
    *(
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}, "required": ["a"]},
            "json_schema cannot be satisfied: nothing is valid at #/properties/a",
        )
        for pattern in ("ab^", "a$b", r"^a[^\s\S]$")
    ),
    ({"type": "string", "format": "foo"}, "json_schema has format 'foo' at #; it has to be one of date, "),
    ({"type": "string", "pattern": "(?=a)b"}, "json_schema's pattern at # has a lookaround (position 0), "),
    (
        {"items": {"pattern": "\\Aa"}},
        "json_schema's pattern at #/items has '\\\\A' at position 0, which is not supported",
    ),
    ({"patternProperties": {"(": {}}}, "json_schema's pattern at #/patternProperties is not a regular expression: "),
    ({"$ref": "http://example.com/x"}, "json_schema has $ref 'http://example.com/x' at #, which is not in the schema"),
    (
        {"items": {"$ref": "#/$defs/a"}},
        "json_schema has $ref '#/$defs/a' at #/items, which is not in the schema itself",
    ),
    ({"$schema": "http://example.com/x"}, "json_schema has $schema 'http://example.com/x' at #; only the drafts of "),
    (
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": {"prefixItems": [True], "items": False}},
        "json_schema has 'prefixItems' at #/items, which is no keyword of 'http://json-schema.org/draft-07/schema#'; ",
    ),
    ({"$ref": "#"}, "json_schema at # refers to itself without end"),
    ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "json_schema at # refers to itself without end"),
    # Nothing is valid.
    ({"type": "integer", "minimum": 5, "maximum": 2}, "json_schema cannot be satisfied: nothing is valid at #"),
    ({"enum": []}, "json_schema cannot be satisfied: nothing is valid at #"),
    (False, "json_schema cannot be satisfied: nothing is valid at #"),
    (
        {"type": "object", "properties": {"a": {"type": "null", "not": {"type": "null"}}}, "required": ["a"]},
        "json_schema cannot be satisfied: nothing is valid at #/properties/a",
    ),
    (
        {
            "type": "object",
            "properties": {"p": {"type": "object", "properties": {"a": {"enum": []}}, "required": ["a"]}},
            "required": ["p"],
        },
        "json_schema cannot be satisfied: nothing is valid at #/properties/p/properties/a",
    ),
    (
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        "json_schema cannot be satisfied: nothing is valid at #/properties/next",
    ),
    ({"type": "string", "pattern": "^a+$", "minLength": 1, "not": {"pattern": "a"}}, "json_schema cannot be satisfied"),
    (
        {"$ref": "#/$defs/a", "$defs": {"a": {"minLength": 3, "maxLength": 2, "type": "string"}}},
        "json_schema cannot be satisfied: nothing is valid at #/$defs/a",
    ),
    (
        {
            "type": "object",
            "properties": {"b": {"title": "B", "$ref": "#/$defs/b"}},
            "required": ["b"],
            "$defs": {
                "a": {"type": "string", "format": "hostname", "const": "ab--c.com"},
                "b": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]},
            },
        },
        "json_schema cannot be satisfied: nothing is valid at #/$defs/a",
    ),
    # Not exact.
    (
        {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "contains": {"const": True}},
        f"json_schema has 'uniqueItems' with 'contains' at #, {CANNOT}; "
        "without 'uniqueItems' a list can be had, which may repeat items",
    ),
    (
        {"type": "number", "not": {"multipleOf": 3}},
        f"json_schema has multipleOf negated at #, {CANNOT} but for divisors of powers of ten, and among at most 1000",
    ),
    (
        {"type": "array", "not": {"uniqueItems": True}},
        f"json_schema has 'uniqueItems' at #/not, where it is negated, {CANNOT}",
    ),
    # Too large.
    (chained(2000), "json_schema takes 1999 rules for its arrays and objects; at most 1000 are supported"),
    ({"properties": {f"p{i}": {} for i in range(2001)}}, "json_schema has 2001 properties at #; at most 2000"),
    (
        {"dependentRequired": {f"a{i}": [f"b{i}"] for i in range(20)}},
        "json_schema has 512 alternatives for one value; ",
    ),
    (
        {"contains": {}, "minContains": 500, "maxContains": 600},
        "json_schema counts items at # with more than 400 states",
    ),
    (
        {
            "properties": {f"p{i}": {} for i in range(40)},
            "additionalProperties": False,
            "allOf": [{"not": {"additionalProperties": {"const": i}}} for i in range(40)],
        },
        "json_schema demands at # one of several properties, in more than 4000 combinations",
    ),
    (
        {
            "properties": {f"p{i}": {} for i in range(1000)},
            "additionalProperties": False,
            "allOf": [{"not": {"additionalProperties": {"const": i}}} for i in range(2)],
        },
        "json_schema demands one of several properties too often, here at #: more than 500000 were looked at",
    ),
    ({"prefixItems": [{}] * 61}, "json_schema has 61 different items at # that may be there or not; at most 60"),
    ({"maximum": 10**500}, "json_schema has a number in maximum at # with more than 400 digits"),
    (
        {"$ref": "#/$defs/0", "$defs": {str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(100)}},
        "json_schema has more than 80 levels of schemas and references for one value at #/$defs/79",
    ),
    ({"type": "integer", "multipleOf": 99_999_989}, "json_schema has multipleOf at #: "),
    (
        {"type": "integer", "allOf": [{"multipleOf": 997}, {"multipleOf": 991}]},
        "json_schema has multipleOf at #: the numbers come together to multiples of 988027, counted without decimal "
        "point and zeros at the end; at most 20000 is supported",
    ),
    ("{", "json_schema is not JSON: "),
    ('{"maximum":NaN}', "json_schema is not JSON: NaN is no number of JSON"),
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
    for multiple in (0.01, 1e-6, 0.25, 7, 86_400, 400_000_000):
        assert accepts(grammar_of("json_schema", {"type": "number", "multipleOf": multiple}), "0")


def test_exclusive_bounds_of_openapi() -> None:
    """Without a $schema that says otherwise."""
    grammar = grammar_of("json_schema", {"type": "integer", "minimum": 0, "exclusiveMinimum": True})
    assert accepts(grammar, "1") and not accepts(grammar, "0")


def test_one_of_many_objects_that_name_one_property() -> None:
    """Each kind of object is none of all the others, which each have another property."""
    names = [f"p{i}" for i in range(25)]
    kinds = [{"properties": {name: {}}, "additionalProperties": False, "type": "object"} for name in names]
    grammar = grammar_of("json_schema", {"oneOf": kinds})
    assert all(accepts(grammar, json.dumps({name: 1}, separators=(",", ":"))) for name in names)
    assert not any(accepts(grammar, text) for text in ("{}", '{"p0":1,"p1":1}', '{"p":1}', "1"))


def test_one_of_many_objects_that_share_a_property() -> None:
    names = [f"p{i}" for i in range(12)]
    schema = {
        "oneOf": [
            {"properties": {name: {"type": "integer"}, "name": {"type": "string"}}, "additionalProperties": False}
            for name in names
        ],
        "type": "object",
    }
    grammar = grammar_of("json_schema", schema)
    for value in ({}, {"name": "x"}, {"p3": 1, "name": "x"}, {"p11": 1}, {"p3": 1, "p4": 1}, {"p3": "x"}):
        text = json.dumps(value, separators=(",", ":"))
        assert accepts(grammar, text) == jsonschema.Draft202012Validator(schema).is_valid(value), text


def test_one_of_many_open_objects() -> None:
    """What each of them denies of the others does not multiply."""
    kinds = [
        {"type": "object", "properties": {f"p{i}": {"type": "string"}, "name": {}}, "required": [f"p{i}"]}
        for i in range(40)
    ]
    schema = {"oneOf": kinds}
    grammar, validator = open_json_schema_grammar(json.dumps(schema)), jsonschema.Draft202012Validator(schema)
    for value in ({"p3": "x"}, {"p39": "x", "name": 1}, {"p3": "x", "p4": 1}, {"p3": "x", "p4": "y"}, {"p3": 1}, {}):
        text = json.dumps(value, separators=(",", ":"))
        assert accepts(grammar, text) == validator.is_valid(value), text
    closed = grammar_of("json_schema", schema)
    assert accepts(closed, '{"p39":"x","name":1}') and not accepts(closed, '{"p3":"x","p4":1}')


@pytest.mark.parametrize(
    ("schema", "accepted", "rejected"),
    [
        ({"not": {"required": ["u"], "properties": {"u": {"const": 1}}}}, ["{}", '{"t":1}'], ['{"t":1,"u":2}']),
        (
            {"not": {"required": ["t"], "properties": {"t": {"const": 1}}}},
            ["{}", '{"t":2}'],
            ['{"t":1}'],
        ),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, ['{"t":1,"a":1}', '{"b":1}'], ['{"a":1,"b":1}', "{}"]),
        (
            {"if": {"properties": {"t": {"const": 1}}, "required": ["t"]}, "then": {"required": ["z"]}},
            ['{"t":2}', '{"t":1,"z":2}', "{}"],
            ['{"t":1}', '{"t":2,"z":2}'],
        ),
    ],
)
def test_what_a_property_may_not_be_does_not_bring_it(schema: Any, accepted: list[str], rejected: list[str]) -> None:
    grammar = grammar_of("json_schema", {"type": "object", "properties": {"t": {"type": "integer"}}, **schema})
    assert [text for text in accepted if not accepts(grammar, text)] == []
    assert [text for text in rejected if accepts(grammar, text)] == []


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        ({"not": {"required": ["a"], "properties": {"a": {"const": 1}}}}, [{}, {"a": 1}, {"a": 2}, {"a": 1, "b": 1}]),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, [{}, {"a": 1}, {"b": 2}, {"a": 1, "b": 1}]),
        ({"anyOf": [{"required": ["a"]}, {"properties": {"a": False}}], "minProperties": 1}, [{}, {"a": 1}, {"b": 2}]),
        (
            {"anyOf": [{"required": ["a"]}, {"properties": {"a": False}, "maxProperties": 1}]},
            [{"b": 1, "c": 2}, {"b": 1}],
        ),
        ({"not": {"required": ["a"], "patternProperties": {"^a": {"const": 1}}}}, [{}, {"a": 1}, {"a": 2}, {"ab": 2}]),
    ],
)
def test_ways_that_are_joined_leave_the_same_objects(schema: dict[str, Any], values: list[Any]) -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}, **schema}
    grammar, validator = open_json_schema_grammar(json.dumps(schema)), jsonschema.Draft202012Validator(schema)
    for value in values:
        assert accepts(grammar, json.dumps(value, separators=(",", ":"))) == validator.is_valid(value), value


def test_ways_that_are_joined_are_joined_once() -> None:
    """What has become part of another way has no others as parts of its own. {} was lost that way."""
    lacks_a, lacks_b = ({"not": {"required": [name]}} for name in "ab")
    ways = [{"required": ["a", "b"]}, {"required": ["b"], **lacks_a}, {"allOf": [lacks_a, lacks_b]}]
    schema = {"type": "object", "anyOf": ways}
    grammar, validator = open_json_schema_grammar(json.dumps(schema)), jsonschema.Draft202012Validator(schema)
    for value in ({}, {"a": 1}, {"b": 1}, {"a": 1, "b": 1}):
        assert accepts(grammar, json.dumps(value, separators=(",", ":"))) == validator.is_valid(value), value


def test_ways_with_and_without_a_property_are_one() -> None:
    closed = {"type": "object", "properties": {"a": {}}, "additionalProperties": False}
    ways = {"anyOf": [{"required": ["a"]}, {"not": {"required": ["a"]}}]}
    assert open_json_schema_grammar(json.dumps({**closed, **ways})) == open_json_schema_grammar(json.dumps(closed))


def test_many_alternatives_each_with_one_property_more() -> None:
    """A level of alternatives for each is more than calls can be nested."""
    names = [chr(0x100 + place) for place in range(320)]
    kinds = [{"required": names[:count]} for count in range(1, len(names))]
    source = json.dumps({"type": "object", "anyOf": kinds}, separators=(",", ":"), ensure_ascii=False)
    grammar = grammar_of("json_schema", source)
    for count in (1, 2, 100, 319):
        text = json.dumps(dict.fromkeys(names[:count], 1), separators=(",", ":"), ensure_ascii=False)
        assert accepts(grammar, text) and not accepts(grammar, text.replace(names[0], "x"))


def test_a_grammar_that_the_library_cannot_count_is_refused_in_words() -> None:
    def one_of(names: str) -> dict[str, Any]:
        properties = [{f"{name}{i}": {"type": "null"} for i in range(90)} for name in names]
        return {"oneOf": [{"type": "object", "properties": one, "additionalProperties": False} for one in properties]}

    schema = {"type": "object", "properties": {"a": one_of("pq"), "b": one_of("rs")}}
    with pytest.raises(InvalidRequestError, match="more than 65,000 rules, texts and alternatives"):
        grammar_of("json_schema", schema)


def test_alternatives_are_read_in_one_way_until_they_differ() -> None:
    """However many, an answer that is one of them can be followed, and ended."""
    shared = {f"shared{i}": {"type": "string"} for i in range(4)}
    kinds = [
        {
            "type": "object",
            "properties": {**shared, "kind": {"const": f"k{number % 20}"}, f"p{number // 20}": {}},
            "required": [*shared, "kind", f"p{number // 20}"],
            "additionalProperties": False,
        }
        for number in range(200)
    ]
    grammar = grammar_of("json_schema", {"anyOf": kinds})
    outputs = Outputs(grammar)
    for number in (0, 77, 199):
        value = {**dict.fromkeys(shared, "x"), "kind": f"k{number % 20}", f"p{number // 20}": 1}
        text = json.dumps(value, separators=(",", ":"))
        assert accepts(grammar, text) and not accepts(grammar, text[:-1] + ',"p":1}')
        for length in range(len(text)):
            position = outputs.follow(outputs.start, text[:length].encode())
            assert len(position.stacks) <= 20
            whole = json.loads(text[:length] + outputs.shortest_end(position).decode())
            assert any(jsonschema.Draft202012Validator(one).is_valid(whole) for one in kinds)


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
