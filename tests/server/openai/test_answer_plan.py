"""What an answer may be, by the formats of the model: where no default model shows it."""

from __future__ import annotations

from typing import Any

import pytest

from sglang.srt.args import ServerArgs, ToolCallParserName
from sglang.srt.formats.answer_parser import ParsedAnswer
from sglang.srt.formats.reasoning import REASONING_FORMATS
from sglang.srt.formats.tool_format import TOOL_FORMATS
from sglang.srt.server.openai.answer_plan import AnswerPlan
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.fields import parse
from sglang.srt.server.openai.formats import ModelFormats
from sglang.srt.server.openai.requests import ChatCompletionRequest
from sglang.srt.server.openai.sampling import sampling_params
from sglang.srt.server.openai.tools import tool_use
from sglang.srt.tokenizer.chat_template import ChatTemplate
from sglang.srt.vocab import Vocab
from tests.grammar.texts import accepts, grammar_of

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
STRICT: dict[str, Any] = {"type": "function", "function": {"name": "f", "strict": True}}
HERMES = ModelFormats(TOOL_FORMATS["hermes"], None, frozenset())
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "integer"}}}


def plan_and_params(formats: ModelFormats, prompt: str = "", **fields: Any) -> tuple[AnswerPlan, dict[str, Any]]:
    request = parse(ChatCompletionRequest, {"messages": [{"role": "user", "content": "a"}], **fields})
    plan = AnswerPlan(request, tool_use(request), formats, prompt)
    return plan, plan.constrained(sampling_params(request, None))


def params(formats: ModelFormats, prompt: str = "", **fields: Any) -> dict[str, Any]:
    return plan_and_params(formats, prompt, **fields)[1]


def test_tools_that_need_not_be_called_constrain_nothing() -> None:
    assert params(HERMES, tools=[TOOL]).keys() == {"max_new_tokens"}
    assert params(HERMES, tools=[STRICT], tool_choice="none").keys() == {"max_new_tokens"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [TOOL, {**STRICT, "function": {"name": "g", "strict": True}}]}, "tools[1].function.strict"),
        ({"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": [TOOL], "response_format": SCHEMA}, "response_format"),
        ({"tools": [TOOL], "json_schema": {"type": "integer"}}, "json_schema"),
    ],
)
@pytest.mark.parametrize("name", ["pythonic", "deepseekv3", "deepseekv31", "kimi_k2"])
def test_what_a_format_cannot_enforce_is_refused(name: ToolCallParserName, fields: dict[str, Any], param: str) -> None:
    formats = ModelFormats(TOOL_FORMATS[name], None, frozenset())
    with pytest.raises(FieldError, match="cannot be enforced where a call is not demanded") as caught:
        params(formats, **fields)
    assert caught.value.param == param
    assert "ebnf" in params(HERMES, **fields)


@pytest.mark.parametrize("name", ["pythonic", "deepseekv3", "hermes"])
def test_where_a_call_is_demanded_everything_is_enforced(name: ToolCallParserName) -> None:
    formats = ModelFormats(TOOL_FORMATS[name], None, frozenset())
    assert "ebnf" in params(formats, tools=[STRICT], tool_choice="required", parallel_tool_calls=False)


@pytest.mark.parametrize(("prompt", "is_begun"), [("<think>\n", True), ("", False)])
def test_a_schema_begins_where_the_thought_ends(prompt: str, is_begun: bool) -> None:
    thinking = ModelFormats(TOOL_FORMATS["hermes"], REASONING_FORMATS["qwen3"], frozenset())
    grammar = grammar_of("ebnf", params(thinking, prompt, response_format=SCHEMA)["ebnf"])
    assert accepts(grammar, "a</think>12") is is_begun
    assert accepts(grammar, "12") is not is_begun
    assert params(thinking, "<think>\n</think>\n", response_format=SCHEMA)["json_schema"] == {"type": "integer"}


def test_marks_that_are_control_tokens_are_shown() -> None:
    formats = ModelFormats(TOOL_FORMATS["mistral"], None, frozenset({"[TOOL_CALLS]"}))
    assert params(formats, tools=[TOOL])["skip_special_tokens"] is False
    assert "skip_special_tokens" not in params(formats)
    plan, _ = plan_and_params(formats, tools=[TOOL])
    parser = plan.parser()
    answer = ParsedAnswer.of([*parser.feed('[TOOL_CALLS] [{"name": "f"}]'), *parser.finish()])
    assert [call.name for call in answer.calls] == ["f"]


def test_a_thought_that_ends_with_a_control_token_is_followed_by_no_grammar() -> None:
    formats = ModelFormats(TOOL_FORMATS["mistral"], REASONING_FORMATS["mistral"], frozenset({"[/THINK]"}))
    with pytest.raises(FieldError, match="response_format cannot be enforced after a thought"):
        params(formats, response_format=SCHEMA)
    with pytest.raises(FieldError, match="tools cannot be enforced after a thought"):
        params(formats, tools=[TOOL], tool_choice="required")
    assert params(formats)["skip_special_tokens"] is False


class _Tokenizer:
    def __init__(self, template: str | None, *control: str) -> None:
        self.chat_template = None if template is None else ChatTemplate(template)
        texts = ["a", *control]
        self.vocab = Vocab([text.encode() for text in texts], list(range(1, len(texts))), [])


@pytest.mark.parametrize(
    ("template", "options", "expected"),
    [
        ("{{ '[TOOL_CALLS]' }}", {}, ("mistral", None, {"[TOOL_CALLS]"})),
        ("{{ '[TOOL_CALLS]' }}", {"tool_call_parser": "hermes"}, ("hermes", None, set())),
        ("</think>", {"reasoning_parser": "auto"}, ("hermes", "qwen3", set())),
        ("a", {"reasoning_parser": "auto"}, ("hermes", None, set())),
        (None, {"reasoning_parser": "deepseek-r1"}, ("hermes", "deepseek-r1", set())),
    ],
)
def test_the_options_and_the_template_tell_the_formats(
    template: str | None, options: dict[str, Any], expected: tuple[Any, Any, set[str]]
) -> None:
    tokenizer: Any = _Tokenizer(template, "[TOOL_CALLS]", "</s>")
    found = ModelFormats.of(ServerArgs(**options), tokenizer)
    tools, reasoning, marks = expected
    assert found == ModelFormats(TOOL_FORMATS[tools], reasoning and REASONING_FORMATS[reasoning], frozenset(marks))
