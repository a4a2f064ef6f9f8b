"""Sorting text that a model wrote elsewhere: ``/parse_function_call``, ``/separate_reasoning``."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from sglang.srt.args import REASONING_PARSERS, TOOL_CALL_PARSERS, ReasoningParserName, ToolCallParserName
from sglang.srt.formats.answer_parser import AnswerParser, ParsedAnswer
from sglang.srt.formats.separation import separate_reasoning
from sglang.srt.formats.tool_format import TOOL_FORMATS
from sglang.srt.formats.tool_parser import ToolCallParser
from sglang.srt.server.body import Body, documented, read_body
from sglang.srt.server.openai.formats import ModelFormats
from sglang.srt.server.openai.requests import ToolOfRequest
from sglang.srt.server.wire import json_response

_TEXT = "a string: what a model said"


class FunctionCallBody(Body):
    text: str = Field(description=_TEXT)
    tools: list[ToolOfRequest] = Field(description="a list of tools, as for /v1/chat/completions")
    tool_call_parser: Literal["auto"] | ToolCallParserName = Field(
        "auto", description=f"{', '.join(TOOL_CALL_PARSERS)}; auto is the served model's"
    )


class ReasoningBody(Body):
    text: str = Field(description=_TEXT)
    reasoning_parser: Literal["auto"] | ReasoningParserName = Field(
        "auto", description=f"{', '.join(REASONING_PARSERS)}; auto is the served model's"
    )


def parsing_router(formats: ModelFormats) -> APIRouter:
    """formats: those that are meant by ``auto``."""
    router = APIRouter()

    @router.post(
        "/parse_function_call",
        summary="Text and calls of tools in what a model said",
        openapi_extra=documented(FunctionCallBody.model_json_schema()),
    )
    async def _parse_function_call(request: Request) -> Response:
        """``normal_text``, and ``calls`` with a ``tool_index``, a ``name`` and ``parameters``, which is JSON text."""
        body = await read_body(request, FunctionCallBody)
        return json_response(await asyncio.to_thread(parse_function_call, formats, body))

    @router.post(
        "/separate_reasoning",
        summary="Thoughts and answer in what a model said",
        openapi_extra=documented(ReasoningBody.model_json_schema()),
    )
    async def _separate_reasoning(request: Request) -> Response:
        """``reasoning_text``, and ``text`` without it."""
        body = await read_body(request, ReasoningBody)
        found = await asyncio.to_thread(separate_reasoning, body.text, body.reasoning_parser, formats.reasoning)
        return json_response(found)

    return router


def parse_function_call(formats: ModelFormats, body: FunctionCallBody) -> dict[str, Any]:
    name = body.tool_call_parser
    tool_format = formats.tools if name == "auto" else TOOL_FORMATS[name]
    tools = ToolCallParser(tool_format, {tool.function.name: tool.function.parameters or {} for tool in body.tools})
    answer = _parsed(AnswerParser(tools=tools), body.text)
    calls = [
        {"tool_index": index, "name": call.name, "parameters": call.arguments}
        for index, call in enumerate(answer.calls)
    ]
    return {"normal_text": answer.content, "calls": calls}


def _parsed(parser: AnswerParser, text: str) -> ParsedAnswer:
    return ParsedAnswer.of([*parser.feed(text), *parser.finish()])
