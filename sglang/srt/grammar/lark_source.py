"""Lark grammars as users write them: what the library would work on without end, or die of, is refused."""

from __future__ import annotations

import json
import re

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar.common_terminals import IMPORT, definitions
from sglang.srt.grammar.item_rules import RESERVED_NAMES
from sglang.srt.grammar.json_schema import json_schema_rules

_TOKENS = re.compile(
    r"\"(?:\\.|[^\"\\\n])*\"|#[^\n]*|//[^\n]*|/(?:\\.|[^/\\\n])+/|(?P<schema>%json\b\s*)|(?P<operator>&|~(?![ ]*[0-9]))"
    rf"|(?P<imported>{IMPORT})"
    rf"|(?P<token><[^<>\s]+>)|(?P<start>\bstart\b)|(?P<reserved>{RESERVED_NAMES})",
    re.DOTALL,
)


def lark_rules(source: str, name: str, whitespace: str = "") -> str:
    """The grammar with every schema after ``%json`` lowered as a ``json_schema`` with this `whitespace` is, and `name`
    for its rule ``start``. What is imported from ``common`` is defined instead.

    Raises InvalidRequestError for terminals combined with ``&`` or ``~``, of which few characters can take hours, for
    tokens by name or number, for names that rules of schemas have, and for a schema that would be refused as a
    ``json_schema``.
    """
    parts: list[str] = []
    schemas: list[str] = []
    imported: list[str] = []
    place = copied = 0
    while (match := _TOKENS.search(source, place)) is not None:
        place = match.end()
        line = source.count("\n", 0, match.start()) + 1
        if match["operator"]:
            raise InvalidRequestError(f"ebnf, line {line}: {match[0]!r} between terminals is not supported")
        if match["token"]:  # an end token among them would end the output, wherever it stands
            raise InvalidRequestError(
                f"ebnf, line {line}: {shown(match[0])} names a token, but a constraint is of text; put it in quotes"
            )
        if match["reserved"]:
            raise InvalidRequestError(
                f"ebnf, line {line}: {shown(match[0])} is a name for items that must differ; give the rule another one"
            )
        if match["schema"]:
            place = _end_of_schema(source, place, line)
            schema_name = f"json_schema_{len(schemas)}"
            schemas.append(_lowered(source[match.end() : place], schema_name, whitespace, line))
            parts += [source[copied : match.start()], f" {schema_name} "]
            copied = place
        if match["start"]:
            parts += [source[copied : match.start()], name]
            copied = place
        if match["imported"] and (lines := definitions(match[0])):
            imported += lines
            parts.append(source[copied : match.start()])
            copied = place
    return "\n".join(["".join([*parts, source[copied:]]), *imported, *schemas])


def has_schema(source: str) -> bool:
    return any(match["schema"] for match in _TOKENS.finditer(source))


def _end_of_schema(source: str, place: int, line: int) -> int:
    try:
        _, end = json.JSONDecoder().raw_decode(source, place)
    except ValueError as error:
        raise InvalidRequestError(f"ebnf, line {line}: what follows %json is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidRequestError(f"ebnf, line {line}: the schema after %json is nested too deep") from error
    return end


def _lowered(schema: str, name: str, whitespace: str, line: int) -> str:
    try:
        return json_schema_rules(schema, name, whitespace)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"ebnf, line {line}: {error}") from error
