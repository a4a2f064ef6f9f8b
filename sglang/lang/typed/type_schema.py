"""The JSON schemas of types, where what a model should write differs from all that pydantic would read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

if TYPE_CHECKING:
    from pydantic_core.core_schema import ComplexSchema, DecimalSchema, FrozenSetSchema, IsSubclassSchema, SetSchema

_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


class TypeSchema(GenerateJsonSchema):
    def decimal_schema(self, schema: DecimalSchema) -> JsonSchemaValue:
        """A number. pydantic reads a string too, of which its schema does not say what may stand in it."""
        limits = {_LIMITS[name]: float(str(limit)) for name, limit in schema.items() if name in _LIMITS}
        return {"type": "number", **limits}

    def complex_schema(self, schema: ComplexSchema) -> JsonSchemaValue:
        """pydantic reads a string, of which its schema does not say what may stand in it."""
        return self.handle_invalid_for_json_schema(schema, "a complex number, which JSON does not have")

    def is_subclass_schema(self, schema: IsSubclassSchema) -> JsonSchemaValue:
        """Of classes its schema says nothing at all."""
        return self.handle_invalid_for_json_schema(schema, "a class, which no text is")

    def set_schema(self, schema: SetSchema) -> JsonSchemaValue:
        """A list, of which the set takes every item once; of different items where it has to have several."""
        return _of_list(super().set_schema(schema))

    def frozenset_schema(self, schema: FrozenSetSchema) -> JsonSchemaValue:
        return _of_list(super().frozenset_schema(schema))


def _of_list(schema: JsonSchemaValue) -> JsonSchemaValue:
    if schema.get("minItems", 0) > 1:
        return schema
    return {name: value for name, value in schema.items() if name != "uniqueItems"}
