"""``GET /v1/models``: the one model there is."""

from __future__ import annotations

import time

from sglang.srt.errors import shown
from sglang.srt.server.openai.errors import ModelNotFoundError
from sglang.srt.server.openai.responses import ModelCard, ModelList
from sglang.srt.tokenizer.launch import RunningEngine


class Models:
    """name: what the model is called here. root: where it came from."""

    def __init__(self, engine: RunningEngine, name: str) -> None:
        self._card: ModelCard = {
            "id": name,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "sglang",
            "root": engine.args.model_path,
            "parent": None,
            "max_model_len": engine.manager.info.context_length,
        }

    def list(self) -> ModelList:
        return {"object": "list", "data": [self._card]}

    def get(self, name: str) -> ModelCard:
        """Raises ModelNotFoundError."""
        if name != self._card["id"]:
            raise ModelNotFoundError(f"there is no model {shown(name)}; this server has {self._card['id']!r}")
        return self._card
