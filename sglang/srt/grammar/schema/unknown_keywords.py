"""Keywords that JSON Schema does not have. The standard says of them that they are somebody's own notes, and to ignore
them; but a note that is none would be a constraint that nobody enforces.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

_ELSEWHERE = frozenset(
    (
        *("$recursiveRef", "$recursiveAnchor", "nullable", "contentMediaType", "contentSchema", "x-guidance"),
        *("extends", "disallow", "divisibleBy", "propertyDependencies"),
        *("formatMinimum", "formatMaximum", "formatExclusiveMinimum", "formatExclusiveMaximum"),
        *("typeof", "instanceof", "range", "exclusiveRange", "regexp", "prohibited", "select", "selectCases"),
        *("uniqueItemProperties", "allRequired", "anyRequired", "oneRequired", "patternRequired"),
        *("deepProperties", "deepRequired", "optionalProperties", "elements", "bsonType"),
        *("min", "max", "length", "size", "minValue", "maxValue", "minSize", "maxSize", "gt", "lt", "ge", "le", "gte"),
        *("lte", "regex", "unique", "distinct", "allowed", "forbidden", "allowedValues", "choices", "$merge", "$patch"),
    )
)
"""What says something of values in drafts of the past, in extensions and in languages that look like JSON Schema. What
begins with an underscore is switched off, or somebody's own."""

_CLOSE = 0.8
"""From this likeness on, by difflib's measure, a keyword is taken for another: a letter or two differ."""

_LONG = 5
"""Words as short as ``if`` and ``not`` have others close to them, such as ``note``."""

_SIGNS = frozenset(("type", "$ref", "properties", "items", "enum", "const", "allOf", "anyOf", "oneOf"))
"""What values of notes rarely have."""

Fits = Callable[[str, Any], bool]
"""Whether the keyword is known, and this its value."""


def problem_of(keyword: str, schema: Mapping[str, Any], known: Iterable[str], fits: Fits) -> str:
    """Why it may be meant to say something of values; empty of a note that can be ignored.

    known: the keywords that can be enforced, of whose values `fits` knows.
    """
    if keyword.strip() in _ELSEWHERE:
        return "cannot be enforced"
    if keyword.startswith(("x-", "_")):
        return ""
    problem = "is no keyword of JSON Schema"
    value = schema[keyword]
    for meant in _alike(keyword, tuple(known)):
        if len(meant) >= _LONG or fits(meant, value):
            return f"{problem}; did you mean {meant!r}?"
    if any(isinstance(one, dict) and _is_like_a_schema(one, fits) for one in (value, *_first(value))):
        return f'{problem}; if it is a property, it belongs into "properties"'
    return ""


@lru_cache(maxsize=1024)
def _alike(keyword: str, known: tuple[str, ...]) -> list[str]:
    """Of the known ones those that this one may be a misspelling of, the closest first."""
    plain = _plain_names(known)
    return [plain[found] for found in difflib.get_close_matches(_plain(keyword), plain, n=3, cutoff=_CLOSE)]


@lru_cache(maxsize=1)
def _plain_names(known: tuple[str, ...]) -> dict[str, str]:
    return {_plain(name): name for name in known}


def _plain(keyword: str) -> str:
    """Only its letters and digits, small."""
    return "".join(filter(str.isalnum, keyword)).lower()


def _is_like_a_schema(value: Mapping[str, Any], fits: Fits) -> bool:
    return any(keyword in _SIGNS and fits(keyword, inner) for keyword, inner in value.items())


def _first(value: Any) -> list[Any]:
    return value[:1] if isinstance(value, list) else []
