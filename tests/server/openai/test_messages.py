"""From messages to the text of a prompt."""

from __future__ import annotations

from typing import Any

import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.formats.tool_format import TOOL_FORMATS
from sglang.srt.server.openai.fields import parse
from sglang.srt.server.openai.formats import ModelFormats
from sglang.srt.server.openai.messages import chat_prompt
from sglang.srt.server.openai.requests import ChatCompletionRequest
from sglang.srt.server.openai.tools import tool_use
from sglang.srt.tokenizer.chat_template import ChatTemplate

SOURCE = """{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</{{ m.role }}>{% endfor %}
{%- if add_generation_prompt %}<assistant>{% endif %}"""


HERMES = ModelFormats(TOOL_FORMATS["hermes"], None, frozenset())


def prompt(*messages: dict[str, Any], source: str = SOURCE, **fields: Any) -> str:
    request = parse(ChatCompletionRequest, {"messages": list(messages), **fields})
    return chat_prompt(ChatTemplate(source), request, tool_use(request), HERMES)


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
    with pytest.raises(InvalidRequestError, match=r"chat_template_kwargs\.enable_thinking means nothing to this model"):
        prompt(user("a"), chat_template_kwargs={"enable_thinking": True})
    assert prompt(user("a"), chat_template_kwargs={"enable_thinking": False, "mood": None}) == prompt(user("a"))
    for name in ("messages", "bos_token", "add_generation_prompt"):
        with pytest.raises(InvalidRequestError, match=name):
            prompt(user("a"), chat_template_kwargs={name: 1})


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "é"}'}}
CALLED = [
    user("a"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "b", "tool_call_id": "c1"},
]
KNOWS_TOOLS = """{% if tools %}{{ tools | tojson }}{% endif %}
{%- for m in messages %}<{{ m.role }}>{{ m.content }}
{%- for call in m.tool_calls or [] %}{{ call.id }} {{ call.function.name }}({{ call.function.arguments | tojson }})
{%- endfor %}{{ m.tool_call_id }}{% endfor %}"""


def test_a_template_that_knows_tools_gets_them_and_their_turns() -> None:
    text = prompt(*CALLED, source=KNOWS_TOOLS, tools=[TOOL])
    told = '[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]'
    assert text == f'{told}<user>a<assistant>c1 f({{"a": "é"}})<tool>bc1'
    assert prompt(*CALLED, source=KNOWS_TOOLS, tools=[TOOL], tool_choice="none") == text.removeprefix(told)


def test_a_template_that_joins_arguments_gets_their_text() -> None:
    source = KNOWS_TOOLS.replace("call.function.arguments | tojson", "'```' + call['function']['arguments'] + '```'")
    assert '<assistant>c1 f(```{"a": "é"}```)' in prompt(*CALLED, source=source)
    parsed = {**CALL, "function": {"name": "f", "arguments": {"a": "é"}}}
    message = {"role": "assistant", "content": "", "tool_calls": [parsed]}
    assert '<assistant>c1 f(```{"a": "é"}```)' in prompt(user("a"), message, source=source)


def test_a_template_that_knows_no_tools_is_told_in_words() -> None:
    text = prompt(*CALLED, tools=[TOOL])
    system, _, rest = text.partition("</system>")
    assert system.startswith("<system>You can call functions") and '{"name": "f", "parameters"' in system
    assert rest == (
        '<user>a</user><assistant><tool_call>\n{"name": "f", "arguments": {"a": "é"}}\n</tool_call></assistant>'
        "<user><tool_response>\nb\n</tool_response></user><assistant>"
    )
    assert prompt(*CALLED) == rest


def test_where_no_system_message_is_taken_the_user_tells_the_tools() -> None:
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    assert prompt(user("a"), source=refusal + SOURCE, tools=[TOOL]).startswith("<user>a\n\nYou can call functions")


def test_empty_arguments_are_none() -> None:
    message = {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}
    assert '{"name": "f", "arguments": {}}' in prompt(user("a"), message)


def test_thoughts_reach_a_template_that_shows_them() -> None:
    message = {"role": "assistant", "content": "b", "reasoning_content": "hm"}
    source = "{% for m in messages %}{{ m.reasoning_content }}|{% endfor %}"
    assert prompt(user("a"), message, source=source) == "|hm|"
    assert "hm" not in prompt(user("a"), message)
