"""The HTTP application: a router per API, and how errors are answered."""

from __future__ import annotations

import difflib

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from sglang.srt.args import ServerArgs
from sglang.srt.errors import InvalidRequestError, SglangError
from sglang.srt.server.auth import BearerAuth
from sglang.srt.server.choices import choices_router
from sglang.srt.server.control import control_router
from sglang.srt.server.generate import generate_router
from sglang.srt.server.head import HeadAsGet
from sglang.srt.server.health import health_router
from sglang.srt.server.info import info_router, served_model_name
from sglang.srt.server.metrics import metrics_router
from sglang.srt.server.openai.formats import ModelFormats
from sglang.srt.server.openai.router import openai_router
from sglang.srt.server.parsing import parsing_router
from sglang.srt.server.tokenization import tokenization_router
from sglang.srt.server.wire import error_body, json_response, tell_of_refusal
from sglang.srt.tokenizer.launch import RunningEngine
from sglang.version import __version__


def create_app(engine: RunningEngine, args: ServerArgs) -> FastAPI:
    app = FastAPI(title="SGLang", version=__version__)
    app.state.observers = engine.manager.observers
    model_name = served_model_name(engine, args)
    app.include_router(generate_router(engine))
    app.include_router(choices_router(engine))
    formats = ModelFormats.of(args, engine.manager.tokenizer)
    app.include_router(openai_router(engine, model_name, formats))
    app.include_router(tokenization_router(engine, formats))
    app.include_router(parsing_router(formats))
    app.include_router(info_router(engine, args))
    app.include_router(control_router(engine))
    app.include_router(health_router(engine))
    app.include_router(metrics_router(engine, model_name))
    _answer_errors(app)
    app.add_middleware(HeadAsGet)
    if args.api_key is not None:
        app.add_middleware(BearerAuth, api_key=args.api_key)
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])  # outermost
    return app


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(SglangError)
    async def _on_error(request: Request, error: SglangError) -> Response:
        tell_of_refusal(request, error)
        return json_response(error_body(error), error.http_status)

    @app.exception_handler(HTTPException)
    async def _on_http_error(request: Request, error: HTTPException) -> Response:
        """A route or method that does not exist, in the shape of all other errors."""
        hint = _close_path(app, request.url.path) if error.status_code == 404 else ""
        refusal = InvalidRequestError(f"{request.method} {request.url.path}: {error.detail}{hint}")
        tell_of_refusal(request, refusal)
        body = error_body(refusal)
        body["error"]["code"] = error.status_code
        response = json_response(body, error.status_code)
        response.headers.update(error.headers or {})  # such as which methods there are
        return response


def _close_path(app: FastAPI, path: str) -> str:
    """The route that is meant: most miss the /v1 that a client's base_url ends in, or have it twice."""
    known = app.openapi()["paths"]
    close = difflib.get_close_matches(path, known, n=1, cutoff=0.8)
    return f"; did you mean {close[0]}?" if close else ""
