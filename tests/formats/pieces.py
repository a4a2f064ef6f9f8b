"""Texts cut into pieces, as streams cut them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sglang.srt.args import ToolCallParserName
from sglang.srt.formats.answer_parser import ParsedAnswer
from sglang.srt.formats.tool_format import TOOL_FORMATS
from sglang.srt.formats.tool_parser import Event, ToolCallParser

PROPERTIES = {"text": {"type": "string"}, "maybe": {"type": ["string", "null"]}, "digit": {"enum": ["1", 2]}}
TEXT_OR_NULL = {"anyOf": [{"type": "string"}, {"type": "null"}]}
ALTERNATIVES = {
    "flag": {"type": "boolean"},
    "some": TEXT_OR_NULL,
    "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "none": {"type": "null"},
    "all": {"allOf": [{"$ref": "#/$defs/text"}]},
    "loop": {"$ref": "#/$defs/loop"},
    "odd": {"$ref": "https://example.com/a", "anyOf": 3},
}
DEFINITIONS = {"text": TEXT_OR_NULL, "loop": {"$ref": "#/$defs/loop"}}
TOOLS: dict[str, dict[str, Any]] = {
    "f": {"properties": PROPERTIES},
    "get_time": {},
    "g": {"properties": ALTERNATIVES, "$defs": DEFINITIONS},
}


def tool_events(name: ToolCallParserName, pieces: list[str], is_demanded: bool = False) -> list[Event]:
    tool_format = TOOL_FORMATS[name].demanded if is_demanded else TOOL_FORMATS[name]
    parser = ToolCallParser(tool_format, TOOLS, is_demanded)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.finish()


def parsed(name: ToolCallParserName, *pieces: str) -> ParsedAnswer:
    return ParsedAnswer.of(tool_events(name, list(pieces)))


@st.composite
def cuts(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
