"""What may stand around an answer that is bound by a constraint: a thought before it, calls of tools in its place."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.lark import TerminalWriter
from sglang.srt.grammar.lark_source import lark_rules
from sglang.srt.grammar.pattern import Pattern, chars, concat, literal, repeat, union

SPACES = tuple(character for character in map(chr, range(sys.maxunicode + 1)) if character.isspace())
_MAX_SPACES = 2
"""Between a thought and its answer."""

_SPACE = chars(cs.characters(SPACES))
_ANY_TEXT = repeat(chars(cs.ANY), 0, None)
_SOME_TEXT = repeat(chars(cs.ANY), 1, None)


@dataclass(frozen=True)
class ThoughtMarks:
    """Around a thought. is_begun: the first one is written already, and there is a thought for certain."""

    begin: str
    end: str
    is_begun: bool


@dataclass(frozen=True)
class Frame:
    """calls: a grammar in Lark of what may stand in the answer's place, which has `call_mark`, at once or after text.
    Only values of JSON are told from calls without a mark.

    An answer begins with no white space after a thought, and with nothing that would be taken for something else.
    """

    thought: ThoughtMarks | None = None
    calls: str = ""
    call_mark: str = ""

    answer = "framed_answer"

    @property
    def no_answer(self) -> str:
        """The terminal, of `definitions`, of what would be taken for something else; empty if there is nothing."""
        return "FRAMED_NO_ANSWER" if self._no_answers() else ""

    @property
    def definitions(self) -> str:
        writer = TerminalWriter("FRAMED_")
        terminals = {self.no_answer: writer.write(union(self._no_answers()))} if self.no_answer else {}
        if self.thought is not None:
            whole, more = (writer.write(one) for one in (concat([_ANY_TEXT, literal(self.thought.end)]), _SOME_TEXT))
            terminals["FRAMED_THOUGHT"] = f"({whole}) & ~(({whole}) {more})"
            terminals["FRAMED_SPACE"] = writer.write(repeat(_SPACE, 1, _MAX_SPACES))
            # A lazy lexeme ends as soon as it can, whatever else goes on.
            terminals["framed_begin[lazy]"] = writer.write(literal(self.thought.begin))
        lines = [f"{name}: {body}" for name, body in terminals.items()]
        return "\n".join([*lines, *writer.definitions]) + "\n"

    def around(self, answer: str, whitespace: str = "") -> str:
        """The grammar of the rule `answer`, which is given with all that it needs, in this frame. whitespace: of the
        arguments of calls.
        """
        end = f"({self.answer} | framed_calls)" if self.calls else self.answer
        start = end
        if self.thought is not None:
            thinking = f"FRAMED_THOUGHT FRAMED_SPACE? {end}"
            start = thinking if self.thought.is_begun else f"{end} | framed_begin {thinking}"
        calls = lark_rules(self.calls, "framed_calls", whitespace) + "\n" if self.calls else ""
        return f"start: {start}\n{answer}\n{calls}{self.definitions}"

    @property
    def other_beginnings(self) -> list[str]:
        """What an answer must not begin with."""
        marks = [] if self.thought is None or self.thought.is_begun else [self.thought.begin]
        marks += [self.call_mark] if self.call_mark else []
        return marks + ([] if self.thought is None else list(SPACES))

    @property
    def others(self) -> str:
        return " and ".join(["a thought"] * (self.thought is not None) + ["calls of tools"] * bool(self.calls))

    def _no_answers(self) -> list[Pattern]:
        found = []
        if self.thought is not None:
            found.append(concat([_SPACE, _ANY_TEXT]))
            if not self.thought.is_begun:
                found.append(concat([literal(self.thought.begin), _ANY_TEXT]))
        if self.call_mark:
            found.append(concat([_ANY_TEXT, literal(self.call_mark), _ANY_TEXT]))
        return found


BARE = Frame()
