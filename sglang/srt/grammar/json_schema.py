"""JSON Schema: what is enforced, checked by name, so that no keyword is ever ignored in silence."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import llguidance

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar.closed_objects import close_objects
from sglang.srt.grammar.limits import MAX_MULTIPLE, MAX_REFERENCE_LEVELS, MAX_SCHEMA_NESTING, check_size

_ONE_SCHEMA = ("additionalProperties", "additionalItems", "items")
_LISTS_OF_SCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
_PLAIN = (
    *("type", "enum", "const", "$ref", "$id", "id", "$schema", "$anchor", "required"),
    *("minProperties", "maxProperties", "minItems", "maxItems", "minLength", "maxLength", "pattern", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
)
_ANNOTATIONS = (
    *("title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "$comment"),
    "discriminator",
)
_NOT_ENFORCED = (
    *("not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "propertyNames"),
    *("dependentRequired", "dependentSchemas", "dependencies", "unevaluatedItems", "unevaluatedProperties"),
    *("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary", "nullable"),
    *("contentEncoding", "contentMediaType", "contentSchema"),
)
_KNOWN = frozenset((*_ONE_SCHEMA, *_LISTS_OF_SCHEMAS, *_NAMED_SCHEMAS, *_PLAIN, *_ANNOTATIONS))

_COMPACT: Any = {
    "item_separator": ",",
    "key_separator": ":",
    "whitespace_flexible": False,
    "whitespace_pattern": None,
    "coerce_one_of": False,
    "lenient": False,
}


def json_schema_grammar(text: str) -> str:
    """The grammar of the JSON texts without white space that are valid, properties in the order of the schema, and no
    other properties than it names (see `close_objects`).

    Raises InvalidRequestError for what is no JSON Schema, and for keywords that cannot be enforced.
    """
    check_size("json_schema", text)
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise InvalidRequestError(f"json_schema is not JSON: {error}: {shown(text)}") from error
    except RecursionError as error:
        raise _too_deep(text) from error
    if isinstance(schema, bool):
        schema = {} if schema else {"enum": []}
    close_objects(check_schema(schema))
    return llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_COMPACT)


def check_schema(schema: Any) -> list[Any]:
    """All schemas of a document, itself first. Raises InvalidRequestError for what cannot be enforced."""
    schemas = list(_schemas(schema))
    for place, part, depth in schemas:
        if depth > MAX_SCHEMA_NESTING:
            raise _too_deep(json.dumps(schema))
        _check_keywords(place, part)
    parts = [part for _, part, _ in schemas]
    objects = [part for part in parts if isinstance(part, dict)]
    _check_references(objects, {place: depth for place, _, depth in schemas})
    _check_multiples(objects)
    return parts


def _check_references(objects: Sequence[dict[str, Any]], depths: Mapping[str, int]) -> None:
    """The library follows references by calling itself; a chain of too many ends the process."""
    references = {reference for part in objects if isinstance(reference := part.get("$ref"), str)}
    num_levels = len(references) * (1 + max(depths.values()))
    if num_levels > MAX_REFERENCE_LEVELS:
        raise InvalidRequestError(
            f"json_schema has {len(references)} different references between schemas of up to "
            f"{max(depths.values())} levels; the product of both may be {MAX_REFERENCE_LEVELS} at most"
        )


def _check_multiples(objects: Sequence[dict[str, Any]]) -> None:
    """To count in remainders takes an automaton of as many states as the number has units, its zeros left away."""
    numbers = [number for part in objects if isinstance(number := part.get("multipleOf"), (int, float)) and number]
    digits = [int("".join(map(str, Decimal(str(number)).normalize().as_tuple().digits))) for number in numbers]
    multiple = math.lcm(*digits)
    if multiple > MAX_MULTIPLE:
        raise InvalidRequestError(
            f"json_schema has multipleOf {shown(numbers)}: without decimal point and zeros at the end a number that "
            f"is a multiple of all would be {shown(multiple)}; at most {MAX_MULTIPLE} is supported"
        )


def _schemas(schema: Any) -> Iterator[tuple[str, Any, int]]:
    """Every schema in `schema`, itself first, with its JSON pointer and how deep it lies."""
    left: list[tuple[str, Any, int]] = [("#", schema, 0)]
    while left:
        place, part, depth = left.pop()
        yield place, part, depth
        if isinstance(part, dict):
            left += [(f"{place}/{path}", inner, depth + 1) for path, inner in _children(part)]


def _children(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword, value in schema.items():
        if keyword in _NAMED_SCHEMAS and isinstance(value, dict):
            yield from ((f"{keyword}/{name}", inner) for name, inner in value.items())
        elif keyword in _LISTS_OF_SCHEMAS and isinstance(value, list):
            yield from ((f"{keyword}/{index}", inner) for index, inner in enumerate(value))
        elif keyword in _ONE_SCHEMA:
            yield keyword, value


def _check_keywords(place: str, schema: Any) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise InvalidRequestError(f"json_schema has no schema at {place}, but {shown(schema)}")
    for keyword in schema:
        if keyword not in _KNOWN and (keyword == "x-guidance" or not keyword.startswith("x-")):
            problem = "cannot be enforced" if keyword in _NOT_ENFORCED else "is no keyword of JSON Schema"
            raise InvalidRequestError(f"json_schema has {shown(keyword)} at {place}, which {problem}")
    _check_min_properties(place, schema)


def _check_min_properties(place: str, schema: dict[str, Any]) -> None:
    """Names may be repeated in what is generated, and then count as one; only required ones are sure to be there."""
    wanted, required = schema.get("minProperties", 0), schema.get("required", [])
    if isinstance(wanted, int) and isinstance(required, list) and wanted > max(len(required), 1):
        raise InvalidRequestError(
            f"json_schema has minProperties={wanted} at {place}, which cannot be enforced beyond the required ones"
        )


def _too_deep(text: str) -> InvalidRequestError:
    return InvalidRequestError(f"json_schema is nested more than {MAX_SCHEMA_NESTING} levels deep: {shown(text)}")
