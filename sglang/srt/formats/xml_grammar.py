"""Grammars of calls whose arguments stand between tags, in Lark.

A value is text as it is where its schema says no more than that, one of some texts, or else JSON. What schemas say of
arguments together, tags cannot: then nothing is written, and the call is to be demanded in JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from sglang.srt.formats.xml_calls import Tags, can_be_key, is_any_text
from sglang.srt.grammar.schema.keywords import ANNOTATIONS

_OF_EACH = {"type", "properties", "required", "additionalProperties", "$defs", "definitions", "$schema", *ANNOTATIONS}
"""Keywords that say nothing of arguments together but which there have to be."""

_TEXT = "xml_text"
_WHOLE = "http://tool.invalid/"
"""The schema of all arguments, where the one of one is said by a reference into it."""


class XmlCalls:
    """after: what stands after a call."""

    def __init__(self, tags: Tags, after: str) -> None:
        self._tags = tags
        self._after = after

    @property
    def definitions(self) -> list[str]:
        """What calls refer to. A lazy lexeme ends as soon as it can, and so holds no mark of its end but the last."""
        return [f"{_TEXT}[lazy]: /(.|\\n)*/ {_literal(self._tags.value[1])}"]

    def call(self, name: str, schema: str) -> str | None:
        """A call with arguments of the schema, JSON; None where that cannot be written."""
        whole = json.loads(schema)
        if not _is_of_each(whole):
            return None
        before, after = self._tags.call(name)
        required = whole.get("required", [])
        arguments = []
        for key in whole["properties"]:
            argument = self._argument(key, whole)
            arguments.append(argument if key in required else f"({argument})?")
        return " ".join([_literal(before), *arguments, _literal(after + self._after)])

    def _argument(self, key: str, whole: Mapping[str, Any]) -> str:
        begin, end = self._tags.argument(key)
        schema = whole["properties"][key]
        if is_any_text(schema):
            return f"{_literal(begin)} {_TEXT}"
        texts = _texts(schema)
        value = f"({' | '.join(map(_literal, texts))})" if texts else f"%json {json.dumps(_alone(key, whole))}"
        return f"{_literal(begin)} {value} {_literal(end)}"


def _is_of_each(whole: Mapping[str, Any]) -> bool:
    properties, required = whole.get("properties"), whole.get("required", [])
    return (
        isinstance(properties, dict)
        and isinstance(required, list)
        and whole.keys() <= _OF_EACH
        and whole.get("additionalProperties", False) is False
        and all(isinstance(schema, dict) for schema in properties.values())
        and all(map(can_be_key, properties))
        and all(key in properties for key in required)
    )


def _texts(schema: Mapping[str, Any]) -> list[str]:
    """The values that the schema lists, if that is all it says and they can stand between tags."""
    values = schema.get("enum")
    is_list = schema.get("type") == "string" and schema.keys() <= {"type", "enum", *ANNOTATIONS}
    if not is_list or not isinstance(values, list):
        return []
    return values if all(isinstance(value, str) and _is_line(value) for value in values) else []


def _is_line(text: str) -> bool:
    return bool(text) and "<" not in text and text.isprintable()


def _alone(key: str, whole: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of one argument."""
    schema = whole["properties"][key]
    dialect = {name: whole[name] for name in ("$schema",) if name in whole}
    if '"$' not in json.dumps(schema):
        return {**dialect, **schema}
    pointer = quote(key.replace("~", "~0").replace("/", "~1"))
    inside = {"$defs": {"whole": {"$id": _WHOLE, **whole}}}
    return {**dialect, "allOf": [{"$ref": f"{_WHOLE}#/properties/{pointer}"}], **inside}


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
