"""Thoughts and answer in a text that is complete."""

from __future__ import annotations

from sglang.srt.errors import InvalidRequestError, did_you_mean, shown
from sglang.srt.formats.answer_parser import AnswerParser, ParsedAnswer
from sglang.srt.formats.reasoning import REASONING_FORMATS, ReasoningFormat, ReasoningParser


def separate_reasoning(text: str, name: str, of_model: ReasoningFormat | None) -> dict[str, str]:
    """``reasoning_text``, and ``text`` without it. of_model: the format that is meant by ``auto``.

    Raises InvalidRequestError for an unknown name, and for ``auto`` where there is no such format.
    """
    named = (reasoning_format for known, reasoning_format in REASONING_FORMATS.items() if known == name)
    reasoning = of_model if name == "auto" else next(named, None)
    if reasoning is None and name == "auto":
        raise InvalidRequestError(
            f"the server has no reasoning parser; name one in reasoning_parser: {', '.join(REASONING_FORMATS)}"
        )
    if reasoning is None:
        known = did_you_mean(name, REASONING_FORMATS, "reasoning parsers")
        raise InvalidRequestError(f"no reasoning parser {shown(name)}; {known}")
    parser = AnswerParser(ReasoningParser(reasoning, reasoning.is_certain))
    answer = ParsedAnswer.of([*parser.feed(text), *parser.finish()])
    return {"reasoning_text": answer.reasoning, "text": answer.content}
