"""The HTTP application: routes to modules, one per API. Nothing behind this process's text side is known here."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from sglang.srt.errors import EngineDeadError, InvalidRequestError, SglangError
from sglang.srt.server.generate import generate
from sglang.srt.server.wire import error_body, json_response
from sglang.srt.tokenizer.launch import RunningEngine
from sglang.version import __version__

HEALTH_SECONDS = 20
"""A step takes less; an engine that does not answer for longer hangs."""


def create_app(engine: RunningEngine) -> FastAPI:
    app = FastAPI(title="SGLang", version=__version__)

    @app.api_route("/generate", methods=["POST", "PUT"], summary="Continue a prompt, or many")
    async def _generate(request: Request) -> Response:
        return await generate(request, engine.manager)

    @app.get("/health", summary="200 while the engine lives")
    async def _health() -> Response:
        try:
            await asyncio.wait_for(engine.manager.stats(), HEALTH_SECONDS)
        except asyncio.TimeoutError as error:
            raise EngineDeadError(f"the engine has not answered for {HEALTH_SECONDS} s") from error
        return PlainTextResponse("")

    @app.exception_handler(SglangError)
    async def _on_error(request: Request, error: SglangError) -> Response:
        return json_response(error_body(error), error.http_status)

    @app.exception_handler(HTTPException)
    async def _on_http_error(request: Request, error: HTTPException) -> Response:
        """A route or method that does not exist, in the shape of all other errors."""
        refusal = InvalidRequestError(f"{request.method} {request.url.path}: {error.detail}")
        body = error_body(refusal)
        body["error"]["code"] = error.status_code
        return json_response(body, error.status_code)

    return app
