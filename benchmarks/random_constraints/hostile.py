"""Odd constraints: wrong, contradictory, enormous, or right but unusual. Each draw varies one of a table."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.random_constraints.case import Case, never
from benchmarks.random_constraints.rules import LETTERS
from benchmarks.random_constraints.schemas import SchemaSource, schema_case


def nested(depth: int, schema: Any) -> Any:
    for _ in range(depth):
        schema = {"type": "array", "items": schema, "minItems": 1}
    return schema


def doubling_rules(count: int) -> str:
    """Each rule is the next one twice: 2 ** count characters in all."""
    return "".join(f"r{n} ::= r{n + 1} r{n + 1}\n" for n in range(count)) + f'r{count} ::= "z"\nroot ::= r0'


ODD_SCHEMAS: tuple[Callable[[random.Random], Any], ...] = (
    lambda draw: {"type": "string", "minLength": 9, "maxLength": draw.randint(0, 8)},
    lambda draw: {"type": "integer", "minimum": 5, "maximum": draw.randint(-9, 4)},
    lambda draw: {"type": "object", "required": ["a"], "properties": {"a": False}},
    lambda draw: {"type": "object", "required": ["a", "b"], "additionalProperties": False},
    lambda draw: {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    lambda draw: {"allOf": [{"type": "string"}, {"type": draw.choice(("integer", "object", "null"))}]},
    lambda draw: {"enum": []},
    lambda draw: {"not": {}},
    lambda draw: {"const": 1, "type": "string"},
    lambda draw: {"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": draw.randint(1, 6)},
    lambda draw: {"type": "array", "uniqueItems": True, "items": {"enum": [1, 2]}, "minItems": draw.randint(3, 9)},
    lambda draw: {"type": "array", "minItems": 2, "maxItems": 1},
    lambda draw: {"type": "string", "pattern": "^a$", "minLength": draw.randint(2, 9)},
    lambda draw: {"oneOf": [{"type": "integer"}, {"type": "integer"}]},
)
"""That nothing meets, or that most readers would call wrong; whether anything does is not said."""

WRONG_SCHEMAS: tuple[Callable[[random.Random], Any], ...] = (
    lambda draw: {"type": draw.choice(("strin", "", 5, None, ["string", "x"], {}))},
    lambda draw: {"$ref": draw.choice(("#", "#/$defs/nothing", "http://a.example/schema.json", "#no"))},
    lambda draw: {"minimum": draw.choice(("5", [], {}, True))},
    lambda draw: {"properties": draw.choice(([], "a", 5))},
    lambda draw: {"type": "string", "pattern": draw.choice(("(", "[", "a{2,1}", "(?<=a)b", r"(a)\1", "*"))},
    lambda draw: {"items": draw.choice((5, "a"))},
    lambda draw: {"required": draw.choice(("a", [1], {"a": True}))},
    lambda draw: {"anyOf": draw.choice(([], {}, "x"))},
    lambda draw: {"enum": draw.choice(("abc", {}, 1))},
    lambda draw: {"type": "string", "minLength": draw.choice((-1, 1.5, "1"))},
    lambda draw: draw.choice(([], 5, "string", None)),
)

LARGE_SCHEMAS: tuple[Callable[[random.Random], Any], ...] = (
    lambda draw: nested(draw.choice((10, 30, 60, 500)), {"type": "boolean"}),
    lambda draw: {"enum": [f"value {number}" for number in range(draw.choice((100, 2000, 20_000)))]},
    lambda draw: {
        "type": "object",
        "properties": {f"p{n}": {"type": "integer"} for n in range(draw.choice((50, 500, 3000)))},
    },
    lambda draw: {"type": "string", "maxLength": 10 ** draw.randint(2, 12)},
    lambda draw: {"type": "string", "minLength": 10 ** draw.randint(2, 12)},
    lambda draw: {"type": "array", "items": {"type": "null"}, "minItems": 10 ** draw.randint(1, 9)},
    lambda draw: {"type": "integer", "multipleOf": 10 ** draw.randint(1, 9) + 1},
    lambda draw: {"type": "string", "pattern": f"^([a-z]{{1,{10 ** draw.randint(1, 5)}}})+$"},
    lambda draw: {"allOf": [{"anyOf": [{"const": [i, j]} for i in range(9)]} for j in range(draw.randint(2, 30))]},
    lambda draw: {"description": "x" * 10 ** draw.randint(3, 7), "type": "boolean"},
)

UNUSUAL_SCHEMAS: tuple[Callable[[random.Random], Any], ...] = (
    lambda draw: True,
    lambda draw: {},
    lambda draw: {"type": "object"},
    lambda draw: {"type": ["string", "null", "integer"], "maxLength": 4, "minimum": 3},
    lambda draw: {"title": "nothing but a title", "examples": [1], "x-own-keyword": 5},
    lambda draw: {"const": draw.choice(("\u0000", "\u2028", '"\\/', "\ud83d\ude42", 10**30, 1e-7, -0.0))},
    lambda draw: {"type": "string", "format": draw.choice(("binary", "password", "color", "int32"))},
    lambda draw: {"properties": {"\n\t\u0001": {"const": "é"}}, "required": ["\n\t\u0001"]},
    lambda draw: {"type": "number", "minimum": 1e-9, "maximum": 2e-9},
    lambda draw: {"type": "integer", "minimum": -(10**25), "maximum": 10**25},
)

REGEXES: tuple[Callable[[random.Random], str], ...] = (
    lambda draw: draw.choice(("(", "[a", "a**", "(?P<1>a)", "[b-a]", "\\", "(?z)a", "a{2,1}")),
    lambda draw: draw.choice(("(?=a)a", "(?!b)a", "(?<=a)b", r"(a)\1", r"\bword\b", "(?>a+)b", "a++", "(a)?(?(1)b)")),
    lambda draw: draw.choice(("a^b", "$a", r"a\Zb", "[^\\s\\S]", "(?!)")),
    lambda draw: f"(a{{{10 ** draw.randint(1, 5)}}}){{{10 ** draw.randint(1, 4)}}}",
    lambda draw: "(" * draw.choice((5, 20, 200, 5000)) + "a",
    lambda draw: "(" * (depth := draw.choice((5, 20, 200, 5000))) + "a" + ")" * depth,
    lambda draw: draw.choice(("(a+)+b", "(a|a)*b", "(a|aa)+b", "([a-z]+)*!", "(.*)(.*)(.*)x")),
    lambda draw: f".*a.{{{draw.choice((5, 20, 200, 2000))}}}b",
    lambda draw: "|".join(f"word{number}" for number in range(draw.choice((10, 1000, 20_000)))),
    lambda draw: draw.choice((r"\d{3}[é🙂]", "[\u0000-\u0005]", "(?x) a  b # c", r"\N{BULLET}", "a|", "(|a)b")),
    lambda draw: "a" * 10 ** draw.randint(2, 6),
)

GRAMMARS: tuple[Callable[[random.Random], str], ...] = (
    lambda draw: draw.choice(("root ::=", 'root ::= "a', "root ::= [", "root ::= x", 'foo ::= "a"', "start:")),
    lambda draw: draw.choice(('root ::= "a" root', "root ::= root", "root ::= a\na ::= b\nb ::= a", "start: start")),
    lambda draw: draw.choice(('root ::= ""', 'root ::= "a"{0}', 'root ::= ""*', 'start: ""')),
    lambda draw: "root ::= " + "(" * (depth := draw.choice((5, 20, 200, 5000))) + '"a"' + ")" * depth,
    lambda draw: f'root ::= ("a"{{{10 ** draw.randint(1, 6)}}}){{{10 ** draw.randint(1, 6)}}}',
    lambda draw: doubling_rules(draw.randint(5, 40)),
    lambda draw: draw.choice(("start: MISSING", 'start: "a" %import nothing.X', "start: /(/", 'start: "a" ~ 3..1')),
    lambda draw: "root ::= " + " | ".join(f'"word {n}"' for n in range(draw.choice((10, 1000, 20_000)))),
    lambda draw: 'root ::= root "a" | "b"',
    lambda draw: "start: %json " + json.dumps(SchemaSource(draw).document()[0]),
)


def odd_schema_case(draw: random.Random, name: str) -> Case:
    kind = draw.random()
    if kind < 0.3:
        return schema_case(name, draw.choice(ODD_SCHEMAS)(draw))
    if kind < 0.55:
        return Case(name, "json_schema", json.dumps(draw.choice(WRONG_SCHEMAS)(draw)), None, never)
    if kind < 0.65:
        text = json.dumps(SchemaSource(draw).document()[0])
        return Case(name, "json_schema", text[: draw.randint(1, len(text) - 1)], False, never)
    return schema_case(name, draw.choice(LARGE_SCHEMAS if kind < 0.85 else UNUSUAL_SCHEMAS)(draw))


def odd_regex_case(draw: random.Random, name: str) -> Case:
    regex = draw.choice(REGEXES)(draw)
    return Case(name, "regex", regex, None, partial(matches, regex))


def matches(regex: str, text: str) -> bool:
    """Also False where Python itself cannot read the expression."""
    try:
        return re.fullmatch(regex, text) is not None
    except (re.error, OverflowError, RecursionError):
        return False


def odd_grammar_case(draw: random.Random, name: str) -> Case:
    """Nothing is held against the answers but that they are given or refused."""
    grammar = draw.choice(GRAMMARS)(draw)
    if draw.random() < 0.1:
        grammar = "".join(draw.choice(LETTERS + ':="|()[]\n') for _ in range(draw.randint(1, 200)))
    return Case(name, "ebnf", grammar, None, lambda text: True)
