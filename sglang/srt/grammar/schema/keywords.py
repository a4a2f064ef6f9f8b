"""The keywords of JSON Schema: which are known, and what their values have to be."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar.schema.formats import ENCODINGS, FORMATS, NAMES_OF_PATTERNS
from sglang.srt.grammar.schema.numbers import MAX_DIGITS
from sglang.srt.grammar.schema.unknown_keywords import problem_of

TYPES = ("null", "boolean", "number", "integer", "string", "array", "object")
ANNOTATIONS = (
    *("title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "$comment"),
    *("discriminator", "$vocabulary", "components", "externalDocs", "xml", "optional"),
    *("enumNames", "enumDescriptions", "markdownDescription", "markdownEnumDescriptions", "deprecationMessage"),
    *("errorMessage", "patternErrorMessage", "defaultSnippets", "allowTrailingCommas", "allowComments", "tsType"),
)
"""Those of the standard, of OpenAPI and of editors; none says anything of values. A reference may lead into them."""
ONE_SCHEMA = (
    *("additionalProperties", "additionalItems", "items", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
LISTS_OF_SCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
DEFINITIONS = ("$defs", "definitions")
EXCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
"""In draft-04, as in OpenAPI 3.0, they are true or false, and say what the keyword beside them means."""


_TYPES_ELSEWHERE = {
    **{name: name for name in TYPES},
    **{"str": "string", "text": "string", "int": "integer", "long": "integer", "bool": "boolean", "none": "null"},
    **dict.fromkeys(("float", "double", "decimal"), "number"),
    **dict.fromkeys(("dict", "map", "record"), "object"),
    **dict.fromkeys(("list", "tuple", "set"), "array"),
}


def is_number(value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return is_number(value) and value >= 0 and value == int(value)


def _is_schema(value: Any) -> bool:
    return isinstance(value, (dict, bool))


def _is_list_of_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_named_schemas(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_schema, value.values()))


_A_COUNT, _A_NUMBER, _A_TEXT, _A_SCHEMA, _SCHEMAS, _NAMED, _NAMES, _A_FLAG = (
    (_is_count, "a whole number, 0 or more"),
    (is_number, "a number"),
    (lambda value: isinstance(value, str), "a string"),
    (_is_schema, "a schema: an object, true or false"),
    (_is_list_of_schemas, "a list of schemas, at least one"),
    (_is_named_schemas, "an object of schemas"),
    (_is_list_of_names, "a list of strings"),
    (lambda value: isinstance(value, bool), "true or false"),
)
_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(ONE_SCHEMA, _A_SCHEMA),
    **dict.fromkeys(LISTS_OF_SCHEMAS, _SCHEMAS),
    **dict.fromkeys(NAMED_SCHEMAS, _NAMED),
    **dict.fromkeys(("$ref", "$dynamicRef", "$anchor", "$dynamicAnchor", "$id", "id", "$schema", "pattern"), _A_TEXT),
    **dict.fromkeys(("minimum", "maximum"), _A_NUMBER),
    **dict.fromkeys(EXCLUSIVE, (lambda value: is_number(value) or isinstance(value, bool), "a number")),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _A_COUNT),
    **dict.fromkeys(("minContains", "maxContains"), _A_COUNT),
    "items": (
        lambda value: _is_schema(value) or (isinstance(value, list) and all(map(_is_schema, value))),
        "a schema or a list of schemas",
    ),
    "dependencies": (
        lambda value: isinstance(value, dict) and all(_is_schema(v) or _is_list_of_names(v) for v in value.values()),
        "an object of schemas and lists of strings",
    ),
    "dependentRequired": (
        lambda value: isinstance(value, dict) and all(map(_is_list_of_names, value.values())),
        "an object of lists of strings",
    ),
    "required": _NAMES,
    "uniqueItems": _A_FLAG,
    "enum": (lambda value: isinstance(value, list), "a list"),
    "const": (lambda value: True, "any value"),
    "multipleOf": (lambda value: is_number(value) and value > 0, "a number greater than 0"),
    "type": (
        lambda value: all(one in TYPES for one in value) if isinstance(value, list) else value in TYPES,
        f"of {', '.join(TYPES)}, or a list of them",
    ),
    "contentEncoding": (lambda value: value in ENCODINGS, f"one of {', '.join(ENCODINGS)}, which can be enforced"),
    "format": (lambda value: value in FORMATS, f"one of {', '.join(FORMATS)}, which can be enforced"),
}


def check_keywords(place: str, schema: Any) -> None:
    """Of one schema, without those in it. Raises InvalidRequestError for a keyword that is not known or not enforced,
    and for a value that is none of its keyword.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise InvalidRequestError(f"json_schema has no schema at {place}, but {shown(schema)}")
    is_none = _is_none(schema)
    for keyword, value in schema.items():
        if keyword == "format" and _is_hint(value, schema):
            continue
        if keyword in _VALUES:
            is_right, right = _VALUES[keyword]
            if not is_right(value):
                raise InvalidRequestError(
                    f"json_schema has {keyword} {shown(value)} at {place}{_meant(keyword, value)}; it has to be {right}"
                )
            _check_numbers(place, keyword, value)
        elif problem := _problem(keyword, schema, is_none):
            raise InvalidRequestError(f"json_schema has {shown(keyword)} at {place}, which {problem}")


