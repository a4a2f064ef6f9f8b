"""Random JSON Schemas, each drawn together with a value, so that most are known to have one that is valid."""

from __future__ import annotations

import decimal
import json
import random
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import jsonschema

from benchmarks.random_constraints.case import Case
from benchmarks.random_constraints.formats import CHECKER, EXAMPLES

Drawn = tuple[Any, Any]
"""A schema, and a value that it was made around: valid unless other parts of the schema forbid it."""

NAMES = ("name", "age", "tags", "id", "is_ok", "größe", "a b", 'quo"te', "x.y", "emoji🙂", "line\nbreak", "$ref_", "")
PATTERNS = (
    ("^[a-z]{2,6}$", "abc"),
    ("^[A-Z][a-z]+$", "Abc"),
    (r"^\d{3}-\d{4}$", "555-1234"),
    ("b", "abc"),
    ("^x", "xyz"),
    ("[0-9]$", "a1"),
    (r"^(foo|bar)+$", "foobar"),
    ("^[a-z]+@[a-z]+$", "a@b"),
    ("^.{2,5}$", "äöü"),
    ("^[^a-z]*$", "ABC"),
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    1e3,
    "",
    "a",
    'b"c',
    "\\",
    "ü",
    "🙂",
    [],
    [1, "x"],
    {},
    {"k": [None]},
    "long " * 9,
)
DRAFTS = ("https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#")
DEPTH = 3
EXACT = decimal.Context(prec=2000)


def schema_case(name: str, schema: Any, value: Any = None, *, can_be_met: bool | None = None) -> Case:
    """can_be_met: what is known beside that `value`, if that is valid, can be an answer."""
    written = json.dumps(schema)
    validator = _validator(_parsed(written))
    example = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if can_be_met is None and _is_valid(validator, example):
        can_be_met = True
    return Case(name, "json_schema", written, can_be_met, partial(_is_valid, validator), example)


def _is_valid(validator: Any, text: str) -> bool:
    try:
        with decimal.localcontext(EXACT):
            return bool(validator.is_valid(_parsed(text)))
    except json.JSONDecodeError:
        return False


def _parsed(text: str) -> Any:
    """With numbers as they are written: 0.07 is a multiple of 0.01, which it is not as a float."""
    return json.loads(text, parse_float=_exact_number)


def _exact_number(text: str) -> Decimal | int | float:
    try:
        number = Decimal(text)
    except decimal.InvalidOperation:  # an exponent of many digits
        return float(text)
    is_whole = abs(number.adjusted()) < EXACT.prec and number == number.to_integral_value()
    return int(number) if is_whole else number


def _validator(schema: Any) -> Any:
    return jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)(schema, format_checker=CHECKER)


def draw_schema_case(draw: random.Random, name: str) -> Case:
    return schema_case(name, *SchemaSource(draw).document())


