"""A tool that a model may call, and a call of one that it has made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sglang.srt.formats.tool_format import Notation
from sglang.srt.formats.xml_calls import write_xml_call
from sglang.srt.grammar.json_schema import json_schema_grammar
from sglang.srt.grammar.xml_arguments import can_be_key

_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class Tool:
    """as_given: as the client describes it, for templates and prompts. is_strict: arguments must obey its schema."""

    name: str
    as_given: Mapping[str, Any]
    is_strict: bool = False

    @property
    def schema(self) -> str:
        """Of its arguments, always an object; JSON. One that describes nothing takes none."""
        parameters = self.as_given["function"].get("parameters") or _NO_PARAMETERS
        return json.dumps({"type": "object", **parameters})


@lru_cache(maxsize=256)
def check_schema(schema: str) -> None:
    """Raises InvalidRequestError for what cannot be enforced. May be called from any thread."""
    json_schema_grammar(schema)


@dataclass(frozen=True)
class PastCall:
    """arguments: JSON text of an object."""

    name: str
    arguments: str


def json_call(notation: Notation, name: str, arguments: str) -> str:
    """Without what stands before it."""
    return f'{{"name": {json.dumps(name)}, "{notation.arguments_key}": {arguments}}}{notation.after}'


def write_call(notation: Notation, name: str, arguments: str) -> str:
    if notation.tags is not None and all(map(can_be_key, values := json.loads(arguments))):
        return f"{notation.before}{write_xml_call(notation.tags, name, values)}{notation.after}"
    return notation.before + json_call(notation, name, arguments)


def write_calls(notation: Notation, calls: list[PastCall]) -> str:
    written = (write_call(notation, call.name, call.arguments) for call in calls)
    return f"{notation.first}{notation.between.join(written)}{notation.last}"
