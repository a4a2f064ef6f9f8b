"""What a model thinks before it answers, told apart from the answer as it comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sglang.srt.args import ReasoningParserName
from sglang.srt.formats.growing_text import GrowingText, Reader

_SPACE = re.compile(r"\s*")


@dataclass(frozen=True)
class ReasoningFormat:
    """The marks around thoughts. is_certain: a model that thinks even where nobody wrote it the first mark."""

    begin: str = "<think>"
    end: str = "</think>"
    is_certain: bool = False

    def starts_in_thought(self, prompt: str) -> bool:
        """Whether what continues this prompt is a thought already."""
        prompt = prompt.rstrip()
        return prompt.endswith(self.begin) or (self.is_certain and not prompt.endswith(self.end))

    def may_think(self, prompt: str) -> bool:
        """Whether what continues this prompt may be a thought, or become one."""
        return not prompt.rstrip().endswith(self.end)


_OPTIONAL, _CERTAIN = ReasoningFormat(), ReasoningFormat(is_certain=True)

REASONING_FORMATS: dict[ReasoningParserName, ReasoningFormat] = {
    "deepseek-r1": _CERTAIN,
    "deepseek-v3": _OPTIONAL,
    "glm45": _OPTIONAL,
    "interns1": _OPTIONAL,
    "kimi": ReasoningFormat("◁think▷", "◁/think▷"),
    "kimi_k2": _OPTIONAL,
    "mimo": _OPTIONAL,
    "mistral": ReasoningFormat("[THINK]", "[/THINK]"),
    "qwen3": _OPTIONAL,
    "qwen3-thinking": _CERTAIN,
    "step3": _CERTAIN,
}

_SIGNS: tuple[tuple[str, ReasoningParserName], ...] = (
    ("◁think▷", "kimi"),
    ("[THINK]", "mistral"),
    ("</think>", "qwen3"),
)


def reasoning_format_of(template: str) -> ReasoningParserName | None:
    """The format that a chat template writes, if any."""
    return next((name for sign, name in _SIGNS if sign in template), None)


@dataclass(frozen=True)
class Thought:
    text: str


@dataclass(frozen=True)
class Mark:
    """What stands between thoughts and answer: a mark, with the white space beside it."""

    text: str


@dataclass(frozen=True)
class Answer:
    text: str


Part = Thought | Mark | Answer


class ReasoningParser:
    """`feed` it all pieces, then `finish` it; joined, the texts of all parts are the text. Where pieces end changes
    nothing but how finely thoughts and answer come in parts.
    """

    def __init__(self, reasoning_format: ReasoningFormat, is_thinking: bool) -> None:
        self._format = reasoning_format
        self._is_thinking = is_thinking
        self._source = GrowingText()
        self._parts: list[Part] = []
        self._plain = re.compile(rf"[^\s{re.escape(reasoning_format.end[0])}]*")
        self._reading: Iterator[None] = self._read()

    def feed(self, text: str) -> list[Part]:
        self._source.text += text
        return self._advance()

    def finish(self) -> list[Part]:
        self._source.is_whole = True
        return self._advance()

    def _advance(self) -> list[Part]:
        next(self._reading, None)
        parts, self._parts = self._parts, []
        return parts

    def _read(self) -> Reader[None]:
        source = self._source
        yield from source.take_all(_SPACE)
        if (yield from source.take(self._format.begin)):
            yield from source.take_all(_SPACE)
        elif not self._is_thinking:
            yield from self._read_answer(0)
            return
        self._add(Mark(source.text[: source.place]))
        yield from self._read_thoughts()
        yield from self._read_answer(source.place)

    def _read_thoughts(self) -> Reader[None]:
        source = self._source
        while True:
            start = source.place
            yield from source.take_all(_SPACE)
            is_over = (yield from source.take(self._format.end)) or not (yield from source.peek())
            if is_over:
                yield from source.take_all(_SPACE)
                self._add(Mark(source.text[start : source.place]))
                return
            match = self._plain.match(source.text, source.place + 1)
            assert match is not None, "a pattern that matches the empty text"
            source.place = match.end()
            self._add(Thought(source.text[start : source.place]))

    def _read_answer(self, start: int) -> Reader[None]:
        source = self._source
        while True:
            source.place = len(source.text)
            self._add(Answer(source.text[start:]))
            start = source.place
            if not (yield from source.peek()):
                return

    def _add(self, part: Part) -> None:
        if part.text:
            self._parts.append(part)
