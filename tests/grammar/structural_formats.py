"""Formats of structural tags, to be put together."""

from __future__ import annotations

from typing import Any

COUNT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOLS = {
    "type": "structural_tag",
    "structures": [
        {"begin": "<f=count>", "schema": COUNT, "end": "</f>"},
        {"begin": "<f=code>", "schema": {"type": "integer"}, "end": "</f>"},
    ],
    "triggers": ["<f="],
}


DIGITS = {"type": "regex", "pattern": "[0-9]+"}
INTEGER = {"type": "json_schema", "json_schema": {"type": "integer"}}
XML_SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "n": {"type": "integer", "minimum": 1},
        "name": {"$ref": "#/$defs/word"},
    },
    "additionalProperties": False,
    "$defs": {"word": {"type": "string", "pattern": "^[a-z]$"}},
}


def tag(begin: str, pattern: str, end: str | list[str]) -> dict[str, Any]:
    return {"type": "tag", "begin": begin, "content": {"type": "regex", "pattern": pattern}, "end": end}


def triggered(triggers: list[str], *tags: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"type": "triggered_tags", "triggers": triggers, "tags": list(tags), **options}


def separated(separator: str, *tags: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"type": "tags_with_separator", "separator": separator, "tags": list(tags), **options}


def xml_tag(required: list[str], end: str | list[str], **schema: Any) -> dict[str, Any]:
    content = {"type": "qwen_xml_parameter", "json_schema": {**XML_SCHEMA, "required": required, **schema}}
    return {"type": "tag", "begin": "<f>", "content": content, "end": end}
