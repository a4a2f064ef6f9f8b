"""Lark grammars as users write them: what the library would work on without end, or die of, is refused."""

from __future__ import annotations

import json
import re

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.json_schema import check_schema

_TOKENS = re.compile(
    r"\"(?:\\.|[^\"\\\n])*\"|#[^\n]*|//[^\n]*|/(?:\\.|[^/\\\n])+/|(?P<schema>%json\b\s*)|(?P<operator>[&~])", re.DOTALL
)


def check_lark(source: str) -> None:
    """Raises InvalidRequestError for terminals combined with ``&`` or ``~``, of which few characters can take hours,
    and for a schema after ``%json`` that would be refused as a ``json_schema``.
    """
    place = 0
    while (match := _TOKENS.search(source, place)) is not None:
        place = match.end()
        line = source.count("\n", 0, match.start()) + 1
        if match["operator"]:
            raise InvalidRequestError(f"ebnf, line {line}: {match[0]!r} between terminals is not supported")
        if match["schema"]:
            place = _check_schema(source, place, line)


def _check_schema(source: str, place: int, line: int) -> int:
    """Returns where the schema that begins at `place` ends."""
    try:
        schema, end = json.JSONDecoder().raw_decode(source, place)
    except ValueError as error:
        raise InvalidRequestError(f"ebnf, line {line}: what follows %json is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidRequestError(f"ebnf, line {line}: the schema after %json is nested too deep") from error
    try:
        check_schema(schema)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"ebnf, line {line}: {error}") from error
    return end
