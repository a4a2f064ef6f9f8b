"""What an answer of a chat may be, as a constraint for the engine, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sglang.srt.errors import shown
from sglang.srt.formats import answer_grammar
from sglang.srt.formats.answer_parser import AnswerParser, ReasoningView
from sglang.srt.formats.reasoning import ReasoningFormat, ReasoningParser
from sglang.srt.formats.tool_parser import ToolCallParser
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.formats import ModelFormats
from sglang.srt.server.openai.requests import ChatCompletionRequest
from sglang.srt.server.openai.sampling import CONSTRAINTS
from sglang.srt.server.openai.tools import ToolUse


class AnswerPlan:
    """Of one request, whose prompt is the text `prompt`. use: None if no tool may be called."""

    def __init__(self, request: ChatCompletionRequest, use: ToolUse | None, formats: ModelFormats, prompt: str) -> None:
        self._request = request
        self._use = use
        self._formats = formats
        reasoning = formats.reasoning
        self._reasoning = reasoning if reasoning is not None and reasoning.may_think(prompt) else None
        self._is_thinking = self._reasoning is not None and self._reasoning.starts_in_thought(prompt)

    @property
    def tells_reasoning(self) -> bool:
        """Whether answers have ``reasoning_content``, be it null."""
        return self._formats.reasoning is not None and self._request.separate_reasoning

    @property
    def call_id_length(self) -> int:
        return self._formats.tools.id_length

    @property
    def needs_schemas(self) -> bool:
        """Whether arguments of calls are to be enforced."""
        return self._use is not None and (self._use.is_demanded or self._restriction(self._use) is not None)

    @property
    def blamed(self) -> str:
        """The field that a constraint made here is due to."""
        return "response_format" if self._use is None else "tools"

    def parser(self) -> AnswerParser:
        """For one sequence."""
        reasoning = None if self._reasoning is None else ReasoningParser(self._reasoning, self._is_thinking)
        tools = None
        if self._use is not None:
            tool_format = self._formats.tools.demanded if self.needs_schemas else self._formats.tools
            tools = ToolCallParser(tool_format, self._use.names, is_demanded=self.needs_schemas)
        view = ReasoningView(self._request.separate_reasoning, self._request.stream_reasoning)
        return AnswerParser(reasoning, tools, view)

    def constrained(self, params: dict[str, Any]) -> dict[str, Any]:
        """The sampling parameters with what the answer must be. Raises FieldError if that cannot be enforced."""
        if (self._use or self._reasoning) and self._formats.control_marks:
            params = {**params, "skip_special_tokens": False}
        answer = self._constraint(params) if self._use is None else self._calls(self._use, params)
        if answer is None or (self._use is None and self._reasoning is None):
            return params
        if self._reasoning is None:
            grammar = answer_grammar.grammar(answer)
        else:
            self._check_thought_can_end(self._reasoning)
            grammar = answer_grammar.grammar_after_thought(answer, self._reasoning, self._is_thinking)
        others = {name: value for name, value in params.items() if name not in CONSTRAINTS}
        return {**others, "ebnf": grammar}

    def _constraint(self, params: Mapping[str, Any]) -> str | None:
        """Without tools: what is asked of the answer, as it can stand behind a thought."""
        if (schema := _schema(params)) is not None:
            return answer_grammar.schema_answer(schema)
        if choices := params.get("choices"):
            return answer_grammar.choice_answer(choices)
        for name in ("regex", "ebnf"):
            if params.get(name) and self._reasoning is not None:
                raise FieldError(
                    f"{name} cannot begin after a thought, and this model thinks first; use response_format or "
                    "choices, or let the chat template switch thinking off (chat_template_kwargs)",
                    name,
                )
        return None

    def _calls(self, use: ToolUse, params: Mapping[str, Any]) -> str | None:
        for name in ("regex", "ebnf", "choices"):
            if params.get(name):
                raise FieldError(
                    f"{name} cannot be combined with tools; set tool_choice to none, or leave it out", name
                )
        notation = self._formats.tools.notation
        schema = _schema(params)
        if use.is_demanded:
            if schema is not None:
                name = "json_schema" if self._request.json_schema is not None else "response_format"
                raise FieldError(f"{name} is of an answer, but tool_choice demands a call instead of one", name)
            return answer_grammar.demanded_calls(notation, use.callable, use.is_parallel)
        restriction = self._restriction(use)
        if restriction is None:
            return None
        if not self._formats.tools.is_native:
            raise FieldError(
                f"{restriction} cannot be enforced where a call is not demanded, in the way that this model writes "
                "calls; use tool_choice required, or leave it out",
                restriction,
            )
        return answer_grammar.optional_calls(notation, use.callable, use.is_parallel, schema)

    def _restriction(self, use: ToolUse) -> str | None:
        """The field that demands something of an answer that need not be a call."""
        for index, tool in enumerate(use.tools):
            if tool.is_strict:
                return f"tools[{index}].function.strict"
        if not use.is_parallel:
            return "parallel_tool_calls"
        request = self._request
        if request.response_format is not None and request.response_format.type != "text":
            return "response_format"
        return "json_schema" if request.json_schema not in (None, "") else None

    def _check_thought_can_end(self, reasoning: ReasoningFormat) -> None:
        if {reasoning.begin, reasoning.end} & self._formats.control_marks:
            raise FieldError(
                f"{self.blamed} cannot be enforced after a thought: this model ends one with a control token; let the "
                "chat template switch thinking off (chat_template_kwargs)",
                self.blamed,
            )


def _schema(params: Mapping[str, Any]) -> str | None:
    """The JSON Schema among them, as text. Raises FieldError for a text that is no JSON."""
    schema = params.get("json_schema")
    if schema is None or schema == "":
        return None
    if not isinstance(schema, str):
        return json.dumps(schema)
    try:
        json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise FieldError(f"json_schema is not JSON: {error}: {shown(schema)}", "json_schema") from error
    return schema
