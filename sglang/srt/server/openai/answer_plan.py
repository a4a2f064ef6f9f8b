"""What an answer of a chat may be, as a constraint for the engine, and how it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sglang.srt.formats import answer_grammar
from sglang.srt.formats.answer_parser import AnswerParser, ReasoningView
from sglang.srt.formats.reasoning import ReasoningFormat, ReasoningParser
from sglang.srt.formats.tool_parser import ToolCallParser
from sglang.srt.grammar.frame import BARE, Frame, ThoughtMarks
from sglang.srt.sampling_params import CONSTRAINTS
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.formats import ModelFormats
from sglang.srt.server.openai.requests import ChatCompletionRequest
from sglang.srt.server.openai.tools import ToolUse


class AnswerPlan:
    """Of one request, whose prompt is the text `prompt`. use: None if no tool may be called. Raises FieldError for
    options that mean nothing here.
    """

    def __init__(self, request: ChatCompletionRequest, use: ToolUse | None, formats: ModelFormats, prompt: str) -> None:
        self._request = request
        self._use = use
        self._formats = formats
        reasoning = formats.reasoning
        for name in ("separate_reasoning", "stream_reasoning") if reasoning is None else ():
            if name in request.model_fields_set and getattr(request, name):
                raise FieldError(
                    f"{name}=true needs a server with a reasoning parser (--reasoning-parser); this one has none", name
                )
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
        """The field that a constraint is due to."""
        return self._constraint_field or "tools"

    @property
    def _constraint_field(self) -> str | None:
        request = self._request
        if request.response_format is not None and request.response_format.type != "text":
            return "response_format"
        return next((name for name in CONSTRAINTS if getattr(request, name) not in (None, "")), None)

    def parser(self) -> AnswerParser:
        """For one sequence."""
        reasoning = None if self._reasoning is None else ReasoningParser(self._reasoning, self._is_thinking)
        tools = None
        if self._use is not None:
            tool_format = self._formats.tools.demanded if self.needs_schemas else self._formats.tools
            tools = ToolCallParser(tool_format, self._use.parameters, is_demanded=self.needs_schemas)
        view = ReasoningView(self._request.separate_reasoning, self._request.stream_reasoning)
        return AnswerParser(reasoning, tools, view)

    def constrained(self, params: dict[str, Any]) -> tuple[dict[str, Any], Frame]:
        """The sampling parameters with what the answer must be, and what may stand around it. Raises FieldError if that
        cannot be enforced.
        """
        if (self._use or self._reasoning) and self._formats.control_marks:
            params = {**params, "skip_special_tokens": False}
        frame = Frame(self._thought())
        if self._use is not None:
            params, frame = self._with_calls(self._use, params, frame)
        if not _any_given(params, CONSTRAINTS):
            return params, BARE
        if self._reasoning is not None:
            self._check_thought_can_end(self._reasoning)
        return params, frame

    def _thought(self) -> ThoughtMarks | None:
        marks = self._reasoning
        return None if marks is None else ThoughtMarks(marks.begin, marks.end, self._is_thinking)

    def _with_calls(self, use: ToolUse, params: dict[str, Any], frame: Frame) -> tuple[dict[str, Any], Frame]:
        notation = self._formats.tools.notation
        field = self._constraint_field
        if use.is_demanded:
            if field is not None:
                raise FieldError(f"{field} is of an answer, but tool_choice demands a call instead of one", field)
            return {**params, "ebnf": answer_grammar.demanded_calls(notation, use.callable, use.is_parallel)}, frame
        restriction = self._restriction(use)
        if restriction is None:
            return params, frame
        if not self._formats.tools.is_native:
            raise FieldError(
                f"{restriction} cannot be enforced where a call is not demanded, in the way that this model writes "
                "calls; use tool_choice required, or leave it out",
                restriction,
            )
        if field is None:
            calls = answer_grammar.calls_after_text(notation, use.callable, use.is_parallel)
            return {**params, "regex": answer_grammar.text(notation)}, replace(
                frame, calls=calls, call_mark=notation.mark
            )
        apart = ("json_schema", "regex", "choices") if notation.mark else ("json_schema",)
        if not _any_given(params, apart):
            raise FieldError(
                f"{field} cannot be combined with tools that need not be called, in the way that this model writes "
                f"calls; use {' or '.join(apart)}, or set tool_choice to none",
                field,
            )
        calls = answer_grammar.demanded_calls(notation, use.callable, use.is_parallel)
        return params, replace(frame, calls=calls, call_mark=notation.mark)

    def _restriction(self, use: ToolUse) -> str | None:
        """The field that demands something of an answer that need not be a call."""
        for index, tool in enumerate(use.tools):
            if tool.is_strict:
                return f"tools[{index}].function.strict"
        if not use.is_parallel:
            return "parallel_tool_calls"
        return self._constraint_field

    def _check_thought_can_end(self, reasoning: ReasoningFormat) -> None:
        if {reasoning.begin, reasoning.end} & self._formats.control_marks:
            raise FieldError(
                f"{self.blamed} cannot be enforced after a thought: this model ends one with a control token; let the "
                "chat template switch thinking off (chat_template_kwargs)",
                self.blamed,
            )


def _any_given(params: Mapping[str, Any], names: Iterable[str]) -> bool:
    return any(params.get(name) not in (None, "") for name in names)
