"""From messages to the text of a prompt."""

from __future__ import annotations

from typing import Any

import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.server.openai.fields import parse
from sglang.srt.server.openai.messages import render
from sglang.srt.server.openai.requests import ChatCompletionRequest
from sglang.srt.tokenizer.chat_template import ChatTemplate

SOURCE = """{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</{{ m.role }}>{% endfor %}
{%- if add_generation_prompt %}<assistant>{% endif %}"""


def prompt(*messages: dict[str, Any], source: str = SOURCE, **fields: Any) -> str:
    return render(ChatTemplate(source), parse(ChatCompletionRequest, {"messages": list(messages), **fields}))


def user(content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **fields}


def test_the_template_asks_for_the_answer() -> None:
    assert prompt(user("a")) == "<user>a</user><assistant>"


def test_parts_of_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": " b"}]
    assert prompt(user(parts)) == prompt(user("a b"))


def test_a_developer_is_the_system_where_the_template_knows_none() -> None:
    message = {"role": "developer", "content": "a"}
    assert prompt(message).startswith("<system>a</system>")
    assert prompt(message, source="{# developer #}" + SOURCE).startswith("<developer>a</developer>")


def test_an_assistant_may_have_said_nothing() -> None:
    assert "<assistant></assistant>" in prompt(user("a"), {"role": "assistant", "content": None})
    with pytest.raises(InvalidRequestError, match="a message of role 'user' needs content"):
        prompt(user(None))


def test_names_and_tool_call_ids_reach_the_template() -> None:
    source = "{% for m in messages %}{{ m.name }} {{ m.tool_call_id }}{% endfor %}"
    assert prompt({"role": "tool", "content": "a", "name": "f", "tool_call_id": "1"}, source=source) == "f 1"


@pytest.mark.parametrize("content", ["The answer is", "The answer is ", "</assistant>"])
def test_a_final_message_is_continued_at_its_very_end(content: str) -> None:
    messages = [user("a"), {"role": "assistant", "content": content}]
    assert prompt(*messages, continue_final_message=True) == f"<user>a</user><assistant>{content}"


def test_only_an_assistant_is_continued() -> None:
    with pytest.raises(InvalidRequestError, match="needs an assistant's message at the end, not one of role 'user'"):
        prompt(user("a"), continue_final_message=True)
    with pytest.raises(InvalidRequestError, match="does not show the final message"):
        prompt({"role": "assistant", "content": "a"}, source="nothing", continue_final_message=True)


def test_variables_of_the_template() -> None:
    source = "{{ mood }} {{ reasoning_effort }}"
    given = prompt(user("a"), source=source, chat_template_kwargs={"mood": "good"}, reasoning_effort="low")
    assert given == "good low"
    with pytest.raises(InvalidRequestError, match="reasoning_effort means nothing"):
        prompt(user("a"), reasoning_effort="low")
    for name in ("messages", "bos_token", "add_generation_prompt"):
        with pytest.raises(InvalidRequestError, match=name):
            prompt(user("a"), chat_template_kwargs={name: 1})
