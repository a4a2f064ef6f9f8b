"""Schemas as people have them: what pydantic writes of models, zod of its own, OpenAPI and popular tools of theirs."""

from __future__ import annotations

import enum
import json
import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import UUID4, Base64Bytes, BaseModel, ConfigDict, Field, IPvAnyAddress, StringConstraints, TypeAdapter

from sglang.srt.grammar.witness.outputs import Outputs
from tests.grammar.texts import grammar_of
from tests.grammar.witness.test_outputs import walk

DRAFT_4 = {"$schema": "http://json-schema.org/draft-04/schema#"}
DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#"}
DRAFT_2020 = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


class Color(str, enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    code: Annotated[str, StringConstraints(pattern=r"^\d{5}(-\d{4})?$")]


class Person(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    age: Annotated[int, Field(ge=0, le=150)]
    address: Address | None = None
    tags: Annotated[list[str], Field(max_length=3)] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(gt=0, lt=10)]


class Dog(BaseModel):
    kind: Literal["dog"]
    is_good: bool = True


class Pets(BaseModel):
    pets: Annotated[list[Annotated[Cat | Dog, Field(discriminator="kind")]], Field(min_length=1)]


class Event(BaseModel):
    at: datetime
    day: date
    hour: time
    length: timedelta
    key: uuid.UUID
    other: UUID4
    price: Annotated[Decimal, Field(ge=0, multiple_of=Decimal("0.25"))]


class Maps(BaseModel):
    scores: dict[str, int]
    by_color: dict[Color, float]
    by_name: dict[Annotated[str, StringConstraints(pattern="^x-[a-z]+$")], bool]


class Sequences(BaseModel):
    pair: tuple[int, str]
    many: tuple[float, ...]
    colors: set[Color]
    few: Annotated[set[Literal["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]], Field(max_length=2)]


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Term(BaseModel):
    operator: Literal["+", "-"]
    left: int | Term
    right: int | Term


class Files(BaseModel):
    where: Path
    content: Base64Bytes
    host: IPvAnyAddress


MODELS = [Person, Pets, Event, Maps, Sequences, Tree, Term, Files]

ZOD_EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
ZOD_BASE64 = "^$|^(?:[0-9a-zA-Z+/]{4})*(?:(?:[0-9a-zA-Z+/]{2}==)|(?:[0-9a-zA-Z+/]{3}=))?$"
ZOD_UUID = r"^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}|(0{8})-0+)$"

SCHEMAS: dict[str, Any] = {
    "zod object": {
        **DRAFT_2020,
        "type": "object",
        "properties": {
            "id": {"type": "string", "format": "uuid", "pattern": ZOD_UUID},
            "email": {"type": "string", "format": "email", "pattern": ZOD_EMAIL},
            "file": {"type": "string", "format": "base64", "contentEncoding": "base64", "pattern": ZOD_BASE64},
            "phone": {"type": "string", "format": "e164", "pattern": r"^\+(?:[0-9]){6,14}[0-9]$"},
            "count": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
        },
        "required": ["id", "email", "file", "phone", "count"],
        "additionalProperties": False,
    },
    "zod record": {
        **DRAFT_7,
        "type": "object",
        "additionalProperties": {"type": "number"},
        "propertyNames": {"enum": ["a", "b"]},
    },
    "zod tuple": {
        **DRAFT_7,
        "type": "array",
        "minItems": 1,
        "items": [{"const": "x"}],
        "additionalItems": {"const": 1},
    },
    "zod lazy": {
        **DRAFT_7,
        "$ref": "#/definitions/node",
        "definitions": {
            "node": {
                "type": "object",
                "properties": {"next": {"anyOf": [{"$ref": "#/definitions/node"}, {"type": "null"}]}},
                "required": ["next"],
                "additionalProperties": False,
            }
        },
    },
    "OpenAI strict": {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": ["div", "button"]},
            "children": {"type": "array", "items": {"$ref": "#"}},
            "label": {"type": ["string", "null"]},
        },
        "required": ["type", "children", "label"],
        "additionalProperties": False,
    },
    "OpenAPI document": {
        "$ref": "#/components/schemas/Order",
        "components": {
            "schemas": {
                "Order": {
                    "type": "object",
                    "required": ["id", "items"],
                    "properties": {
                        "id": {"type": "integer", "format": "int64", "example": 10},
                        "items": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}},
                        "status": {"type": "string", "enum": ["placed", "sent"], "xml": {"name": "status"}},
                    },
                },
                "Item": {
                    "externalDocs": {"url": "http://example.com"},
                    "oneOf": [{"$ref": "#/components/schemas/Book"}, {"$ref": "#/components/schemas/Toy"}],
                    "discriminator": {"propertyName": "is"},
                },
                "Base": {"type": "object", "properties": {"is": {"type": "string"}}, "required": ["is"]},
                "Book": {"allOf": [{"$ref": "#/components/schemas/Base"}, {"properties": {"is": {"const": "book"}}}]},
                "Toy": {"allOf": [{"$ref": "#/components/schemas/Base"}, {"properties": {"is": {"const": "toy"}}}]},
            }
        },
    },
    "draft-04": {
        **DRAFT_4,
        "id": "http://example.com/product",
        "type": "object",
        "properties": {"price": {"type": "number", "minimum": 0, "exclusiveMinimum": True}},
        "required": ["price"],
    },
    "Kubernetes": {
        "type": "object",
        "required": ["kind", "metadata", "spec"],
        "properties": {
            "kind": {"enum": ["Deployment"]},
            "metadata": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                },
                "required": ["name"],
            },
            "spec": {
                "type": "object",
                "properties": {
                    "replicas": {"type": "integer", "format": "int32", "minimum": 0},
                    "port": {"format": "int-or-string", "oneOf": [{"type": "string"}, {"type": "integer"}]},
                },
            },
        },
        "x-kubernetes-group-version-kind": [{"group": "apps", "kind": "Deployment", "version": "v1"}],
    },
    "package.json": {
        **DRAFT_7,
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 214, "pattern": "^(?:(?:@[a-z0-9-*~]*/[a-z0-9-._~])|[a-z0-9-~])+$"},
            "bin": {"type": ["string", "object"], "additionalProperties": {"type": "string"}},
            "private": {"oneOf": [{"type": "boolean"}, {"enum": ["false", "true"]}]},
            "exports": {"$ref": "#/definitions/entry"},
        },
        "required": ["name", "exports"],
        "definitions": {
            "entry": {
                "oneOf": [
                    {"type": ["string", "null"]},
                    {
                        "type": "object",
                        "patternProperties": {"^[^\\.0-9]+$": {"$ref": "#/definitions/entry"}},
                        "additionalProperties": False,
                    },
                    {"type": "array", "items": {"$ref": "#/definitions/entry"}},
                ]
            }
        },
    },
    "workflow": {
        **DRAFT_7,
        "type": "object",
        "properties": {
            "on": {"oneOf": [{"enum": ["push"]}, {"type": "array", "items": {"enum": ["push"]}, "minItems": 1}]},
            "jobs": {
                "type": "object",
                "patternProperties": {
                    "^[_a-zA-Z][a-zA-Z0-9_-]*$": {
                        "type": "object",
                        "properties": {"run": {"type": "string"}, "shell": {"type": "string"}},
                        "dependencies": {"shell": ["run"]},
                    }
                },
                "minProperties": 1,
                "additionalProperties": False,
            },
        },
        "required": ["on", "jobs"],
        "additionalProperties": False,
    },
    "editor settings": {
        **DRAFT_7,
        "type": "object",
        "allowTrailingCommas": True,
        "properties": {
            "target": {
                "anyOf": [{"enum": ["ES3", "ES5"]}, {"pattern": "^([Ee][Ss]([356]|20(1[56789])))$"}],
                "type": "string",
                "markdownDescription": "The **target**.",
            },
            "mode": {"type": "number", "enum": [1, 2], "enumNames": ["one", "two"]},
            "path": {
                "type": "string",
                "pattern": "^(?!/)(?!.*//).*$",
                "patternErrorMessage": "It begins with a slash.",
            },
        },
    },
    "conditions": {
        "type": "object",
        "properties": {"country": {"enum": ["US", "CA"]}, "code": {"type": "string"}},
        "if": {"properties": {"country": {"const": "US"}}},
        "then": {"properties": {"code": {"pattern": "^[0-9]{5}$"}}},
        "else": {"properties": {"code": {"pattern": "^[A-Z][0-9][A-Z]$"}}},
        "required": ["country", "code"],
    },
    "password": {"type": "string", "pattern": r"^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[a-zA-Z\d]{8,}$"},
    "one of two properties": {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
}


def answers(schema: Any) -> list[str]:
    """Random beginnings, each with its shortest end."""
    grammar = grammar_of("json_schema", schema)
    outputs = Outputs(grammar)
    texts = []
    for seed in range(8):
        text = walk(grammar, seed, 12 * seed)
        texts.append((text + outputs.shortest_end(outputs.follow(outputs.start, text))).decode())
    return texts


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=list(SCHEMAS))
def test_answers_are_valid(schema: Any) -> None:
    validator = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    for text in answers(schema):
        validator(schema, format_checker=validator.FORMAT_CHECKER).validate(json.loads(text))


@pytest.mark.parametrize("model", MODELS, ids=[model.__name__ for model in MODELS])
def test_models_take_their_answers(model: type[BaseModel]) -> None:
    for text in answers(model.model_json_schema()):
        TypeAdapter(model).validate_json(text)
