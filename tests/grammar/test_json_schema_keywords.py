"""JSON Schema, keyword by keyword: what is lowered before it is compiled, as tables of texts."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from benchmarks.json_schema_suite import our_grammar, run_suite
from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.json_schema import open_json_schema_grammar
from sglang.srt.grammar.schema.numbers import decimal_text
from tests.grammar.texts import acceptor, accepts, grammar_of

SUITE = Path(__file__).parents[3] / "shared" / "data" / "json-schema-test-suite" / "tests"
DRAFT_2020 = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
DRAFT_4 = {"$schema": "http://json-schema.org/draft-04/schema#"}
DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#"}

OPEN_TABLE: list[tuple[Any, list[str], list[str]]] = [
    # schema, accepted, rejected; objects are open
    ({"not": {"type": ["object", "array", "string"]}}, ["1", "null", "true"], ["{}", "[]", '""']),
    ({"type": "number", "not": {"type": "integer"}}, ["1.5", "-0.25"], ["1", "1.0", "-3"]),
    ({"type": "integer", "not": {"enum": [1, 2]}}, ["0", "3", "12", "-1"], ["1", "2"]),
    ({"type": "string", "not": {"pattern": "foo"}}, ['"fo o"', '""'], ['"a foo"']),
    ({"type": "string", "not": {"enum": ["a", "b"]}}, ['"ab"', '""'], ['"a"', '"b"', '"\\u0061"']),
    ({"type": "object", "not": {"required": ["a"]}}, ["{}", '{"b":1}'], ['{"a":1}']),
    ({"not": {"properties": {"a": {"type": "string"}}}}, ['{"a":1}', '{"a":1,"b":2}'], ['{"a":"x"}', "{}", "1"]),
    ({"type": "array", "not": {"items": {"type": "integer"}}}, ['["a"]', '[1,"a",2]'], ["[]", "[1,2]"]),
    ({"not": {"const": {"a": [1]}}}, ["{}", '{"a":[2]}', '{"a":[1],"b":1}', "1"], ['{"a":[1]}']),
    ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, ["1", "2.5", '"a"'], ["3", "1.5"]),
    (
        {"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"},
        ['{"a":1}', '{"b":1}'],
        ["{}", '{"a":1,"b":1}'],
    ),
    (
        {
            "if": {"properties": {"k": {"const": 1}}, "required": ["k"]},
            "then": {"required": ["a"]},
            "else": {"maxProperties": 1},
        },
        ['{"k":1,"a":2}', "{}", '{"k":2}', "7"],
        ['{"k":1}', '{"k":2,"a":2}'],
    ),
    ({"dependentRequired": {"a": ["b"]}}, ["{}", '{"b":1}', '{"a":1,"b":1}', "1"], ['{"a":1}', '{"a":1,"c":1}']),
    (
        {"dependencies": {"a": ["b"], "c": {"required": ["d"]}}},
        ['{"a":1,"b":1}', '{"c":1,"d":2}'],
        ['{"a":1}', '{"c":1}'],
    ),
    ({"dependentSchemas": {"a": {"maxProperties": 1}}}, ['{"a":1}', '{"b":1,"c":1}'], ['{"a":1,"b":1}']),
    ({"items": {"enum": ["a", "b", 1]}, "uniqueItems": True}, ["[]", '["b","a"]', '["a",1,"b"]'], ['["a","a"]', "[2]"]),
    (
        {"items": {"enum": [f"v{i}" for i in range(22)]}, "uniqueItems": True, "minItems": 2, "maxItems": 3},
        ['["v0","v21"]', '["v3","v1","v2"]'],
        ['["v1"]', '["v1","v1"]', '["v1","v2","v1"]', '["v1","v2","v3","v4"]'],
    ),
    (
        {"items": {"type": "integer", "minimum": 1, "maximum": 49}, "uniqueItems": True, "maxItems": 2},
        ["[49,1]", "[]"],
        ["[7,7]", "[1,2,3]", "[50]"],
    ),
    ({"items": {"type": "boolean"}, "uniqueItems": True, "minItems": 2}, ["[true,false]"], ["[true]", "[true,true]"]),
    (
        {"uniqueItems": True},
        ['["a",1,{"b":[]},"1"]', "[[1],[1,1]]"],
        ['["a",1,"a"]', "[1,1.0]", '[{"a":1,"b":2},{"b":2,"a":1}]'],
    ),
    (
        {"items": {"enum": list(range(9))}, "uniqueItems": True},
        ["[0,8,1]", "[0,1,2,3,4,5,6,7,8]"],
        ["[3,3]", "[8,0,1,2,3,4,5,6,7,8]"],
    ),
    ({"items": {"enum": list(range(65))}, "uniqueItems": True, "maxItems": 2}, ["[64,6]"], ["[6,6]", "[1,2,3]"]),
    (
        {"items": {"items": {"type": "integer"}, "type": "array", "uniqueItems": True}, "uniqueItems": True},
        ["[[1],[1,2],[2,1],[]]"],
        ["[[1,1]]", "[[1],[2],[1]]", "[[],[]]"],
    ),
    (
        {"type": "object", "properties": {"a": {"items": {"type": "string"}, "uniqueItems": True}, "b": {"items": {}}}},
        ['{"a":["x","y"],"b":[1,1]}', '{"a":["x"],"b":["x"]}'],
        ['{"a":["x","x"]}', '{"a":["x","y","x"],"b":[]}'],
    ),
    (
        {"prefixItems": [{"type": "number"}], "items": {"type": "string"}, "uniqueItems": True},
        ['[1,"1","2"]'],
        ['[1,"1","1"]'],
    ),
    (
        {"anyOf": [{"items": {"type": "string"}, "uniqueItems": True}, {"items": {"const": 0}}]},
        ['["a","b"]'],
        ['["a","a"]'],
    ),
    (
        {"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False, "uniqueItems": True},
        ['["a",1]', "[]"],
        ["[1]"],
    ),
    (
        {**DRAFT_7, "definitions": {"s": {"type": "string"}}, "$ref": "#/definitions/s", "maxLength": 1},
        ['"a"', '"ab"'],
        ["1"],
    ),
    ({"type": "array", "contains": {"type": "integer"}}, ["[1]", '["a",1,"b"]'], ["[]", '["a"]']),
    (
        {"contains": {"const": 1}, "minContains": 2, "maxContains": 3},
        ["[1,1]", "[1,0,1,1]"],
        ["[1]", "[1,1,1,1]", "[]"],
    ),
    ({"contains": {"const": 1}, "minContains": 0}, ["[]", "[2]"], []),
    ({"propertyNames": {"pattern": "^[a-c]+$"}}, ["{}", '{"abc":1}'], ['{"d":1}']),
    ({"propertyNames": {"enum": ["a", "b"]}, "minProperties": 2}, ['{"a":1,"b":1}'], ['{"a":1}', '{"a":1,"a":1}']),
    (
        {
            "patternProperties": {"^a": {"type": "integer"}, "b$": {"minimum": 5}},
            "additionalProperties": {"type": "null"},
        },
        ['{"a":1}', '{"ab":7}', '{"c":null}', '{"b":"x"}'],
        ['{"ab":1}', '{"ab":"x"}', '{"c":1}', '{"b":4}'],
    ),
    (
        {"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}], "unevaluatedProperties": False},
        ["{}", '{"a":1,"b":1}'],
        ['{"c":1}'],
    ),
    (
        {
            "anyOf": [
                {"properties": {"a": {"const": 1}}, "required": ["a"]},
                {"properties": {"b": {}}, "required": ["b"]},
            ],
            "unevaluatedProperties": {"type": "null"},
        },
        ['{"a":1}', '{"a":1,"b":1}', '{"a":null,"b":1}', '{"a":1,"c":null}'],
        ['{"a":2,"b":1}', '{"a":1,"c":1}', "{}"],
    ),
    ({"prefixItems": [{"type": "string"}], "unevaluatedItems": False}, ['["a"]', "[]"], ['["a",1]']),
    ({"contains": {"type": "string"}, "unevaluatedItems": {"type": "null"}}, ['["a",null,"b"]'], ['["a",1]', "[null]"]),
    ({"allOf": [{"enum": [1, 2, "a"]}, {"enum": [2, 3, "a"]}], "not": {"const": "a"}}, ["2"], ["1", "3", '"a"']),
    (
        {"type": "string", "pattern": "^2024", "minLength": 21, "format": "date-time"},
        ['"2024-01-01T00:00:00.5Z"'],
        ['"2024-01-01T00:00:00Z"', '"2023-01-01T00:00:00.5Z"'],
    ),
    (
        {"type": "string", "pattern": "^[ab]*$", "allOf": [{"pattern": "ab"}], "maxLength": 3},
        ['"aab"'],
        ['"aaab"', '"ba"', '"abc"'],
    ),
    ({"type": "string", "pattern": "^a|b$"}, ['"ax"', '"xb"'], ['"xax"']),
    ({"type": "string", "pattern": '^["\\\\\n/]$'}, [r'"\\"', r'"\""', r'"\n"', '"/"'], [r'"\t"', '"a"']),
    (
        {"type": "number", "minimum": -0.5, "exclusiveMaximum": 12.25},
        ["-0.5", "0", "12.2499", "12"],
        ["12.25", "-0.51", "13"],
    ),
    ({"type": "integer", "exclusiveMinimum": 99, "maximum": 1001}, ["100", "999", "1001"], ["99", "1002", "-100"]),
    ({"type": "number", "multipleOf": 0.5, "minimum": 0.6}, ["1", "1.5", "7"], ["0.5", "0.7"]),
    ({"allOf": [{"multipleOf": 4}, {"multipleOf": 6}], "type": "number"}, ["12", "-24"], ["4", "6", "18"]),
    (
        {"type": "object", "minProperties": 1, "maxProperties": 2},
        ['{"a":1}', '{"a":1,"b":2}'],
        ["{}", '{"a":1,"b":2,"c":3}'],
    ),
    ({"type": "string", "contentMediaType": "text/markdown"}, ['"# A"', '""'], ["1"]),
    ({"type": "string", "contentEncoding": "base64"}, ['"aGk="', '""'], ['"aGk"', "1"]),
    ({**DRAFT_4, "minimum": 0, "exclusiveMinimum": True, "type": "integer", "maximum": 9}, ["1", "9"], ["0", "10"]),
    ({**DRAFT_4, "maximum": 2, "exclusiveMaximum": True, "minimum": 1, "exclusiveMinimum": False}, ["1"], ["2"]),
    ({**DRAFT_4, "not": {"minimum": 2, "exclusiveMinimum": True}, "type": "integer"}, ["2", "-1"], ["3"]),
    (
        {
            "$ref": "#/components/schemas/a",
            "components": {"schemas": {"a": {"items": {"$ref": "#/components/schemas/b"}}, "b": {"type": "null"}}},
        },
        ["[null]"],
        ["[1]"],
    ),
    ({"$defs": {"a": {"$anchor": "here", "type": "null"}}, "items": {"$ref": "#here"}}, ["[null]"], ["[1]"]),
    (
        {"$id": "http://x.org/a", "$defs": {"b": {"$id": "b", "type": "null"}}, "items": {"$ref": "b"}},
        ["[null]"],
        ["[1]"],
    ),
    ({"definitions": {"a/b": {"const": 1}}, "items": {"$ref": "#/definitions/a~1b"}}, ["[1]"], ["[2]"]),
    (
        {
            **DRAFT_2020,
            "$id": "http://x.org/ints",
            "$ref": "list",
            "$defs": {
                "item": {"$dynamicAnchor": "item", "type": "integer"},
                "list": {
                    "$id": "list",
                    "items": {"$dynamicRef": "#item"},
                    "$defs": {"any": {"$dynamicAnchor": "item"}},
                },
            },
        },
        ["[1]"],
        ['["a"]'],
    ),
    ({**DRAFT_7, "items": [{"const": 1}], "additionalItems": {"const": 2}}, ["[1,2,2]", "[]"], ["[2]", "[1,3]"]),
    (
        {**DRAFT_7, "definitions": {"a": {"type": "array"}}, "items": {"$ref": "#/definitions/a", "maxItems": 0}},
        ["[[1]]"],
        ["[1]"],
    ),
    ({**DRAFT_7, "components": {"b": {"type": "null"}}, "$ref": "#/components/b"}, ["null"], ["1"]),
    ({"properties": {"p": {**DRAFT_7, "type": "null"}}, "required": ["p"]}, ['{"p":null}'], ['{"p":1}']),
    ({"definitions": {"g": {"b": {"type": "null"}}}, "$ref": "#/definitions/g/b"}, ["null"], ["1"]),
    ({"type": "object", "maxProperties": 10_000}, ["{}", '{"a":1,"b":2}'], ["1"]),
    ({"type": "object", "maxProperties": 2}, ["{}", '{"a":1}', '{"a":1,"b":2}'], ['{"a":1,"b":2,"c":3}']),
    (
        {
            "type": "object",
            "properties": {"a": {"const": 1}},
            "required": ["a"],
            "minProperties": 2,
            "maxProperties": 3,
        },
        ['{"a":1,"b":2}', '{"a":1,"b":2,"c":3}'],
        ['{"a":1}', '{"a":1,"b":2,"c":3,"d":4}'],
    ),
    ({"type": ["array", "null"], "format": "table"}, ["[1]", "null"], ['"a"']),
]


@pytest.mark.parametrize(("schema", "accepted", "rejected"), OPEN_TABLE, ids=[str(row[0])[:50] for row in OPEN_TABLE])
def test_keywords(schema: Any, accepted: list[str], rejected: list[str]) -> None:
    grammar = open_json_schema_grammar(json.dumps(schema))
    assert [text for text in accepted if not accepts(grammar, text)] == []
    assert [text for text in rejected if accepts(grammar, text)] == []
    for text in accepted:
        jsonschema.validate(json.loads(text), schema)


FORMATS = {
    "date": (["2024-02-29", "2000-02-29", "1999-12-31"], ["2023-02-29", "1900-02-29", "2024-1-1", "2024-04-31"]),
    "time": (["12:00:00Z", "23:59:59Z", "01:02:03.5+05:30"], ["12:00:00", "24:00:00Z", "22:59:60Z"]),
    "time-local": (["12:00:00", "01:02:03.5"], ["12:00:00Z", "24:00:00", "23:59:60"]),
    "date-time-local": (["2024-05-06T07:08:09.25"], ["2024-05-06T07:08:09Z", "2024-05-06", "2024-06-30T23:59:60"]),
    "date-time": (["2024-05-06T07:08:09Z"], ["2024-05-06 07:08:09Z", "2024-05-06"]),
    "duration": (["P1Y2M3DT4H5M6S", "PT36H", "P2W"], ["P", "P1D2H", "P1Y2D", "PT0.5S"]),
    "email": (["a.b@example.com"], ["a@", "a..b@example.com", "a b@example.com"]),
    "idn-email": (
        ["a.b@example.com", "δοκιμή@παράδειγμα.δοκιμή", "実例@実例.jp", "я@bücher.de"],
        ["@é", "é@", "é..a@b.c", "a@\u0301.de", "a@b\u0300.de", "a@-é.de", "a@xn--bcher-kva.de", "a@é．de", "a@É.de"],
    ),
    "hostname": (["www.example.com", "a--b.com"], ["-a.com", "a_b", "ab--c.com", "a" * 64, ".".join(["a" * 60] * 5)]),
    "ipv4": (["127.0.0.1"], ["127.0.0.256", "1.2.3", "01.2.3.4"]),
    "ipv6": (["::1", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4", "1::"], [":::", "1:2:3:4:5:6:7", "1::2::3", "12345::"]),
    "uuid": (["2eb8aa08-aa98-11ea-b4aa-73b441d16380"], ["2eb8aa08aa9811eab4aa73b441d16380"]),
    "uuid4": (
        ["2eb8aa08-aa98-41ea-b4aa-73b441d16380", "2EB8AA08-AA98-41EA-84AA-73B441D16380"],
        ["2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8aa08-aa98-41ea-c4aa-73b441d16380"],
    ),
    "uuid7": (["01890a5d-ac96-774b-bcce-b302099a8057"], ["01890a5d-ac96-474b-bcce-b302099a8057"]),
    "ipvanyaddress": (["127.0.0.1", "::1"], ["127.0.0.256", ":::", "::1/8"]),
    "ipv4interface": (["10.0.0.1/8", "10.0.0.1"], ["10.0.0.1/33", "10.0.0.1/08", "::1/8"]),
    "regex": (
        ["", "^a{3,5}$", "([abc])+\\s+$", "(?:a|b)*?[^a-z]\\.", "é", "((a)+|b)?", "a{12,}"],
        ["(", "^(abc]", "a**", "a{5,3}", "[b-a]", "\\Z", "(?<=a)b", "*", "a)"],
    ),
    "cidrv4": (["10.0.0.0/8", "0.0.0.0/0", "1.2.3.4/32"], ["10.0.0.0", "10.0.0.0/33"]),
    "cidrv6": (["::/0", "2001:db8::/128"], ["::", "::/129", "1.2.3.4/8"]),
    "e164": (["+4915112345678"], ["4915112345678", "+0915112345678", "+1234567890123456", "+"]),
    "ulid": (["01ARZ3NDEKTSV4RRFFQ69G5FAV"], ["81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FA", "U" * 26]),
    "uri": (["http://a.b/c?d#e", "urn:x:y"], ["a/b", "http://a b", "//a"]),
    "uri-reference": (["a/b", "//a", "#x", "http://a"], ["a b", "\\\\x"]),
    "iri": (["http://ü.de/ä"], ["ä", "http://a b"]),
    "uri-template": (["http://a/{b}{?c*,d:3}"], ["http://a/{b", "{}"]),
    "json-pointer": (["", "/a~1b/0"], ["a", "/~2"]),
    "relative-json-pointer": (["0", "1/a", "2#"], ["-1", "01", "#"]),
    "byte": (["", "aGk=", "aA==", "+/+/"], ["a", "aGk", "aGl=", "aB==", "-_-_", "aGk=aGk=", "aG k"]),
    "base64": (["", "aGk=", "aA=="], ["a", "aGk", "-_-_"]),
    "base64url": (["", "aGk=", "aGk", "aA", "-_-_"], ["a", "aGl", "aB==", "+/+/", "aA="]),
    "char": (["a", "ü", "\n", '"'], ["", "ab"]),
    "decimal": (["0", "-12.50", "100000000000000000000"], ["", "1.", ".5", "1e5", "+1", "007", "1,5"]),
    "url": (["https://example.com", "http://a.bc:80/d?e#f", "ftp://localhost/"], ["mailto:a@b.cd", "http://", "a/b"]),
    "ipvanyinterface": (["1.2.3.4", "1.2.3.4/8", "::1/128"], ["1.2.3.4/33", "1.2.3"]),
    "ipvanynetwork": (["1.0.0.0/8", "1.2.3.4/32", "2001:db8::/32", "::1"], ["1.2.3.4/8", "1.2.3.0/33"]),
    "host-name": (["example.com"], ["-a", "a..b"]),
    "media-range": (
        ["*/*", "text/*", "image/svg+xml", "text/html;level=1", "text/plain; charset=utf-8;format=flowed"],
        ["text", "text/", "/html", "text/html;level", "text/html, */*", "te xt/a", "a/b/c", "text/html; q=é"],
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str) -> None:
    grammar = grammar_of("json_schema", {"type": "string", "format": name})
    accepted, rejected = FORMATS[name]
    assert [text for text in accepted if not accepts(grammar, json.dumps(text, ensure_ascii=False))] == []
    assert [text for text in rejected if accepts(grammar, json.dumps(text, ensure_ascii=False))] == []


PREFERRED = [
    # schema, accepted, valid but not generated
    ({"format": "date"}, ["0001-01-01", "9999-12-31", "0010-01-01"], ["0000-01-01"]),
    ({"format": "date-time"}, ["0001-01-01T00:00:00Z"], ["0000-12-31T00:00:00Z", "2024-02-29t23:59:60z"]),
    ({"format": "time"}, ["23:59:59.123Z"], ["23:59:60Z", "23:59:60.5+00:00"]),
    ({"format": "time", "pattern": ":60"}, ["23:59:60Z"], []),
    ({"format": "duration"}, ["P123456D", "P1Y2M3DT999999H5M6S"], ["P1234567D", "PT1H1234567M"]),
    ({"format": "email"}, ["a.b+c@x-1.co.uk"], ["a@b", "a@1.2", '"a"@b.de', "a@[1.2.3.4]"]),
    ({"format": "email", "pattern": "@localhost$"}, ["a@localhost"], ["a@b.de"]),
    ({"format": "idn-email"}, ["é@é.de"], ["\x85@é.de", "a@e\u0301.de", "a@É.de", '"é"@é.de']),
    ({"format": "idn-email", "pattern": "^a@(É|\\[)"}, ["a@É.de", "a@[1.2.3.4]", "a@[IPv6:::1]"], []),
    ({"format": "date", "const": "0000-01-01"}, ["0000-01-01"], []),
    ({"format": "date", "pattern": "^0000"}, ["0000-01-01"], []),
    ({"format": "duration", "minLength": 60}, ["P" + "1" * 58 + "D"], []),
    ({"format": "time", "minLength": 30}, ["23:59:59." + "1" * 30 + "Z"], []),
    ({"format": "date-time"}, ["2024-01-01T00:00:00.123456789Z"], ["2024-01-01T00:00:00.1234567890Z"]),
    ({"format": "time-local"}, ["00:00:00.123456789"], ["00:00:00.1234567890"]),
    ({"format": "uri"}, ["https://a.b:80/c:d", "a" * 32 + ":"], ["a" * 33 + ":"]),
    ({"format": "iri", "pattern": "^a{40}"}, ["a" * 40 + ":é"], []),
    (
        {"format": "email"},
        ["a" * 64 + "@b.org", "a@" + "b." * 8 + "org"],
        ["a" * 65 + "@b.org", "a@" + "b." * 9 + "org"],
    ),
]


@pytest.mark.parametrize(("schema", "accepted", "avoided"), PREFERRED, ids=[str(row[0]) for row in PREFERRED])
def test_formats_that_programs_can_read(schema: Any, accepted: list[str], avoided: list[str]) -> None:
    """Unless nothing else is left, texts that are valid but of no use are not generated."""
    grammar = grammar_of("json_schema", {"type": "string", **schema})
    assert [text for text in accepted if not accepts(grammar, json.dumps(text, ensure_ascii=False))] == []
    assert [text for text in avoided if accepts(grammar, json.dumps(text, ensure_ascii=False))] == []


BRIEF_NUMBERS: list[tuple[dict[str, Any], list[str], list[str]]] = [
    # schema, accepted, valid but not generated
    ({"type": "integer"}, ["9" * 19, "-" + "9" * 19], ["9" * 20]),
    ({"type": "number"}, ["9" * 19, "9" * 14 + ".9", "1e99", "1.5E-99"], ["9" * 20, "9" * 15 + ".9", "1e100"]),
    ({"minimum": 0.5, "type": "number"}, ["0.5", "0." + "9" * 14], ["0." + "9" * 15, "9" * 20]),
    ({"type": "number", "exclusiveMaximum": 1}, ["0." + "9" * 14], ["0." + "9" * 17]),  # 1 where it is read
    ({"type": "number", "not": {"type": "integer"}}, ["1.5", "1." + "1" * 14], ["1." + "1" * 15]),
    # Where the schema's own numbers are longer, so are those that are generated.
    ({"type": "integer", "minimum": 10**25 - 1}, ["9" * 25, "9" * 26], ["9" * 28]),
    ({"type": "number", "exclusiveMaximum": -(10**25)}, ["-1" + "0" * 24 + "1", "-" + "9" * 27], ["-" + "9" * 29]),
    (
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e-20},
        ["0." + "0" * 20 + "5"],
        ["0." + "0" * 22 + "5"],
    ),
    ({"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 0.2}, ["0.15"], ["0.1" + "1" * 14]),
    ({"type": "number", "not": {"multipleOf": 1e-18}}, ["0." + "1" * 19], ["0." + "1" * 21]),
]


@pytest.mark.parametrize(("schema", "accepted", "avoided"), BRIEF_NUMBERS, ids=[str(row[0]) for row in BRIEF_NUMBERS])
def test_numbers_that_programs_can_compute_with(schema: Any, accepted: list[str], avoided: list[str]) -> None:
    grammar, valid = grammar_of("json_schema", schema), open_json_schema_grammar(json.dumps(schema))
    assert [text for text in accepted if not accepts(grammar, text)] == []
    assert [text for text in avoided if accepts(grammar, text)] == []
    assert [text for text in (*accepted, *avoided) if not accepts(valid, text)] == []


NEGATED_FORMATS = [
    ("date", ["2024-02-30", ""], ["2024-02-29", "0000-01-01"]),
    ("byte", ["a"], ["aGk=", ""]),
    ("hostname", ["a_b", ".".join(["a" * 60] * 5)], ["a.b"]),
    ("date-time", ["2024-01-01"], ["2024-01-01T00:00:00Z", "2024-01-01T23:59:60Z"]),
]


@pytest.mark.parametrize(("name", "accepted", "rejected"), NEGATED_FORMATS, ids=[row[0] for row in NEGATED_FORMATS])
def test_negated_formats(name: str, accepted: list[str], rejected: list[str]) -> None:
    grammar = grammar_of("json_schema", {"type": "string", "not": {"format": name}})
    assert [text for text in accepted if not accepts(grammar, json.dumps(text))] == []
    assert [text for text in rejected if accepts(grammar, json.dumps(text))] == []


@pytest.mark.parametrize(
    ("name", "text"), [("media-range", 'text/html ; charset="a\\"\t\x80b" ;'), ("decimal", "007.50")]
)
def test_what_is_right_but_of_little_use_is_not_generated(name: str, text: str) -> None:
    schema = json.dumps({"type": "string", "format": name})
    assert accepts(open_json_schema_grammar(schema), json.dumps(text, ensure_ascii=False))
    assert not accepts(grammar_of("json_schema", schema), json.dumps(text, ensure_ascii=False))


def test_a_text_of_no_or_one_of_two_formats() -> None:
    one = {"type": "string", "oneOf": [{"format": "date-time"}, {"format": "time"}, {"maxLength": 12}]}
    grammar = grammar_of("json_schema", one)
    assert accepts(grammar, '"2024-01-01T00:00:00Z"')
    assert accepts(grammar, '"00:00:00.12345Z"')
    assert not accepts(grammar, '"00:00:00Z"')


NUMBER_FORMATS: list[tuple[Any, list[str], list[str]]] = [
    ({"type": "integer", "format": "int32"}, ["-2147483648", "2147483647"], ["-2147483649", "2147483648", "1.5"]),
    (
        {"type": "integer", "format": "int64"},
        ["-9223372036854775808", "9223372036854775807"],
        ["-9223372036854775809", "9223372036854775808"],
    ),
    ({"type": "integer", "format": "int8"}, ["-128", "127"], ["-129", "128"]),
    ({"type": "integer", "format": "uint8"}, ["0", "255"], ["-1", "256"]),
    ({"type": "integer", "format": "uint64"}, ["18446744073709551615"], ["18446744073709551616", "-1"]),
    ({"type": "integer", "format": "double-int"}, ["-9007199254740991", "9007199254740991"], ["9007199254740992"]),
    ({"type": "string", "format": "binary"}, ['"ü"'], ["1"]),
    ({"type": "string", "format": "path"}, ['"../a b"'], ["1"]),
    ({"anyOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}, ['"80%"', "80"], ["0.5"]),
    ({"type": "number", "format": "int32"}, ["7"], ["0.5", "3000000000"]),
    ({"type": "number", "not": {"format": "int32"}}, ["0.5", "3000000000"], ["7", "-2147483648"]),
    ({"type": ["number", "null"], "format": "float"}, ["0.1", "-3", "null"], ['"a"']),
    ({"type": "number", "format": "double"}, ["0.1"], ["null"]),
    ({"type": "integer", "format": "unixtime"}, ["1700000000", "-1"], ["0.5"]),
    ({"type": ["number", "string"], "format": "decimal"}, ["0.1", '"0.1"'], ['"a"']),
    ({"type": "string", "format": "password"}, ['""', '"abc"'], ["1"]),
    ({"type": "string", "format": "int32"}, ['"x"'], ["1"]),
    ({"type": ["integer", "string"], "format": "date"}, ["3000000000", '"2024-01-01"'], ['"x"']),
]


@pytest.mark.parametrize(("schema", "accepted", "rejected"), NUMBER_FORMATS, ids=str)
def test_formats_of_numbers_and_annotations(schema: Any, accepted: list[str], rejected: list[str]) -> None:
    grammar = grammar_of("json_schema", schema)
    assert [text for text in accepted if not accepts(grammar, text)] == []
    assert [text for text in rejected if accepts(grammar, text)] == []


@pytest.mark.parametrize("multiple", [2, 3, 7, 12, 0.25, 0.3, 2.5])
def test_multiples_within_bounds(multiple: float) -> None:
    """Counted in remainders by the library, which leaves some fractions out that are near to zero and below it."""
    schema = {"type": "number", "multipleOf": multiple, "minimum": -3.3, "maximum": 14}
    grammar = grammar_of("json_schema", schema)
    for hundredths in range(-400, 1500, 5):
        number = Fraction(hundredths, 100)
        is_valid = Fraction("-3.3") <= number <= 14 and (number / Fraction(str(multiple))).denominator == 1
        spellings = {f"{hundredths / 100:.2f}" if number.denominator > 1 else str(number), repr(hundredths / 100)}
        is_accepted = any(accepts(grammar, text) for text in spellings)
        assert is_accepted == is_valid or (is_valid and multiple < 1 and number < 0), spellings


NON_MULTIPLES: list[dict[str, Any]] = [
    *(
        {"type": "number", "not": {"multipleOf": unit}}
        for unit in (1, 2, 4, 5, 10, 0.5, 0.25, 0.01, 0.02, 1.25, 2.5, 0.2)
    ),
    *({"type": "integer", "not": {"multipleOf": unit}} for unit in (2, 8, 20)),
    {"type": "number", "minimum": -9.5, "maximum": 9, "not": {"multipleOf": 3}},
    {"type": "integer", "minimum": -10, "maximum": 30, "not": {"anyOf": [{"multipleOf": 0.3}, {"multipleOf": 7}]}},
    {"type": "integer", "multipleOf": 5, "not": {"multipleOf": 10}},
    {"type": "integer", "multipleOf": 3, "minimum": 0, "maximum": 60, "not": {"multipleOf": 4}},
    {"type": "number", "multipleOf": 0.5, "minimum": -3, "not": {"multipleOf": 1}},
    {"type": "number", "maximum": 1, "not": {"multipleOf": 0.05}},
]


@pytest.mark.parametrize("schema", NON_MULTIPLES, ids=str)
def test_numbers_that_are_no_multiples(schema: dict[str, Any]) -> None:
    accepts_text = acceptor(grammar_of("json_schema", json.dumps(schema)))
    validator = jsonschema.Draft202012Validator(json.loads(json.dumps(schema), parse_float=Fraction))
    for hundredths in (*range(-1100, 1100, 5), *range(-130, 130), 2000, 6000, 12345600, -500, 1600, 123456, -123450):
        number = Fraction(hundredths, 100)
        is_valid = validator.is_valid(int(number) if number.denominator == 1 else number)
        plain = decimal_text(number)
        padded = f"{plain}0" if "." in plain else f"{plain}.0"
        accepted = [accepts_text(text) for text in ((plain,) if number.denominator == 1 else (plain, padded))]
        assert all(accepted) if is_valid else not any(accepted), plain


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "not": {"multipleOf": 1}},
        {"type": "integer", "multipleOf": 6, "not": {"multipleOf": 0.2}},
        {"type": "integer", "minimum": 1, "maximum": 9, "not": {"anyOf": [{"multipleOf": n} for n in (0.1, 3)]}},
        {"type": "integer", "minimum": 8, "maximum": 10, "not": {"anyOf": [{"multipleOf": 2}, {"multipleOf": 3}]}},
    ],
    ids=str,
)
def test_where_all_numbers_are_multiples_nothing_is_valid(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be satisfied"):
        grammar_of("json_schema", json.dumps(schema))


def test_closing_never_makes_anything_valid() -> None:
    """Under a negation a closed schema would let more through."""
    grammar = grammar_of("json_schema", {"type": "object", "not": {"properties": {"a": {"type": "string"}}}})
    assert accepts(grammar, '{"a":1}')
    assert not accepts(grammar, '{"b":1}')


def test_own_properties_come_first_and_then_those_of_other_schemas() -> None:
    schema = {
        "allOf": [{"$ref": "#/$defs/base"}, {"required": ["z", "b"]}],
        "properties": {"b": {}, "a": {}},
        "$defs": {"base": {"properties": {"id": {}}, "required": ["id"]}},
    }
    grammar = grammar_of("json_schema", schema)
    assert accepts(grammar, '{"b":1,"a":1,"id":1,"z":1}')
    assert not accepts(grammar, '{"id":1,"b":1,"a":1,"z":1}')


@pytest.mark.parametrize("count", [300, 1000])
def test_many_properties_that_may_be_there(count: int) -> None:
    names = [f"property {i}" for i in range(count)]
    grammar = grammar_of("json_schema", {"type": "object", "properties": {name: {"type": "integer"} for name in names}})
    assert accepts(grammar, json.dumps(dict.fromkeys(names[::7], 1), separators=(",", ":")))
    assert not accepts(grammar, json.dumps({names[5]: 1, names[4]: 1}, separators=(",", ":")))


def test_a_schema_within_a_lark_grammar_means_the_same() -> None:
    source = 'start: "<" %json {"type": "integer", "not": {"const": 3}} ">" %json {"enum": ["a"]}'
    grammar = grammar_of("ebnf", source)
    assert accepts(grammar, '<4>"a"')
    assert not accepts(grammar, '<3>"a"')


def test_what_stands_beside_a_reference_where_validators_differ() -> None:
    """The draft's name begins with http:, and who does not know this one takes it for a later draft."""
    named = {"$schema": "https://json-schema.org/draft-07/schema", "definitions": {"s": {"type": "string"}}}
    grammar = grammar_of("json_schema", {**named, "$ref": "#/definitions/s", "maxLength": 1})
    assert accepts(grammar, '"a"') and not accepts(grammar, '"ab"') and not accepts(grammar, "1")


@pytest.mark.skipif(not SUITE.exists(), reason="the official suite is not beside this checkout")
def test_official_suite() -> None:
    results = list(run_suite(SUITE, our_grammar))
    assert [result for result in results if result.outcome == "wrongly accepted"] == []
    assert sum(result.outcome == "passed" for result in results) >= 3_453
    assert (
        sum(result.outcome == "wrongly rejected" for result in results) <= 71
    )  # 13 of them of format regex, which Python does not know


def test_places_take_a_bounded_room() -> None:
    """What lies in a property has its name in its place: 4,000 schemas in one of 100,000 characters took 800 MB."""
    inside: dict[str, Any] = {f"p{number}": {} for number in range(4000)}
    with pytest.raises(InvalidRequestError, match="places have more than 16777216 characters together"):
        grammar_of("json_schema", {"properties": {"x" * 100_000: {"properties": inside}}})
