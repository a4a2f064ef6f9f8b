"""One of several given texts: ``POST /select`` and ``POST /score_choices``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sglang.srt.select.call import (
    DEFAULT_SELECT_ROWS,
    DEFAULT_UNEXPLORED_MASS,
    SCORE_FIELDS,
    SELECT_FIELDS,
    ScoreCall,
    SelectCall,
)
from sglang.srt.select.exact import select
from sglang.srt.select.scores import score_choices
from sglang.srt.server.body import documented
from sglang.srt.server.generate_schema import FIELDS, SAMPLING_PARAMS
from sglang.srt.server.wire import json_response, read_object, unless_disconnected
from sglang.srt.tokenizer.launch import RunningEngine
from sglang.srt.tokenizer.manager import TokenizerManager

C = TypeVar("C")
Work = Callable[[TokenizerManager, C], Coroutine[Any, Any, dict[str, Any]]]

_PROMPT = {
    name: FIELDS[name]["anyOf"][0] for name in ("text", "input_ids", "segments", "rid", "cache_salt", "extra_key")
}
_PROPERTIES: dict[str, Any] = {
    **_PROMPT,
    "choices": {"type": "array", "items": {"type": "string"}, "description": "The texts that may come next."},
    "temperature": {**SAMPLING_PARAMS["properties"]["temperature"], "default": 0},
    "sampling_seed": SAMPLING_PARAMS["properties"]["sampling_seed"],
    "max_unexplored_mass": {
        "type": "number",
        "default": DEFAULT_UNEXPLORED_MASS,
        "description": "The share of the probability that may stay unexplored, from 0 to 1.",
    },
    "max_rows": {
        "type": "integer",
        "default": DEFAULT_SELECT_ROWS,
        "description": "How many tokens may be computed beside the usual spelling of every choice.",
    },
    "unconditional": {
        "type": "boolean",
        "default": False,
        "description": "Whether the tokens are scored without the prompt, too.",
    },
}


def _body(names: tuple[str, ...]) -> dict[str, Any]:
    properties = {name: _PROPERTIES[name] for name in names}
    return {"type": "object", "properties": properties, "required": ["choices"], "additionalProperties": False}


def choices_router(engine: RunningEngine) -> APIRouter:
    router = APIRouter()

    @router.post(
        "/select", summary="Which of several texts comes next?", openapi_extra=documented(_body(SELECT_FIELDS))
    )
    async def _select(request: Request) -> Response:
        """Each choice's probability is summed over all the ways to spell it after the prompt. At temperature 0 the most
        likely choice is the ``decision``, otherwise it is drawn.
        """
        return await _answer(request, engine.manager, SelectCall.parse, select)

    @router.post(
        "/score_choices",
        summary="How likely are the tokens of several texts?",
        openapi_extra=documented(_body(SCORE_FIELDS)),
    )
    async def _score_choices(request: Request) -> Response:
        """A list per choice, each of (log-probability, token id, text) of its tokens after the prompt."""
        return await _answer(request, engine.manager, ScoreCall.parse, score_choices)

    return router


async def _answer(
    request: Request, manager: TokenizerManager, parse: Callable[[dict[str, Any]], C], work: Work[C]
) -> Response:
    call = parse(await read_object(request))
    return json_response(await unless_disconnected(request.receive, work(manager, call)))
