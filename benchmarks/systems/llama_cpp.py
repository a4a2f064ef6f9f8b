"""llama.cpp: its own benchmark tool for prompts given at once, its server for everything else.

``llama-batched-bench`` is the way in which llama.cpp is fastest: no HTTP, no sampling, no text, random tokens of its
own. So these figures are the most that any program on top of the library can have.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.systems.base import REQUEST_SECONDS, Answer, BenchmarkError, Request, Tokens, late
from benchmarks.systems.http_server import HttpServer


class LlamaBatchedBench:
    """Starts a process for each measurement; loading the model is not in its times."""

    def __init__(
        self, name: str, folder: Path, model: Path, threads: int, request_seconds: float = REQUEST_SECONDS
    ) -> None:
        self.name = name
        self.request_seconds = request_seconds
        self._command = [str(folder / "llama-batched-bench"), "-m", str(model), "-t", str(threads)]

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def process_ids(self) -> list[int]:
        return []

    def prefill_seconds(self, prompts: Sequence[Tokens]) -> float:
        return float(self._run(prompts, 1)["t_pp"])

    def decode_rate(self, prompts: Sequence[Tokens], new_tokens: int) -> float:
        return float(self._run(prompts, new_tokens)["speed_tg"])

    def total_seconds(self, prompts: Sequence[Tokens], new_tokens: int) -> float:
        """The tool's t_pp ends with the first tokens drawn, so one decoding step fewer is needed."""
        result = self._run(prompts, new_tokens)
        return float(result["t_pp"]) + float(result["t_tg"]) * (new_tokens - 1) / new_tokens

    def _run(self, prompts: Sequence[Tokens], new_tokens: int) -> dict[str, Any]:
        """One line of the tool's JSON: t_pp and t_tg in seconds, speed_tg in tokens of all streams per second."""
        length, streams = len(prompts[0]), len(prompts)
        if any(len(prompt) != length for prompt in prompts):
            raise BenchmarkError(f"{self.name} takes prompts of equal length only")
        context = streams * (length + new_tokens)
        work = ["-npp", str(length), "-ntg", str(new_tokens), "-npl", str(streams), "-c", str(context)]
        command = [*self._command, *work, "--output-format", "jsonl"]
        try:
            run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=self.request_seconds)
        except subprocess.TimeoutExpired:
            raise late(self.name, self.request_seconds) from None
        lines = [line for line in run.stdout.splitlines() if line.startswith("{")]
        if run.returncode != 0 or len(lines) != 1:
            raise BenchmarkError(f"{command!r} ended with {run.returncode}:\n{(run.stdout + run.stderr)[-2000:]}")
        result: dict[str, Any] = json.loads(lines[0])
        return result


class LlamaServer(HttpServer):
    """``llama-server`` with `slots` requests at a time over a cache of `total_tokens`."""

    path = "/completion"

    def __init__(
        self,
        name: str,
        folder: Path,
        model: Path,
        threads: int,
        total_tokens: int,
        slots: int,
        options: Sequence[str] = (),
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        super().__init__(name, request_seconds=request_seconds)
        self._start = [
            *(str(folder / "llama-server"), "-m", str(model), "-t", str(threads)),
            *("-c", str(total_tokens), "-np", str(slots), "--no-ui", *options),
        ]

    def command(self, port: int) -> list[str]:
        return [*self._start, "--port", str(port)]

    def body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        body = {
            "prompt": list(request.prompt),
            "n_predict": request.new_tokens,
            "temperature": 0.0,
            "cache_prompt": True,
            "return_tokens": True,
            "stream": stream,
        }
        if request.json_schema is None:
            return {**body, "ignore_eos": True}
        return {**body, "json_schema": request.json_schema}

    def answer(self, result: dict[str, Any]) -> Answer:
        return Answer(result["tokens"], result["timings"]["cache_n"])
