"""What is served and how: ``/model_info``, ``/server_info``, and their older names."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from sglang.srt.args import ServerArgs
from sglang.srt.server.wire import json_response
from sglang.srt.tokenizer.launch import RunningEngine

SECRETS = ("api_key",)


def info_router(engine: RunningEngine, args: ServerArgs) -> APIRouter:
    router = APIRouter()

    @router.get("/model_info", summary="The model")
    @router.get("/get_model_info", summary="The model", include_in_schema=False)
    async def _model_info() -> Response:
        return json_response(model_info(engine, args))

    @router.get("/server_info", summary="The options in force, and a snapshot of the engine's state")
    @router.get("/get_server_info", summary="As /server_info", include_in_schema=False)
    async def _server_info() -> Response:
        options = {name: value for name, value in msgspec.to_builtins(args).items() if name not in SECRETS}
        return json_response({**options, **await engine.server_info()})

    return router


def model_info(engine: RunningEngine, args: ServerArgs) -> dict[str, Any]:
    """The published keys, then ours. ``segments``: prompts may be given as segments (see ``/generate``).
    ``select``: there are ``/select`` and ``/score_choices``.
    """
    architecture = engine.config.architecture
    return {
        "model_path": engine.args.model_path,
        "tokenizer_path": engine.args.model_path,
        "is_generation": True,
        "preferred_sampling_params": None,
        "weight_version": "default",
        "has_image_understanding": False,
        "has_audio_understanding": False,
        "model_type": architecture.removesuffix("ForCausalLM").lower(),
        "architectures": [architecture],
        "served_model_name": served_model_name(engine, args),
        "max_model_len": engine.manager.info.context_length,
        "vocab_size": engine.manager.info.vocab_size,
        "has_chat_template": engine.manager.tokenizer.chat_template is not None,
        "segments": True,
        "select": True,
    }


def served_model_name(engine: RunningEngine, args: ServerArgs) -> str:
    return args.served_model_name or engine.args.model_path
