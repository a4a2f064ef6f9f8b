"""Thoughts told apart from answers."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglang.srt.args import ReasoningParserName
from sglang.srt.formats.answer_parser import SEPARATE, AnswerParser, ParsedAnswer, ReasoningView
from sglang.srt.formats.reasoning import REASONING_FORMATS, ReasoningParser, Thought, reasoning_format_of
from sglang.srt.formats.tool_format import TOOL_FORMATS
from sglang.srt.formats.tool_parser import Content, ToolCallParser
from tests.formats.pieces import TOOLS, cuts

THINK = REASONING_FORMATS["qwen3"]


def answered(pieces: list[str], is_thinking: bool = False, view: ReasoningView = SEPARATE) -> ParsedAnswer:
    tools = ToolCallParser(TOOL_FORMATS["hermes"], TOOLS)
    parser = AnswerParser(ReasoningParser(THINK, is_thinking), tools, view)
    return ParsedAnswer.of([event for piece in pieces for event in parser.feed(piece)] + parser.finish())


@pytest.mark.parametrize(
    ("text", "is_thinking", "reasoning", "content"),
    [
        ("<think>\nI see.\n</think>\n\nYes.", False, "I see.", "Yes."),
        ("I see.</think>Yes.", True, "I see.", "Yes."),
        ("<think>I see.</think> Yes. ", True, "I see.", "Yes. "),
        ("<think>a < b </thin </think>Yes.", False, "a < b </thin", "Yes."),
        ("<think>\n\n</think>\n\nYes.", False, "", "Yes."),
        ("<think>cut off ", False, "cut off", ""),
        ("cut off </thi", True, "cut off </thi", ""),
        (" Yes. <think>no</think>", False, "", " Yes. <think>no</think>"),
        ("<thinking>", False, "", "<thinking>"),
        ("", True, "", ""),
        ("<think>a</think>b</think>c", False, "a", "b</think>c"),
    ],
)
def test_thoughts_and_answer(text: str, is_thinking: bool, reasoning: str, content: str) -> None:
    assert answered([text], is_thinking) == ParsedAnswer(reasoning, content, [])
    assert answered(list(text), is_thinking) == ParsedAnswer(reasoning, content, [])


def test_a_call_in_a_thought_is_none() -> None:
    call = '<tool_call>{"name": "f"}</tool_call>'
    answer = answered([f"<think>{call}</think>\n{call}"])
    assert (answer.reasoning, answer.content, len(answer.calls)) == (call, "", 1)


TEXTS = st.lists(
    st.sampled_from(["<think>", "</think>", "<", "</", "think>", " ", "\n", "é漢", "a", '<tool_call>{"name": "f"}']),
    max_size=8,
).map("".join)


@given(text=TEXTS, is_thinking=st.booleans(), data=st.data())
def test_pieces_make_no_difference(text: str, is_thinking: bool, data: st.DataObject) -> None:
    pieces = data.draw(cuts(text))
    assert answered(pieces, is_thinking) == answered([text], is_thinking)
    parser = ReasoningParser(THINK, is_thinking)
    parts = [part for piece in pieces for part in parser.feed(piece)] + parser.finish()
    assert "".join(part.text for part in parts) == text


def test_thoughts_may_stay_in_the_content() -> None:
    text = "<think>\nI see.\n</think>\n\nYes."
    assert answered(list(text), view=ReasoningView(is_separate=False)) == ParsedAnswer("", text, [])


def test_thoughts_may_come_at_once() -> None:
    parser = AnswerParser(ReasoningParser(THINK, is_thinking=True), view=ReasoningView(is_streamed=False))
    events = [event for piece in "I see.</think>Yes." for event in parser.feed(piece)] + parser.finish()
    assert events[0] == Thought("I see.")
    assert events[1:] == [Content(character) for character in "Yes."]
    parser = AnswerParser(ReasoningParser(THINK, is_thinking=True), view=ReasoningView(is_streamed=False))
    assert [*parser.feed("cut"), *parser.feed(" off"), *parser.finish()] == [Thought("cut off")]


def test_the_prompt_tells_whether_a_thought_has_begun_or_is_over() -> None:
    certain = REASONING_FORMATS["deepseek-r1"]
    for prompt, optional_starts, certain_starts, may_think in (
        ("<assistant>", False, True, True),
        ("<assistant><think>\n", True, True, True),
        ("<assistant><think>\n\n</think>\n\n", False, False, False),
    ):
        assert THINK.starts_in_thought(prompt) is optional_starts
        assert certain.starts_in_thought(prompt) is certain_starts
        assert THINK.may_think(prompt) is certain.may_think(prompt) is may_think


def test_every_published_name_has_a_format() -> None:
    assert REASONING_FORMATS.keys() == set(get_args(ReasoningParserName))


def test_a_template_tells_its_format() -> None:
    assert reasoning_format_of("{{ '</think>' }}") == "qwen3"
    assert reasoning_format_of("{{ '[THINK]' }}") == "mistral"
    assert reasoning_format_of("{{ message.content }}") is None
