"""An answer as it comes: thoughts, content, and calls of tools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sglang.srt.formats.reasoning import Mark, Part, ReasoningParser, Thought
from sglang.srt.formats.tool_parser import CallArguments, CallName, Content, Event, ToolCallParser

AnswerEvent = Event | Thought


@dataclass(frozen=True)
class ReasoningView:
    """is_separate: thoughts are told as such; otherwise they are content, marks included. is_streamed: as they come."""

    is_separate: bool = True
    is_streamed: bool = True


SEPARATE = ReasoningView()


class AnswerParser:
    """`feed` it all pieces, then `finish` it. Calls that a model thinks of are no calls."""

    def __init__(
        self,
        reasoning: ReasoningParser | None = None,
        tools: ToolCallParser | None = None,
        view: ReasoningView = SEPARATE,
    ) -> None:
        self._reasoning = reasoning
        self._tools = tools
        self._view = view
        self._thoughts = ""  # held back

    @property
    def has_calls(self) -> bool:
        return self._tools is not None and self._tools.num_calls > 0

    def feed(self, text: str) -> list[AnswerEvent]:
        if self._reasoning is None:
            return list(self._answer(text))
        return list(self._sorted(self._reasoning.feed(text)))

    def finish(self) -> list[AnswerEvent]:
        events: list[AnswerEvent] = []
        if self._reasoning is not None:
            events += self._sorted(self._reasoning.finish())
        events += self._release()
        if self._tools is not None:
            events += self._tools.finish()
        return events

    def _sorted(self, parts: Iterable[Part]) -> Iterator[AnswerEvent]:
        for part in parts:
            if isinstance(part, (Thought, Mark)) and not self._view.is_separate:
                yield Content(part.text)
            elif isinstance(part, Thought) and self._view.is_streamed:
                yield part
            elif isinstance(part, Thought):
                self._thoughts += part.text
            elif not isinstance(part, Mark):
                yield from self._release()
                yield from self._answer(part.text)

    def _answer(self, text: str) -> Iterable[Event]:
        if self._tools is not None:
            return self._tools.feed(text)
        return [Content(text)] if text else []

    def _release(self) -> Iterator[Thought]:
        if self._thoughts:
            yield Thought(self._thoughts)
        self._thoughts = ""


@dataclass
class ParsedCall:
    name: str
    arguments: str = ""


@dataclass
class ParsedAnswer:
    """All of an answer. The texts are empty where there is nothing."""

    reasoning: str
    content: str
    calls: list[ParsedCall]

    @classmethod
    def of(cls, events: Iterable[AnswerEvent]) -> ParsedAnswer:
        answer = cls("", "", [])
        for event in events:
            match event:
                case Thought(text):
                    answer.reasoning += text
                case Content(text):
                    answer.content += text
                case CallName(_, name):
                    answer.calls.append(ParsedCall(name))
                case CallArguments(index, text):
                    answer.calls[index].arguments += text
        return answer
