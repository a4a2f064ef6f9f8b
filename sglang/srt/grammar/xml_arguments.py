"""Arguments that stand between tags: how the tags are written, and which schemas can be said so.

A value is text as it is where its schema says no more than that, one of some texts, or else JSON. What a schema says
of arguments together cannot be said between tags.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sglang.srt.grammar.schema.keywords import without_notes

_KEY = re.compile(r"[\w.:/$@-]+( [\w.:/$@-]+)*")
_OF_EACH = {"type", "properties", "required", "additionalProperties", "$defs", "definitions", "$schema"}
"""Keywords that say nothing of arguments together but which there have to be."""

_WHOLE = "http://tool.invalid/"
"""The schema of all arguments, where the one of one is said by a reference into it."""


@dataclass(frozen=True)
class ArgumentTags:
    """What stands around the names of arguments and around their values. Where nothing begins a value, it has lines of
    its own.
    """

    key: tuple[str, str]
    value: tuple[str, str]

    def around(self, key: str) -> tuple[str, str]:
        """What stands before and after the value of this argument."""
        begin, end = self.value
        return f"{self.key[0]}{key}{self.key[1]}\n{begin}", end if begin else f"\n{end}"


QWEN_ARGUMENTS = ArgumentTags(("<parameter=", ">"), ("", "</parameter>"))
GLM_ARGUMENTS = ArgumentTags(("<arg_key>", "</arg_key>"), ("<arg_value>", "</arg_value>"))


@dataclass(frozen=True)
class Argument:
    """texts: the values, where they are listed. schema: of its value; JSON. Of no meaning where it is any text."""

    key: str
    is_required: bool
    is_any_text: bool
    texts: tuple[str, ...]
    schema: str


def read_arguments(schema: str) -> list[Argument] | None:
    """The properties of an object, in order; None where tags cannot say what the schema says. It is JSON."""
    whole = json.loads(schema)
    if not isinstance(whole, dict) or not _is_of_each(whole):
        return None
    required = whole.get("required", [])
    return [
        Argument(key, key in required, is_any_text(one), tuple(_texts(one)), json.dumps(_alone(key, whole)))
        for key, one in whole["properties"].items()
    ]


def can_be_key(name: str) -> bool:
    """Whether an argument of this name is read back as it is written between tags."""
    return _KEY.fullmatch(name) is not None


def is_any_text(schema: Any) -> bool:
    """Whether it says so, and no more."""
    return isinstance(schema, Mapping) and schema.get("type") == "string" and _said(schema) == {"type"}


def _said(schema: Mapping[str, Any]) -> set[str]:
    """Its keywords that say something of values."""
    return without_notes(schema)


def _is_of_each(whole: Mapping[str, Any]) -> bool:
    properties, required = whole.get("properties"), whole.get("required", [])
    return (
        isinstance(properties, dict)
        and isinstance(required, list)
        and _said(whole) <= _OF_EACH
        and whole.get("additionalProperties", False) is False
        and all(isinstance(schema, dict) for schema in properties.values())
        and all(map(can_be_key, properties))
        and all(isinstance(key, str) and key in properties for key in required)
    )


def _texts(schema: Mapping[str, Any]) -> list[str]:
    """The values that the schema lists, if that is all it says and they can stand between tags."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    says_more = schema.get("type", "string") != "string" or not _said(schema) <= {"type", "enum", "const"}
    if says_more or {"enum", "const"} <= schema.keys() or not isinstance(values, list):
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
