"""What an operator tells the engine: ``/flush_cache`` and ``/abort_request``."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import PlainTextResponse, Response

from sglang.srt.server.body import Body, documented, read_body
from sglang.srt.server.wire import json_response
from sglang.srt.tokenizer.launch import RunningEngine


class AbortBody(Body):
    rid: str = Field("", description="a string: the rid to end, or the beginning of several")
    abort_all: bool = Field(False, description="true or false")


def control_router(engine: RunningEngine) -> APIRouter:
    router = APIRouter()

    @router.get("/flush_cache", include_in_schema=False)
    @router.post("/flush_cache", summary="Forget every prefix that no request uses now")
    async def _flush_cache() -> Response:
        await engine.manager.flush_cache()
        return PlainTextResponse("Cache flushed. What running requests use stays until they end.\n")

    docs = documented(AbortBody.model_json_schema())

    @router.post("/abort_request", summary="End requests by their rid, or all", openapi_extra=docs)
    async def _abort_request(request: Request) -> Response:
        """``aborted`` says how many were under way. Each gets its answer, with what it has so far and the finish reason
        ``abort``.
        """
        body = await read_body(request, AbortBody)
        is_any_meant = body.abort_all or bool(body.rid)
        num_aborted = engine.manager.abort("" if body.abort_all else body.rid) if is_any_meant else 0
        return json_response({"aborted": num_aborted})

    return router
