"""Random schemas and random values: what a grammar accepts is valid, and what is valid it accepts, written its way."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.json_schema import open_json_schema_grammar
from sglang.srt.grammar.text_matcher import TextMatcher
from tests.grammar.texts import accepts

NAMES = ("a", "b", "c")
SCALARS = (None, True, False, 0, 1, 2, 3, 1.5, -1, "", "a", "b", "ab", "abc")
PATTERNS = ("^a", "b$", "^[ab]+$", "c")


class Generator:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def value(self, depth: int = 2) -> Any:
        kind = self._random.random()
        if depth and kind < 0.35:
            names = self._random.sample((*NAMES, "bb"), self._random.randint(0, 3))
            return {name: self.value(depth - 1) for name in sorted(names)}
        if depth and kind < 0.6:
            return [self.value(depth - 1) for _ in range(self._random.randint(0, 3))]
        return self._random.choice(SCALARS)

    def schema(self, depth: int = 3) -> Any:
        if depth <= 0 or self._random.random() < 0.1:
            return self._random.choice((True, True, False, {"type": "integer"}, {"type": "string"}, {"const": 1}))
        found: dict[str, Any] = {}
        for _ in range(self._random.randint(1, 3)):
            found |= self._random.choice((self._scalar, self._array, self._object, self._combined))(depth - 1)
        return found

    def document(self) -> Any:
        schema = self.schema()
        if isinstance(schema, dict) and self._random.random() < 0.3:
            schema["$defs"] = {"d": self.schema(1)}
            target = self._random.choice(("#/$defs/d", "#"))
            schema.setdefault("properties", {})["a"] = {"$ref": target}
        return schema

    def _scalar(self, depth: int) -> dict[str, Any]:
        one = self._random.choice
        kinds = ("null", "boolean", "number", "integer", "string", "array", "object")
        return one([
            {"type": one(kinds)},
            {"type": self._random.sample(kinds, 2)},
            {one(("minimum", "exclusiveMinimum")): one((0, 1, 1.5))},
            {one(("maximum", "exclusiveMaximum")): one((1, 1.5, 2))},
            {"minLength": one((1, 2))},
            {"maxLength": one((0, 1, 2))},
            {"pattern": one(PATTERNS)},
            {"enum": [self.value(1) for _ in range(3)]},
            {"const": self.value(2)},
        ])  # fmt: skip

    def _array(self, depth: int) -> dict[str, Any]:
        one = self._random.choice
        return one([
            {"items": self.schema(depth)},
            {"prefixItems": [self.schema(depth), self.schema(depth)]},
            {"prefixItems": [self.schema(depth)], "items": self.schema(depth)},
            {"minItems": one((1, 2))},
            {"maxItems": one((0, 1, 2))},
            {"contains": self.schema(depth)},
            {"contains": self.schema(depth), "minContains": one((0, 1, 2)), "maxContains": one((1, 2))},
            {"unevaluatedItems": self.schema(depth)},
            {"uniqueItems": True, "items": {"enum": [0, 1, "a"]}},
        ])  # fmt: skip

    def _object(self, depth: int) -> dict[str, Any]:
        one = self._random.choice
        return one([
            {"properties": {name: self.schema(depth) for name in self._random.sample(NAMES, 2)}},
            {"required": self._random.sample(NAMES, one((1, 2)))},
            {"additionalProperties": self.schema(depth)},
            {"patternProperties": {one(PATTERNS): self.schema(depth)}},
            {"propertyNames": one(({"pattern": one(PATTERNS)}, {"enum": ["a", "c"]}, {"maxLength": 1}))},
            {"minProperties": 1},
            {"maxProperties": one((0, 1, 2))},
            {"dependentRequired": {"a": ["b"]}},
            {"dependentSchemas": {"a": self.schema(depth)}},
            {"unevaluatedProperties": self.schema(depth)},
        ])  # fmt: skip

    def _combined(self, depth: int) -> dict[str, Any]:
        return self._random.choice([
            {"allOf": [self.schema(depth), self.schema(depth)]},
            {"anyOf": [self.schema(depth), self.schema(depth)]},
            {"oneOf": [self.schema(depth), self.schema(depth)]},
            {"not": self.schema(depth)},
            {"if": self.schema(depth), "then": self.schema(depth), "else": self.schema(depth)},
        ])  # fmt: skip


def spellings(value: Any) -> Iterator[str]:
    """All orders of properties, since that of the schema is not known here."""
    if isinstance(value, dict):
        for names in itertools.permutations(value):
            for inner in itertools.product(*(list(spellings(value[name])) for name in names)):
                yield "{" + ",".join(f'"{name}":{text}' for name, text in zip(names, inner, strict=True)) + "}"
    elif isinstance(value, list):
        for inner in itertools.product(*map(spellings, value)):
            yield "[" + ",".join(inner) + "]"
    else:
        yield json.dumps(value)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_accepted_is_what_is_valid(seed: int) -> None:
    generator = Generator(seed)
    num_lowered = 0
    for _ in range(20):
        schema = generator.document()
        validator = jsonschema.Draft202012Validator(schema)
        values = [*SCALARS, *(generator.value() for _ in range(20))]
        try:
            grammar = open_json_schema_grammar(json.dumps(schema))
        except InvalidRequestError as error:
            if "cannot be satisfied" in str(error):
                assert not [value for value in values if validator.is_valid(value)], schema
            continue
        assert TextMatcher(grammar).problem is None
        num_lowered += 1
        for value in values:
            is_accepted = any(accepts(grammar, text) for text in itertools.islice(spellings(value), 40))
            assert is_accepted == validator.is_valid(value), (schema, value)
    assert num_lowered >= 10
