"""``<function=f><parameter=a>1</parameter></function>`` and the like: calls whose arguments stand between tags."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sglang.srt.formats.calls import Block, Body
from sglang.srt.formats.growing_text import GrowingText, Reader
from sglang.srt.formats.json_text import SPACE, MalformedError, expect, read_value
from sglang.srt.grammar.schema.keywords import ANNOTATIONS

_NAME = re.compile(r"[\w.:/-]*")
_KEY = re.compile(r"[\w.:/$@-]+( [\w.:/$@-]+)*")
_TYPES: dict[type, tuple[str, ...]] = {
    str: ("string",),
    bool: ("boolean",),
    int: ("integer", "number"),
    float: ("number",),
    list: ("array",),
    dict: ("object",),
    type(None): ("null",),
}


@dataclass(frozen=True)
class Tags:
    """What stands around the name of a function, the names of its arguments and their values. Where nothing begins a
    value, it has lines of its own.
    """

    before: str
    after_name: str
    key: tuple[str, str]
    value: tuple[str, str]
    end: str

    def call(self, name: str) -> tuple[str, str]:
        """What stands before and after the arguments, as it is written."""
        return f"{self.before}{name}{self.after_name}", f"\n{self.end}" if self.end else ""

    def argument(self, key: str) -> tuple[str, str]:
        """What stands before and after its value, as it is written."""
        begin, end = self.value
        return f"\n{self.key[0]}{key}{self.key[1]}\n{begin}", end if begin else f"\n{end}"


QWEN = Tags("<function=", ">", ("<parameter=", ">"), ("", "</parameter>"), "</function>")
GLM = Tags("", "", ("<arg_key>", "</arg_key>"), ("<arg_value>", "</arg_value>"), "")


def can_be_key(name: str) -> bool:
    """Whether an argument of this name is read back as it is written between tags."""
    return _KEY.fullmatch(name) is not None


def write_xml_call(tags: Tags, name: str, arguments: Mapping[str, Any]) -> str:
    """As `xml_call` reads it. All names of arguments can be keys."""
    before, after = tags.call(name)
    written = ""
    for key, value in arguments.items():
        begin, end = tags.argument(key)
        written += f"{begin}{_written(value, tags)}{end}"
    return f"{before}{written}{after}"


def _written(value: Any, tags: Tags) -> str:
    """Text as it is, unless it would be read as something else."""
    is_plain = isinstance(value, str) and tags.value[1] not in value and value.strip("\n") == value
    if is_plain and _json(value) is None:
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace(tags.value[1], f"\\u003c{tags.value[1][1:]}")


def is_any_text(schema: Any) -> bool:
    """Whether it says so, and no more."""
    return isinstance(schema, Mapping) and schema.get("type") == "string" and schema.keys() <= {"type", *ANNOTATIONS}


def xml_call(tags: Tags) -> Body:
    """One call. A value is what it is by the schema of the tool: text, or JSON."""

    def read(block: Block) -> Reader[None]:
        source = block.source
        yield from source.take_all(SPACE)
        yield from expect(source, tags.before)
        name = yield from source.take_all(_NAME)
        call = block.begin(name)
        yield from expect(source, tags.after_name)
        properties = block.tools[name].get("properties", {})
        keys: set[str] = set()
        while True:
            yield from source.take_all(SPACE)
            if not (yield from source.take(tags.key[0])):
                break
            key = (yield from _read_until(source, tags.key[1])).strip()
            if tags.value[0]:
                yield from source.take_all(SPACE)
            yield from expect(source, tags.value[0])
            value = yield from _read_argument(source, tags.value[1], properties.get(key))
            if key in keys:
                raise MalformedError
            call.arguments += f"{', ' if keys else '{'}{json.dumps(key, ensure_ascii=False)}: {value}"
            keys.add(key)
        yield from expect(source, tags.end)
        call.arguments += "}" if keys else "{}"

    return read


def _read_argument(source: GrowingText, mark: str, schema: Any) -> Reader[str]:
    """Its value in JSON, and the mark. One that is JSON may hold the mark. Raises MalformedError if there is none."""
    start = source.place
    if not is_any_text(schema):
        try:
            yield from source.take_all(SPACE)
            yield from read_value(source)
            yield from source.take_all(SPACE)
            yield from expect(source, mark)
        except MalformedError:
            source.place = start
    if source.place == start:
        yield from _read_until(source, mark)
    text = source.text[start : source.place - len(mark)]
    return _value(text.removeprefix("\n").removesuffix("\n"), schema)


def _read_until(source: GrowingText, mark: str) -> Reader[str]:
    """What stands before the mark; both are read. Raises MalformedError if there is none."""
    start = searched = source.place
    while (end := source.text.find(mark, searched)) < 0:
        if source.is_whole:
            raise MalformedError
        searched = max(start, len(source.text) - len(mark) + 1)
        yield
    source.place = end + len(mark)
    return source.text[start:end]


def _value(text: str, schema: Any) -> str:
    """In JSON: the text as it is, if it is JSON and the schema does not want a text there."""
    found = _json(text)
    if found is not None and (_suits(found[0], schema) or not _suits(text, schema)):
        return text
    return json.dumps(text, ensure_ascii=False)


def _json(text: str) -> tuple[Any] | None:
    """The value, if the text is one of JSON."""
    try:
        return (json.loads(text, parse_constant=_refuse_constant),)
    except (ValueError, RecursionError):
        return None


def _suits(value: Any, schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return True
    types = schema.get("type", _TYPES[type(value)])
    kinds = types if isinstance(types, (list, tuple)) else [types]
    return any(kind in _TYPES[type(value)] for kind in kinds) and value in (schema.get("enum") or [value])


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are no JSON."""
    raise ValueError(name)