class SchemaSource:
    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._kinds: tuple[Callable[[int], Drawn], ...] = (
            self._text,
            self._number,
            self._enumeration,
            self._array,
            self._object,
            self._object,
            self._combined,
        )

    def document(self) -> Drawn:
        """An object in most cases, some with schemas that refer to themselves."""
        kind = self._draw.random()
        if kind < 0.15:
            return self._recursive()
        schema, value = self._object(DEPTH) if kind < 0.7 else self._any(DEPTH)
        if self._draw.random() < 0.1:
            schema = {"$schema": self._draw.choice(DRAFTS), **schema}
        return schema, value

    def _any(self, depth: int) -> Drawn:
        kinds = self._kinds if depth > 0 else (self._text, self._number, self._enumeration)
        return self._draw.choice(kinds)(depth - 1)

    def _text(self, depth: int) -> Drawn:
        kind = self._draw.random()
        if kind < 0.3:
            low = self._draw.randint(0, 5)
            return {"type": "string", "minLength": low, "maxLength": low + self._draw.choice((0, 3, 30))}, "x" * low
        if kind < 0.55:
            pattern, text = self._draw.choice(PATTERNS)
            return {"type": "string", "pattern": pattern}, text
        if kind < 0.8:
            name, text = self._draw.choice(list(EXAMPLES.items()))
            return {"type": "string", "format": name}, text
        return {"type": "string"}, "some text"

    def _number(self, depth: int) -> Drawn:
        low = self._draw.choice((-(10**12), -1000, -7, 0, 1, 17, 99_999))
        kind = self._draw.random()
        if kind < 0.35:
            return {"type": "integer", "minimum": low, "maximum": low + self._draw.choice((0, 1, 10, 10**6))}, low
        if kind < 0.5:
            step = self._draw.choice((2, 5, 7, 12, 0.5, 0.01))
            return {"type": self._draw.choice(("integer", "number")), "multipleOf": step, "minimum": 0}, 0
        if kind < 0.7:
            return {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": low + 2.5}, low + 1
        kind_of_value = self._draw.choice(("integer", "number", "boolean", "null"))
        return {"type": kind_of_value}, {"boolean": True, "null": None}.get(kind_of_value, 3)

    def _enumeration(self, depth: int) -> Drawn:
        values = self._draw.sample(VALUES, self._draw.randint(1, 5))
        return ({"const": values[0]} if len(values) == 1 else {"enum": values}), values[0]

    def _array(self, depth: int) -> Drawn:
        (items, item), low = self._any(depth), self._draw.randint(0, 3)
        kind = self._draw.random()
        if kind < 0.5:
            return {"type": "array", "items": items, "minItems": low, "maxItems": low + 2}, [item] * low
        if kind < 0.65:
            first, value = self._any(depth)
            return {"type": "array", "prefixItems": [first, items], "minItems": 2, "items": False}, [value, item]
        if kind < 0.8:
            return {"type": "array", "items": {"enum": ["a", "b", 3]}, "uniqueItems": True, "minItems": low}, [
                "a",
                "b",
                3,
            ][:low]
        if kind < 0.9:
            return {"type": "array", "contains": items, "maxItems": 4}, [item]
        return {"type": "array", "items": items}, []

    def _object(self, depth: int) -> Drawn:
        names = self._draw.sample(NAMES, self._draw.randint(1, 5))
        drawn = {name: self._any(depth) for name in names}
        schema: dict[str, Any] = {"type": "object", "properties": {name: part[0] for name, part in drawn.items()}}
        value = {name: part[1] for name, part in drawn.items()}
        schema["required"] = self._draw.sample(names, self._draw.randint(0, len(names)))
        schema |= self._about_properties(names, depth)
        return schema, value

    def _about_properties(self, names: list[str], depth: int) -> dict[str, Any]:
        one = self._draw.choice
        return one([
            {},
            {},
            {"additionalProperties": False},
            {"additionalProperties": self._any(depth)[0]},
            {"patternProperties": {"^x_": self._any(depth)[0]}},
            {"propertyNames": {"maxLength": one((3, 12))}},
            {"minProperties": one((1, 2)), "maxProperties": one((2, 5))},
            {"dependentRequired": {names[0]: [names[-1]]}},
            {"unevaluatedProperties": False},
        ])  # fmt: skip

    def _combined(self, depth: int) -> Drawn:
        (first, value), (second, other) = self._any(depth), self._any(depth)
        one = self._draw.choice
        return one([
            ({"anyOf": [first, second]}, value),
            ({"oneOf": [first, second]}, one((value, other))),
            ({"allOf": [first, {"title": "and nothing else", "description": "a comment"}]}, value),
            ({"allOf": [first, {"anyOf": [second, first]}]}, value),
            ({"allOf": [first], "not": second}, value),
            ({"if": first, "then": {"not": {"const": 5}}, "else": second}, one((value, other))),
            ({"anyOf": [first, {"type": "null"}]}, None),
        ])  # fmt: skip

    def _recursive(self) -> Drawn:
        schema, value = self._any(1)
        tree = {
            "type": "object",
            "properties": {"value": schema, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            "required": ["value", "children"],
        }
        chain = {
            "type": "object",
            "properties": {"value": schema, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}},
            "required": ["value"],
            "additionalProperties": False,
        }
        expression = {"anyOf": [schema, {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 3}]}
        node, whole = self._draw.choice(
            [(tree, {"value": value, "children": []}), (chain, {"value": value}), (expression, [value])]
        )
        return {"$ref": "#/$defs/node", "$defs": {"node": node}}, whole