def without_notes(schema: Mapping[str, Any]) -> set[str]:
    """The keywords that may say something of the values of the schema."""
    is_none = _is_none(schema)
    return {keyword for keyword in schema if keyword in _VALUES or _problem(keyword, schema, is_none)}


def _problem(keyword: str, schema: Mapping[str, Any], is_none: bool) -> str:
    """Of one whose values are not known: why it cannot be ignored, if so. is_none: it stands in what is no schema."""
    if keyword in ANNOTATIONS or (keyword == "contentMediaType" and _is_any_text(schema)):
        return ""
    if keyword == "nullable":
        return f"cannot be enforced; {_hint_for_nullable(schema)}"
    problem = problem_of(keyword, schema, _VALUES, _fits)
    return problem or ("is no keyword of JSON Schema, and neither is what stands beside it" if is_none else "")


def _is_any_text(schema: Mapping[str, Any]) -> bool:
    """Whether nothing is wrong for its media type, such as ``text/html``."""
    media_type = schema["contentMediaType"]
    return "contentEncoding" not in schema and isinstance(media_type, str) and media_type.lower().startswith("text/")


def _is_none(schema: Mapping[str, Any]) -> bool:
    """Whether it is no schema but, perhaps, the properties of one: ``{"name": "string"}``."""
    unknown = [name for name in schema if name not in ANNOTATIONS and not name.startswith("x-")]
    if not _VALUES.keys().isdisjoint(unknown):
        return False
    return len(unknown) == len(schema) or any(schema[name] in TYPES for name in unknown)


def _fits(keyword: str, value: Any) -> bool:
    return keyword in _VALUES and _VALUES[keyword][0](value)


def _has_pattern(schema: dict[str, Any]) -> bool:
    others = schema.get("allOf", [])
    return any(
        "pattern" in one for one in (schema, *(others if isinstance(others, list) else [])) if isinstance(one, dict)
    )


def _meant(keyword: str, value: Any) -> str:
    """A question, where it may be guessed."""
    meant = None
    if keyword == "type" and isinstance(value, str):
        meant = _TYPES_ELSEWHERE.get(value.lower())
    if keyword == "format" and isinstance(value, str):
        meant = next(iter(difflib.get_close_matches(value.lower(), FORMATS, n=1, cutoff=0.8)), None)
    return f"; did you mean {meant!r}?" if meant else ""


def _is_hint(name: Any, schema: dict[str, Any]) -> bool:
    """Whether the format says nothing of values: what it says, the pattern beside it says, or it tells an editor how to
    show an object, a list or a flag.
    """
    kinds = schema.get("type", ())
    shown_as = {kinds} if isinstance(kinds, str) else set(filter(TYPES.__contains__, kinds))
    if (
        isinstance(name, str)
        and name not in FORMATS
        and shown_as
        and shown_as <= {"object", "array", "boolean", "null"}
    ):
        return True
    return name in NAMES_OF_PATTERNS and _has_pattern(schema)


def _hint_for_nullable(schema: Mapping[str, Any]) -> str:
    kind = json.dumps(schema["type"]) if schema.get("type") in TYPES else "..."
    return f'write "type": [{kind}, "null"]' if schema["nullable"] else "leave it out"


def _check_numbers(place: str, keyword: str, value: Any) -> None:
    if keyword in (*ONE_SCHEMA, *LISTS_OF_SCHEMAS, *NAMED_SCHEMAS):
        return
    for number in _numbers(value):
        if _num_digits(number) > MAX_DIGITS:
            raise InvalidRequestError(
                f"json_schema has a number in {keyword} at {place} with more than {MAX_DIGITS} digits: {shown(number)}"
            )


def _num_digits(number: int | Decimal) -> int:
    """Not less than written without an exponent."""
    if isinstance(number, int):
        return len(str(abs(number)))
    return abs(number.adjusted()) + len(number.as_tuple().digits)


def _numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _numbers(one)
    elif is_number(value):
        yield value


def children(schema: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The schemas right inside a schema, with the steps of the JSON pointer that lead to them."""
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        if keyword in DEFINITIONS and isinstance(value, dict):
            yield from _defined((keyword,), value)
        elif keyword in NAMED_SCHEMAS and isinstance(value, dict):
            yield from (((keyword, name), inner) for name, inner in value.items() if not isinstance(inner, list))
        elif keyword in LISTS_OF_SCHEMAS and isinstance(value, list):
            yield from (((keyword, str(index)), inner) for index, inner in enumerate(value))
        elif keyword in ONE_SCHEMA:
            yield (keyword,), value


def _defined(steps: tuple[str, ...], value: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Definitions may be in groups, which are no schemas."""
    for name, inner in value.items():
        if _is_group(inner):
            yield from _defined((*steps, name), inner)
        else:
            yield (*steps, name), inner


def _is_group(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(inner, dict) for inner in value.values())
        and not any(name in _VALUES or name in ANNOTATIONS for name in value)
    )
