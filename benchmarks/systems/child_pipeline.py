"""A peer's library in an interpreter of its own, driven by lines of JSON: see benchmarks/children/serving.py."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

from benchmarks.processes import Child
from benchmarks.systems.base import Answer, BenchmarkError, Request, Tokens

CHILDREN = Path(__file__).parents[1] / "children"


class ChildPipeline:
    """``environment``: variables of the child, beside those of this process."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._command = command
        self._environment = {**environment, "PYTHONPATH": str(CHILDREN.parents[1])}
        self._child: Child | None = None
        self._reader: threading.Thread | None = None
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[dict[str, Any]]] = {}

    def start(self) -> None:
        self._child = Child(self._command, self._environment, has_pipes=True)
        output = self._child.process.stdout
        assert output is not None
        try:
            if next(messages(output), None) is None:
                raise self._child.failure("did not start")
        except BaseException:
            self.stop()
            raise
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    def stop(self) -> None:
        if self._child is None:
            return
        self._child.kill()
        if self._reader is not None:
            self._reader.join()
        self._child.stop()
        self._child = self._reader = None

    def process_ids(self) -> list[int]:
        return [] if self._child is None else [self._child.pid]

    def prefill_seconds(self, prompts: Sequence[Tokens]) -> float:
        return self.total_seconds(prompts, 1)

    def decode_rate(self, prompts: Sequence[Tokens], new_tokens: int) -> float:
        """From the last one's first token to the first one's last token: in between all are decoding."""
        answers = self._generate(prompts, new_tokens)
        started = max(answer["times"][0] for answer in answers)
        ended = min(answer["times"][-1] for answer in answers)
        between = sum(started < moment <= ended for answer in answers for moment in answer["times"])
        if not between:
            raise BenchmarkError(f"{new_tokens} tokens are too few: the first answer was over before the last began")
        return float(between / (ended - started))

    def total_seconds(self, prompts: Sequence[Tokens], new_tokens: int) -> float:
        started = time.monotonic()
        answers = self._generate(prompts, new_tokens)
        ended: float = max(answer["times"][-1] for answer in answers)
        return ended - started

    async def complete(self, request: Request) -> Answer:
        (future,) = self._submit([request])
        result = await asyncio.wrap_future(future)
        return Answer(result["token_ids"], result["cached_tokens"])

    def _generate(self, prompts: Sequence[Tokens], new_tokens: int) -> list[dict[str, Any]]:
        return [future.result() for future in self._submit([Request(prompt, new_tokens) for prompt in prompts])]

    def _submit(self, requests: Sequence[Request]) -> list[Future[dict[str, Any]]]:
        if self._child is None or self._child.process.stdin is None:
            raise BenchmarkError(f"{self.name} was not started")
        futures: list[Future[dict[str, Any]]] = []
        batch = []
        for request in requests:
            number = next(self._numbers)
            self._waiting[number] = Future()
            futures.append(self._waiting[number])
            batch.append(
                {
                    "id": number,
                    "prompt": list(request.prompt),
                    "new_tokens": request.new_tokens,
                    "json_schema": request.json_schema,
                }
            )
        try:
            self._child.process.stdin.write(json.dumps(batch).encode() + b"\n")
            self._child.process.stdin.flush()
        except OSError as error:
            raise self._child.failure("takes no more requests") from error
        return futures

    def _read(self, output: IO[bytes]) -> None:
        for answer in messages(output):
            self._waiting.pop(answer["id"]).set_result(answer)
        for future in list(self._waiting.values()):
            future.set_exception(BenchmarkError(f"{self.name} ended with requests open"))


def messages(output: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Those of the child, without what the peer's library prints beside them."""
    for line in output:
        if line.startswith(b"{"):
            yield json.loads(line)
