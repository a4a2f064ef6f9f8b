"""A peer's library in an interpreter of its own, driven by lines of JSON: see benchmarks/children/serving.py."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

from benchmarks.processes import Child
from benchmarks.systems.base import READY_SECONDS, REQUEST_SECONDS, Answer, BenchmarkError, Request, Tokens, late

CHILDREN = Path(__file__).parents[1] / "children"


class ChildPipeline:
    """``environment``: variables of the child, beside those of this process.

    ``request_seconds``: requests given at once that are not all answered in that time are a BenchmarkError.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self.name = name
        self.request_seconds = request_seconds
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
        is_ready: Future[bool] = Future()
        self._reader = threading.Thread(target=self._read, args=(output, is_ready), daemon=True)
        self._reader.start()
        try:
            if not is_ready.result(READY_SECONDS):
                raise self._child.failure("did not start")
        except futures.TimeoutError:
            failure = self._child.failure(f"was not ready after {READY_SECONDS:g} s")
            self.stop()
            raise failure from None
        except BaseException:
            self.stop()
            raise

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
        answering = asyncio.shield(asyncio.wrap_future(future))  # the reader still has the future to set
        try:
            result = await asyncio.wait_for(answering, self.request_seconds)
        except asyncio.TimeoutError:
            raise late(self.name, self.request_seconds) from None
        return Answer(result["token_ids"], result["cached_tokens"])

    def _generate(self, prompts: Sequence[Tokens], new_tokens: int) -> list[dict[str, Any]]:
        waiting = self._submit([Request(prompt, new_tokens) for prompt in prompts])
        deadline = time.monotonic() + self.request_seconds
        try:
            return [future.result(max(0.0, deadline - time.monotonic())) for future in waiting]
        except futures.TimeoutError:
            raise late(self.name, self.request_seconds) from None

    def _submit(self, requests: Sequence[Request]) -> list[Future[dict[str, Any]]]:
        if self._child is None or self._child.process.stdin is None:
            raise BenchmarkError(f"{self.name} was not started")
        waiting: list[Future[dict[str, Any]]] = []
        batch = []
        for request in requests:
            number = next(self._numbers)
            self._waiting[number] = Future()
            waiting.append(self._waiting[number])
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
        return waiting

    def _read(self, output: IO[bytes], is_ready: Future[bool]) -> None:
        answers = messages(output)
        is_ready.set_result(next(answers, None) is not None)
        for answer in answers:
            self._waiting.pop(answer["id"]).set_result(answer)
        for future in list(self._waiting.values()):
            future.set_exception(BenchmarkError(f"{self.name} ended with requests open"))


def messages(output: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Those of the child, without what the peer's library prints beside them."""
    for line in output:
        if line.startswith(b"{"):
            yield json.loads(line)
