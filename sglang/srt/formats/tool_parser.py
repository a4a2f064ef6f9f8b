"""What a model says, sorted into content and calls of tools as it comes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sglang.srt.formats.calls import Block, Call
from sglang.srt.formats.growing_text import GrowingText, Reader
from sglang.srt.formats.json_text import MalformedError
from sglang.srt.formats.tool_format import ToolFormat

_SPACE = re.compile(r"\s*")
_BARE_BEGINNINGS = ("{", "[")


@dataclass(frozen=True)
class Content:
    text: str


@dataclass(frozen=True)
class CallName:
    """Call number `index` begins."""

    index: int
    name: str


@dataclass(frozen=True)
class CallArguments:
    """More of the arguments of call number `index`."""

    index: int
    text: str


Event = Content | CallName | CallArguments


class ToolCallParser:
    """`feed` it all pieces, then `finish` it; the events do not depend on where pieces end, but for how finely content
    and arguments come in parts.

    A call is told when it is complete and known to be one of the `tools`, by name the JSON Schema of its arguments;
    what turns out to be no call is content, to the letter. White space beside calls is not. If the text `is_demanded`,
    by a grammar, calls cannot turn out wrong and are told as they come; one that ends too early has arguments that do,
    and what stands behind them is left out.
    """

    def __init__(
        self, tool_format: ToolFormat, tools: Mapping[str, Mapping[str, Any]], is_demanded: bool = False
    ) -> None:
        self._format = tool_format
        self._tools = tools
        self._is_demanded = is_demanded
        self._source = GrowingText()
        self._block: Block | None = None
        self._events: list[Event] = []
        self._content: list[str] = []  # pieces of the event that comes next
        self._told: list[Call] = []  # what the events say of the calls
        self._num_closed = 0  # calls of blocks that are over
        marks = (*(begin for begin, _ in tool_format.blocks), *tool_format.layout, *tool_format.separators)
        firsts = {*(mark[0] for mark in marks if mark), *(_BARE_BEGINNINGS if tool_format.is_anywhere else ())}
        self._plain = re.compile(rf"[^\s{re.escape(''.join(sorted(firsts)))}]*")
        self._reading: Iterator[None] = self._read()

    @property
    def num_calls(self) -> int:
        return len(self._told)

    def feed(self, text: str) -> list[Event]:
        self._source.text += text
        return self._advance()

    def finish(self) -> list[Event]:
        self._source.is_whole = True
        return self._advance()

    def _advance(self) -> list[Event]:
        next(self._reading, None)
        if self._is_demanded and self._block is not None:
            self._block.catch_up()
            self._tell(self._block)
        self._end_content()
        events, self._events = self._events, []
        return events

    def _read(self) -> Reader[None]:
        source = self._source
        may_be_bare = self._format.is_bare
        is_after_call = False
        while True:
            start = yield from self._skip_layout(source.place, is_after_call)
            beginning = source.place
            end = yield from self._take_mark(may_be_bare)
            if end is not None:
                if (yield from self._read_block(end)):
                    is_after_call = True
                    continue
            elif not (yield from source.peek()):
                if not is_after_call:
                    self._say(start)
                return
            if source.place == beginning:
                source.place += 1
            self._skip_plain()
            self._say(start)
            is_after_call = False
            may_be_bare = self._format.is_bare and self._format.is_anywhere

    def _skip_layout(self, start: int, is_after_call: bool) -> Reader[int]:
        """Where what has been read since `start` is content from, if no call comes now."""
        while True:
            yield from self._source.take_all(_SPACE)
            if (yield from self._take_one(self._format.layout)):
                start = self._source.place if is_after_call else start
            elif not (yield from self._take_one(self._format.separators)):
                return start

    def _take_one(self, marks: tuple[str, ...]) -> Reader[bool]:
        for mark in marks:
            if (yield from self._source.take(mark)):
                return True
        return False

    def _skip_plain(self) -> None:
        """What is there of text in which nothing can begin."""
        match = self._plain.match(self._source.text, self._source.place)
        assert match is not None, "a pattern that matches the empty text"
        self._source.place = match.end()

    def _take_mark(self, may_be_bare: bool) -> Reader[str | None]:
        """Read what begins a block; the mark that ends it, or None where none begins."""
        for begin, end in self._format.blocks:
            if begin and (yield from self._source.take(begin)):
                return end
        if may_be_bare and (yield from self._source.peek()) in _BARE_BEGINNINGS:
            return ""
        return None

    def _read_block(self, end: str) -> Reader[bool]:
        """Whether it is one. If not, nothing of it has been read."""
        source = self._source
        start = source.place
        block = self._block = Block(source, self._tools)
        try:
            yield from source.take_all(_SPACE)
            yield from self._format.body(block)
            yield from self._read_end(end)
        except MalformedError:
            is_block = len(self._told) > self._num_closed  # what has been told cannot be taken back
            source.place = len(source.text) if is_block else start
        else:
            is_block = True
            self._tell(block)
        self._block = None
        self._num_closed = len(self._told)
        return is_block

    def _read_end(self, mark: str) -> Reader[None]:
        """It may be missing at the end of the text, where the model was cut off or saw no need for it."""
        source = self._source
        if not mark:
            return
        yield from source.take_all(_SPACE)
        if (yield from source.take(mark)):
            return
        rest = source.text[source.place :]
        if not source.is_whole or not mark.startswith(rest):
            raise MalformedError
        source.place += len(rest)

    def _say(self, start: int) -> None:
        """That what has been read from there on is content."""
        if not (self._is_demanded and self._num_closed):
            self._content.append(self._source.text[start : self._source.place])

    def _end_content(self) -> None:
        if text := "".join(self._content):
            self._events.append(Content(text))
        self._content.clear()

    def _tell(self, block: Block) -> None:
        """What of its calls has not been told."""
        for index, call in enumerate(block.calls, self._num_closed):
            if call.name is None or not call.arguments:
                return
            if index == len(self._told):
                self._end_content()
                self._told.append(Call(call.name))
                self._events.append(CallName(index, call.name))
            told = self._told[index]
            if len(call.arguments) > len(told.arguments):
                self._events.append(CallArguments(index, call.arguments[len(told.arguments) :]))
                told.arguments = call.arguments
