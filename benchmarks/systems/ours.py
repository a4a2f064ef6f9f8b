"""This engine, in process and behind HTTP."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import psutil

import sglang as sgl
from benchmarks.systems.base import Answer, BenchmarkError, Request, Tokens
from benchmarks.systems.http_server import HttpServer


def sampling(request: Request) -> dict[str, Any]:
    given = {"temperature": 0.0, "max_new_tokens": request.new_tokens}
    if request.json_schema is None:
        return {**given, "ignore_eos": True}
    return {**given, "json_schema": json.dumps(request.json_schema)}


class OurEngine:
    """sgl.Engine. ``options`` are its keyword arguments."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self._options = options
        self._engine: sgl.Engine | None = None
        self._pids: list[int] = []

    @property
    def engine(self) -> sgl.Engine:
        if self._engine is None:
            raise BenchmarkError(f"{self.name} was not started")
        return self._engine

    def start(self) -> None:
        before = set(psutil.Process().children())
        self._engine = sgl.Engine(**self._options)
        self._pids = [child.pid for child in psutil.Process().children() if child not in before]

    def stop(self) -> None:
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None

    def process_ids(self) -> list[int]:
        return self._pids

    def prefill_seconds(self, prompts: Sequence[Tokens]) -> float:
        return self.total_seconds(prompts, 1)

    def decode_rate(self, prompts: Sequence[Tokens], new_tokens: int) -> float:
        """Of a second call, which finds the prompts cached but for the row that draws: all its steps are decoding."""
        if self._options.get("disable_radix_cache"):
            raise BenchmarkError("without a cache prompts cannot be kept out of the time; measure total_seconds")
        self.prefill_seconds(prompts)
        return len(prompts) * new_tokens / self.total_seconds(prompts, new_tokens)

    def total_seconds(self, prompts: Sequence[Tokens], new_tokens: int) -> float:
        started = time.monotonic()
        self.engine.generate(input_ids=prompts, sampling_params=sampling(Request((), new_tokens)))
        return time.monotonic() - started

    async def complete(self, request: Request) -> Answer:
        result = await self.engine.async_generate(input_ids=request.prompt, sampling_params=sampling(request))
        return _answer(result)


class OurServer(HttpServer):
    """``python -m sglang.launch_server``. ``options`` are its options, named as in Python."""

    path = "/generate"

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name)
        self._options = options

    def command(self, port: int) -> list[str]:
        given = [part for name, value in self._options.items() for part in _command_option(name, value)]
        return [sys.executable, "-m", "sglang.launch_server", "--port", str(port), "--log-level", "error", *given]

    def body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        return {"input_ids": list(request.prompt), "sampling_params": sampling(request), "stream": stream}

    def answer(self, result: dict[str, Any]) -> Answer:
        return _answer(result)


def _answer(result: dict[str, Any]) -> Answer:
    return Answer(result["output_ids"], result["meta_info"]["cached_tokens"])


def _command_option(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else []
    return [flag, str(value)]
