"""The tools of a request, and how they may be used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sglang.srt.errors import InvalidRequestError, did_you_mean, shown
from sglang.srt.formats.tool import Tool, check_schema
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.requests import ChatCompletionRequest, NamedTool, ToolOfRequest, ToolsOfChoice


@dataclass(frozen=True)
class ToolUse:
    """tools: those the model is told of. callable: those it may call. is_demanded: it must. is_parallel: it may call
    several at once.
    """

    tools: tuple[Tool, ...]
    callable: tuple[Tool, ...]
    is_demanded: bool
    is_parallel: bool

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """By the name of a tool that may be called the JSON Schema of its arguments."""
        return {tool.name: tool.as_given["function"].get("parameters") or {} for tool in self.callable}

    async def check_schemas(self) -> None:
        """Raises FieldError that says which tool has a schema that cannot be enforced."""
        names = {tool.name for tool in self.callable}
        for index, tool in enumerate(self.tools):
            if tool.name in names:
                param = f"tools[{index}].function.parameters"
                try:
                    await asyncio.to_thread(check_schema, tool.schema)
                except InvalidRequestError as error:
                    raise FieldError(f"{param} cannot be enforced: {error}", param) from error


def tool_use(request: ChatCompletionRequest) -> ToolUse | None:
    """None if no tool may be called. Raises FieldError."""
    choice = request.tool_choice
    tools = tuple(_tool(index, tool) for index, tool in enumerate(request.tools))
    names: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.name in names:
            raise FieldError(f"tools has two functions of the name {shown(tool.name)}", f"tools[{index}].function.name")
        names.add(tool.name)
    if choice == "none":
        return None
    if not tools:
        if choice == "auto":
            return None
        raise FieldError(f"tool_choice={_choice_text(choice)} needs tools, and there are none", "tool_choice")
    if isinstance(choice, NamedTool):
        return ToolUse(tools, _named(tools, [choice]), is_demanded=True, is_parallel=False)
    if isinstance(choice, ToolsOfChoice):
        allowed = _named(tools, choice.allowed_tools.tools)
        return ToolUse(tools, allowed, choice.allowed_tools.mode == "required", request.parallel_tool_calls)
    return ToolUse(tools, tools, choice == "required", request.parallel_tool_calls)


def _named(tools: Sequence[Tool], wanted: Sequence[NamedTool]) -> tuple[Tool, ...]:
    """Raises FieldError for what is not among the tools."""
    known, names = {tool.name: tool for tool in tools}, dict.fromkeys(one.function.name for one in wanted)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known, "tools")
            raise FieldError(f"tool_choice names {shown(name)}, which is not among the tools; {hint}", "tool_choice")
    return tuple(tool for tool in tools if tool.name in names)


def _choice_text(choice: str | NamedTool | ToolsOfChoice) -> str:
    if isinstance(choice, ToolsOfChoice):
        return choice.type
    return shown(choice if isinstance(choice, str) else choice.function.name)


def _tool(index: int, tool: ToolOfRequest) -> Tool:
    parameters = tool.function.parameters or {}
    kind = parameters.get("type", "object")
    if kind != "object":
        param = f"tools[{index}].function.parameters"
        raise FieldError(f"{param} must be a schema of type 'object', not {shown(kind)}", param)
    as_given = {"type": "function", "function": tool.function.model_dump(exclude_none=True)}
    return Tool(tool.function.name, as_given, is_strict=bool(tool.function.strict))
