"""The routes of the OpenAI API."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from sglang.srt.errors import SglangError
from sglang.srt.server.body import documented
from sglang.srt.server.openai.chat import create_chat_completion
from sglang.srt.server.openai.completions import create_completion
from sglang.srt.server.openai.errors import error_body
from sglang.srt.server.openai.formats import ModelFormats
from sglang.srt.server.openai.models import Models
from sglang.srt.server.openai.requests import ChatCompletionRequest, CompletionRequest, GenerationRequest
from sglang.srt.server.openai.responses import ChatCompletion, ErrorBody, ModelCard, ModelList, TextCompletion
from sglang.srt.server.wire import json_response, tell_of_refusal
from sglang.srt.tokenizer.launch import RunningEngine


class OpenAIRoute(APIRoute):
    """Answers every error in the shape of this API."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_in_shape(request: Request) -> Response:
            try:
                return await handle(request)
            except SglangError as error:
                tell_of_refusal(request, error)
                return json_response(error_body(error), error.http_status)

        return handle_in_shape


def openai_router(engine: RunningEngine, model_name: str, formats: ModelFormats) -> APIRouter:
    models = Models(engine, model_name)
    router = APIRouter(prefix="/v1", route_class=OpenAIRoute, tags=["OpenAI"], responses={"4XX": {"model": ErrorBody}})

    @router.post(
        "/chat/completions",
        summary="Answer a conversation",
        responses={200: {"model": ChatCompletion}},
        openapi_extra=_body(ChatCompletionRequest),
    )
    async def _chat_completions(request: Request) -> Response:
        """With ``"stream": true``, server-sent events: chunks of the answer, then ``[DONE]``."""
        return await create_chat_completion(request, engine.manager, model_name, formats)

    @router.post(
        "/completions",
        summary="Continue a prompt, or many, as OpenAI has it",
        responses={200: {"model": TextCompletion}},
        openapi_extra=_body(CompletionRequest),
    )
    async def _completions(request: Request) -> Response:
        """With ``"stream": true``, server-sent events: chunks of the completions, then ``[DONE]``."""
        return await create_completion(request, engine.manager, model_name)

    @router.get("/models", summary="The model that is served, in a list", responses={200: {"model": ModelList}})
    async def _models() -> Response:
        return json_response(models.list())

    @router.get(
        "/models/{name:path}",
        summary="The model of a name",
        responses={200: {"model": ModelCard}},
    )
    async def _model(name: str) -> Response:
        return json_response(models.get(name))

    return router


def _body(kind: type[GenerationRequest]) -> dict[str, Any]:
    """The schema as one piece: references are relative to the whole of ``/openapi.json``."""
    schema = kind.model_json_schema()
    return documented(_inlined(schema, schema.pop("$defs", {})))


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(item, definitions) for name, item in schema.items()}
