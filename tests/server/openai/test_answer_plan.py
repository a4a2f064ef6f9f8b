"""What an answer may be, by the formats of the model: where no default model shows it."""

from __future__ import annotations

from typing import Any

import pytest

from sglang.srt.args import ServerArgs, ToolCallParserName
from sglang.srt.formats.answer_parser import ParsedAnswer
from sglang.srt.formats.reasoning import REASONING_FORMATS
from sglang.srt.formats.tool_format import TOOL_FORMATS
from sglang.srt.grammar.frame import Frame
from sglang.srt.grammar.lowering import lower
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.server.openai.answer_plan import AnswerPlan
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.fields import parse
from sglang.srt.server.openai.formats import ModelFormats
from sglang.srt.server.openai.requests import ChatCompletionRequest
from sglang.srt.server.openai.sampling import sampling_params
from sglang.srt.server.openai.tools import tool_use
from sglang.srt.tokenizer.chat_template import ChatTemplate
from sglang.srt.vocab import Vocab
from tests.grammar.texts import accepts

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
STRICT: dict[str, Any] = {"type": "function", "function": {"name": "f", "strict": True}}
HERMES = ModelFormats(TOOL_FORMATS["hermes"], None, frozenset())
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "integer"}}}


def plan_and_params(formats: ModelFormats, prompt: str = "", **fields: Any) -> tuple[AnswerPlan, dict[str, Any], Frame]:
    request = parse(ChatCompletionRequest, {"messages": [{"role": "user", "content": "a"}], **fields})
    plan = AnswerPlan(request, tool_use(request), formats, prompt)
    return plan, *plan.constrained(sampling_params(request, None))


def params(formats: ModelFormats, prompt: str = "", **fields: Any) -> dict[str, Any]:
    return plan_and_params(formats, prompt, **fields)[1]


def lowered(formats: ModelFormats, prompt: str = "", **fields: Any) -> str:
    """The grammar of an answer."""
    _, given, frame = plan_and_params(formats, prompt, **fields)
    constraint = SamplingParams.parse(given, {}, 1).constraint
    assert constraint is not None
    return lower(constraint, frame)


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
    assert accepts(lowered(HERMES, **fields), '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>')


@pytest.mark.parametrize("name", ["pythonic", "deepseekv3", "hermes"])
def test_where_a_call_is_demanded_everything_is_enforced(name: ToolCallParserName) -> None:
    formats = ModelFormats(TOOL_FORMATS[name], None, frozenset())
    assert "ebnf" in params(formats, tools=[STRICT], tool_choice="required", parallel_tool_calls=False)


@pytest.mark.parametrize(("mode", "may_be_text"), [("auto", True), ("required", False)])
def test_only_allowed_tools_are_called(mode: str, may_be_text: bool) -> None:
    allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "f"}}]}
    other = {"type": "function", "function": {"name": "g"}}
    fields: dict[str, Any] = {
        "tools": [STRICT, other],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed},
    }
    grammar = lowered(HERMES, **fields)
    for name, is_allowed in (("f", True), ("g", False)):
        call = f'<tool_call>\n{{"name": "{name}", "arguments": {{}}}}\n</tool_call>'
        assert accepts(grammar, call) is is_allowed
    assert accepts(grammar, "text") is may_be_text
    with pytest.raises(FieldError, match="tool_choice names 'f', which is not among the tools"):
        params(HERMES, **{**fields, "tools": [other]})
    with pytest.raises(FieldError, match="tool_choice=allowed_tools needs tools"):
        params(HERMES, **{**fields, "tools": []})


@pytest.mark.parametrize(("prompt", "is_begun"), [("<think>\n", True), ("", False)])
def test_a_schema_begins_where_the_thought_ends(prompt: str, is_begun: bool) -> None:
    thinking = ModelFormats(TOOL_FORMATS["hermes"], REASONING_FORMATS["qwen3"], frozenset())
    grammar = lowered(thinking, prompt, response_format=SCHEMA)
    assert accepts(grammar, "a</think>12") is is_begun
    assert accepts(grammar, "12") is not is_begun
    assert accepts(lowered(thinking, "<think>\n</think>\n", response_format=SCHEMA), "12")


def test_marks_that_are_control_tokens_are_shown() -> None:
    formats = ModelFormats(TOOL_FORMATS["mistral"], None, frozenset({"[TOOL_CALLS]"}))
    assert params(formats, tools=[TOOL])["skip_special_tokens"] is False
    assert "skip_special_tokens" not in params(formats)
    plan, _, _ = plan_and_params(formats, tools=[TOOL])
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


@pytest.mark.parametrize("name", ["separate_reasoning", "stream_reasoning"])
def test_thoughts_can_be_told_apart_only_where_their_marks_are_known(name: str) -> None:
    with pytest.raises(FieldError, match=f"{name}=true needs a server with a reasoning parser") as caught:
        params(HERMES, "", **{name: True})
    assert caught.value.param == name
    assert params(HERMES, "", **{name: False}) == params(HERMES)
    thinking = ModelFormats(TOOL_FORMATS["hermes"], REASONING_FORMATS["qwen3"], frozenset())
    assert params(thinking, "", **{name: True}) == params(thinking)


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


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a", ["read as hermes, as the chat template shows none", "marks no thoughts"]),
        ("[TOOL_CALLS]", ["marks no thoughts"]),
        ("<tool_call> </think>", []),
    ],
)
def test_the_log_tells_where_the_template_says_nothing(
    template: str, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer: Any = _Tokenizer(template)
    with caplog.at_level("INFO", "sglang.srt.server.openai.formats"):
        ModelFormats.of(ServerArgs(reasoning_parser="auto"), tokenizer)
    assert len(caplog.messages) == len(said)
    assert all(part in message for part, message in zip(said, caplog.messages, strict=True))


def test_many_tools_take_as_long_as_they_are_many() -> None:
    """20,000 of them, a megabyte, held up all other clients for two seconds."""
    tools = [{"type": "function", "function": {"name": f"f{number}"}} for number in range(20_000)]
    wanted = {"mode": "auto", "tools": tools}
    body = {"messages": [{"role": "user", "content": "a"}], "tools": tools}
    request = parse(ChatCompletionRequest, {**body, "tool_choice": {"type": "allowed_tools", "allowed_tools": wanted}})
    use = tool_use(request)
    assert use is not None and len(use.callable) == 20_000
    with pytest.raises(FieldError) as caught:
        tool_use(parse(ChatCompletionRequest, {**body, "tool_choice": {**TOOL, "function": {"name": "none"}}}))
    assert len(str(caught.value)) < 2_000
