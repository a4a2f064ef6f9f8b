"""Objects that name their properties have no others, unless their schema says so.

JSON Schema lets an object have any properties beside those it names. Nobody who asks a model for a name and an age
wants them, and a small model never stops inventing some. What is generated is valid all the same: it is only less than
all that would be. A schema that wants more says ``"additionalProperties": true``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_SAYS_SO = ("additionalProperties", "patternProperties", "minProperties")
_COMBINES = ("anyOf", "oneOf", "$ref")


def close_objects(schemas: Sequence[Any]) -> None:
    """In place, of all the schemas of one document.

    Where schemas are laid over each other, what one of them does not name another may: such documents stay as they are.
    """
    objects = [schema for schema in schemas if isinstance(schema, dict)]
    if any(_is_laid_over_others(schema) for schema in objects):
        return
    for schema in objects:
        if isinstance(schema.get("properties"), dict) and not any(keyword in schema for keyword in _SAYS_SO):
            required = schema.get("required", [])
            if isinstance(required, list) and all(name in schema["properties"] for name in required):
                schema["additionalProperties"] = False


def _is_laid_over_others(schema: dict[str, Any]) -> bool:
    return "allOf" in schema or ("properties" in schema and any(keyword in schema for keyword in _COMBINES))
