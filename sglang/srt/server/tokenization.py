"""Text to tokens and back, and what the chat template puts around a message: ``/tokenize``, ``/detokenize``,
``/role_text``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from sglang.srt.errors import InvalidRequestError
from sglang.srt.server.body import Body, documented, read_body
from sglang.srt.server.openai.fields import parse
from sglang.srt.server.openai.formats import ModelFormats
from sglang.srt.server.openai.messages import chat_prompt
from sglang.srt.server.openai.requests import ChatCompletionRequest
from sglang.srt.server.openai.tools import tool_use
from sglang.srt.server.wire import json_response
from sglang.srt.tokenizer.launch import RunningEngine
from sglang.srt.tokenizer.manager import TokenizerManager
from sglang.srt.tokenizer.tokenizer import Tokenizer

_MODEL = Field(None, description="a string")

CHAT_FIELDS = ("messages", "chat_template_kwargs", "reasoning_effort", "continue_final_message", "tools", "tool_choice")


class TokenizeBody(Body):
    """The CHAT_FIELDS are those of ``/v1/chat/completions``, and make the prompt that it would make of them."""

    prompt: str | list[str] | None = Field(None, description="a string or a list of strings")
    messages: list[dict[str, Any]] | None = Field(None, description="a list of chat messages, instead of a prompt")
    chat_template_kwargs: dict[str, Any] | None = Field(None, description="an object: variables of the chat template")
    reasoning_effort: str | None = Field(None, description="a string; the model's chat template must know it")
    continue_final_message: bool = Field(False, description="true or false")
    tools: list[dict[str, Any]] | None = Field(None, description="a list of tools")
    tool_choice: str | dict[str, Any] | None = Field(None, description="none, auto, required, or a function's name")
    add_special_tokens: bool = Field(True, description="true or false")
    model: str | None = _MODEL


class DetokenizeBody(Body):
    tokens: list[int] | list[list[int]] = Field(description="a list of token ids, or a list of such lists")
    skip_special_tokens: bool = Field(True, description="true or false")
    model: str | None = _MODEL


class RoleTextBody(Body):
    roles: list[str] = Field(description="a list of the names of roles")


def tokenization_router(engine: RunningEngine, formats: ModelFormats) -> APIRouter:
    router = APIRouter()
    tokenizer, info = engine.manager.tokenizer, engine.manager.info

    async def _tokenize(request: Request) -> Response:
        """``tokens`` and ``count`` are lists of those for a list of prompts. Messages become the prompt that
        ``/v1/chat/completions`` makes of them.
        """
        return json_response(await tokenize(engine.manager, formats, await read_body(request, TokenizeBody)))

    async def _detokenize(request: Request) -> Response:
        """``text`` is a list for a list of lists."""
        body = await read_body(request, DetokenizeBody)
        return json_response({"text": await asyncio.to_thread(detokenize, tokenizer, info.vocab_size, body)})

    async def _role_text(request: Request) -> Response:
        """What the chat template puts around the last message of a conversation with these roles."""
        body = await read_body(request, RoleTextBody)
        return json_response(tokenizer.role_text(body.roles)._asdict())

    tokenize_docs, detokenize_docs = (documented(kind.model_json_schema()) for kind in (TokenizeBody, DetokenizeBody))
    for prefix in ("", "/v1"):
        router.post(f"{prefix}/tokenize", summary="Text to tokens", openapi_extra=tokenize_docs)(_tokenize)
        router.post(f"{prefix}/detokenize", summary="Tokens to text", openapi_extra=detokenize_docs)(_detokenize)
    role_text_docs = documented(RoleTextBody.model_json_schema())
    router.post("/role_text", summary="The text around a chat message", openapi_extra=role_text_docs)(_role_text)
    return router


async def tokenize(manager: TokenizerManager, formats: ModelFormats, body: TokenizeBody) -> dict[str, Any]:
    """Raises InvalidRequestError unless there is a prompt or messages, or if the template refuses these."""
    if (body.prompt is None) == (body.messages is None):
        found = "neither" if body.prompt is None else "both"
        raise InvalidRequestError(f"give either prompt or messages; {found} was given")
    if body.messages is not None:
        tokens = await _tokenize_chat(manager, formats, body)
    elif of_a_chat := body.model_fields_set & set(CHAT_FIELDS):
        raise InvalidRequestError(f"{min(of_a_chat)} needs messages, not a prompt")
    elif isinstance(body.prompt, str):
        (tokens,) = await manager.encode([body.prompt], body.add_special_tokens)
    else:
        rows = await manager.encode(body.prompt or [], body.add_special_tokens)
        return {"tokens": rows, "count": list(map(len, rows)), "max_model_len": manager.info.context_length}
    return {"tokens": tokens, "count": len(tokens), "max_model_len": manager.info.context_length}


async def _tokenize_chat(manager: TokenizerManager, formats: ModelFormats, body: TokenizeBody) -> list[int]:
    if not body.add_special_tokens:
        raise InvalidRequestError("add_special_tokens=false needs a prompt: the chat template writes its own")
    given = {name: getattr(body, name) for name in CHAT_FIELDS}
    request = parse(ChatCompletionRequest, given)
    text = chat_prompt(manager.tokenizer.chat_template, request, tool_use(request), formats)
    (ids,) = await manager.encode([text], add_special_tokens=False)
    return ids


def detokenize(tokenizer: Tokenizer, vocab_size: int, body: DetokenizeBody) -> str | list[str]:
    """Raises InvalidRequestError for an id that no token has."""

    def text(ids: Sequence[int]) -> str:
        for token_id in ids:
            if not 0 <= token_id < vocab_size:
                raise InvalidRequestError(f"tokens has id {token_id}; valid ids are 0 to {vocab_size - 1}")
        return tokenizer.decode(ids, body.skip_special_tokens)

    rows = [row for row in body.tokens if isinstance(row, list)]
    return [text(row) for row in rows] if rows else text([token for token in body.tokens if isinstance(token, int)])
