"""``<function=f><parameter=a>1</parameter></function>`` and the like: calls whose arguments stand between tags."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sglang.srt.formats.calls import Block, Body
from sglang.srt.formats.growing_text import GrowingText, Reader
from sglang.srt.formats.json_text import SPACE, MalformedError, expect, read_value
from sglang.srt.grammar.xml_arguments import GLM_ARGUMENTS, QWEN_ARGUMENTS, ArgumentTags, is_any_text

_NAME = re.compile(r"[\w.:/-]*")
_NAMES = ("true", "false", "null")
_MAX_STEPS = 8
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
    """What stands around the name of a function, its arguments, and at the end."""

    before: str
    after_name: str
    arguments: ArgumentTags
    end: str

    def call(self, name: str) -> tuple[str, str]:
        """What stands before and after the arguments, as it is written."""
        return f"{self.before}{name}{self.after_name}", f"\n{self.end}" if self.end else ""

    def argument(self, key: str) -> tuple[str, str]:
        """What stands before and after its value, as it is written."""
        begin, end = self.arguments.around(key)
        return f"\n{begin}", end


QWEN = Tags("<function=", ">", QWEN_ARGUMENTS, "</function>")
GLM = Tags("", "", GLM_ARGUMENTS, "")


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
    is_plain = isinstance(value, str) and tags.arguments.value[1] not in value and value.strip("\n") == value
    if is_plain and _json(value) is None:
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace(
        tags.arguments.value[1], f"\\u003c{tags.arguments.value[1][1:]}"
    )


@dataclass(frozen=True)
class Values:
    """What an argument may be, by a schema within that of all arguments. Nothing here is refused: a schema that is none
    says nothing.
    """

    schema: Any
    whole: Mapping[str, Any]

    def written(self, text: str) -> str:
        """In JSON: the text as it is, if it is JSON and the schema does not want a text there. ``True`` is JSON where
        a text is wrong.
        """
        may_be_text = self._have(text)
        found = _json(text)
        if found is not None and (self._have(found[0]) or not may_be_text):
            return text
        name = text.lower()
        return name if name in _NAMES and not may_be_text else json.dumps(text, ensure_ascii=False)

    def _have(self, value: Any) -> bool:
        return self._suits(value, self.schema, _MAX_STEPS)

    def _suits(self, value: Any, schema: Any, steps: int) -> bool:
        """steps: into alternatives and references, which may go in circles."""
        if not isinstance(schema, Mapping) or not steps:
            return True
        types = schema.get("type", _TYPES[type(value)])
        kinds = types if isinstance(types, (list, tuple)) else [types]
        listed = [schema["const"]] if "const" in schema else schema.get("enum")
        is_listed = not isinstance(listed, list) or not listed or value in listed
        if not (is_listed and any(kind in _TYPES[type(value)] for kind in kinds)):
            return False
        return all(
            any(self._suits(value, option, steps - 1) for option in options) for options in self._alternatives(schema)
        )

    def _alternatives(self, schema: Mapping[str, Any]) -> Iterator[list[Any]]:
        """One of each has to suit."""
        yield from (schema[name] for name in ("anyOf", "oneOf") if isinstance(schema.get(name), list) and schema[name])
        parts = schema.get("allOf")
        yield from ([part] for part in (parts if isinstance(parts, list) else ()))
        if isinstance(schema.get("$ref"), str):
            yield [self._target(schema["$ref"])]

    def _target(self, reference: str) -> Any:
        found: Any = self.whole
        for step in reference.removeprefix("#").split("/")[1:]:
            found = _object(found).get(step.replace("~1", "/").replace("~0", "~"))
        return found if reference.startswith("#") else None


def xml_call(tags: Tags) -> Body:
    """One call. A value is what it is by the schema of the tool: text, or JSON."""

    def read(block: Block) -> Reader[None]:
        source = block.source
        yield from source.take_all(SPACE)
        yield from expect(source, tags.before)
        name = yield from source.take_all(_NAME)
        call = block.begin(name)
        yield from expect(source, tags.after_name)
        whole = block.tools[name]
        properties = _object(whole.get("properties"))
        keys: set[str] = set()
        while True:
            yield from source.take_all(SPACE)
            if not (yield from source.take(tags.arguments.key[0])):
                break
            key = (yield from _read_until(source, tags.arguments.key[1])).strip()
            if tags.arguments.value[0]:
                yield from source.take_all(SPACE)
            yield from expect(source, tags.arguments.value[0])
            value = yield from _read_argument(source, tags.arguments.value[1], Values(properties.get(key), whole))
            if key in keys:
                raise MalformedError
            call.arguments += f"{', ' if keys else '{'}{json.dumps(key, ensure_ascii=False)}: {value}"
            keys.add(key)
        yield from expect(source, tags.end)
        call.arguments += "}" if keys else "{}"

    return read


def _read_argument(source: GrowingText, mark: str, values: Values) -> Reader[str]:
    """Its value in JSON, and the mark. One that is JSON may hold the mark. Raises MalformedError if there is none."""
    start = source.place
    if not is_any_text(values.schema):
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
    return values.written(text.removeprefix("\n").removesuffix("\n"))


def _read_until(source: GrowingText, mark: str) -> Reader[str]:
    """What stands before the mark; both are read. Raises MalformedError if there is none."""
    start = searched = source.place
    while (end := source.find(mark, searched)) < 0:
        if source.is_whole:
            raise MalformedError
        searched = max(start, len(source.text) - len(mark) + 1)
        yield
    source.place = end + len(mark)
    return source.text[start:end]


def _json(text: str) -> tuple[Any] | None:
    """The value, if the text is one of JSON."""
    try:
        return (json.loads(text, parse_constant=_refuse_constant),)
    except (ValueError, RecursionError):
        return None


def _object(value: Any) -> Mapping[str, Any]:
    """What is none says nothing: schemas of calls that no grammar demands are looked into here first."""
    return value if isinstance(value, Mapping) else {}


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are no JSON."""
    raise ValueError(name)
