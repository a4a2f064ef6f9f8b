"""What every child does: requests come as lines of JSON, answers go as such. Runs in the peer's own interpreter.

Input: lines, each a list of requests {"id", "prompt", "new_tokens", "json_schema"} to be added together; a prompt is
token ids. Output: {"ready": version} once; then for each request, when it has ended, {"id", "token_ids", "times",
"cached_tokens"}: the monotonic clock at which each token was there, and how many of the prompt's were cached, null
where the peer does not say. With no work it blocks on its input; at its end it exits.
"""

from __future__ import annotations

import abc
import itertools
import json
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any


class Running(abc.ABC):
    """One request in the pipeline, and what has come of it so far."""

    cached_tokens: int | None = None

    def __init__(self, message: dict[str, Any]) -> None:
        self.id = message["id"]
        self.token_ids: list[int] = []
        self.times: list[float] = []

    @abc.abstractmethod
    def read(self, now: float) -> bool:
        """Take what the last step gave; whether that was the end."""

    def add(self, token_ids: list[int], now: float) -> None:
        self.token_ids += token_ids
        self.times += [now] * len(token_ids)

    def answer(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "token_ids": self.token_ids,
            "times": self.times,
            "cached_tokens": self.cached_tokens,
        }


def serve(version: str, start: Callable[[int, dict[str, Any]], Running], step: Callable[[], object]) -> None:
    """start: put a request into the pipeline under a number. step: compute what is there once."""
    print(json.dumps({"ready": version}), flush=True)
    incoming: queue.SimpleQueue[list[dict[str, Any]] | None] = queue.SimpleQueue()
    threading.Thread(target=read_lines, args=(incoming,), daemon=True).start()
    running: list[Running] = []
    numbers = itertools.count()
    while True:
        while not running or not incoming.empty():
            messages = incoming.get()
            if messages is None:
                return
            running += [start(next(numbers), message) for message in messages]
        step()
        now = time.monotonic()
        ended = [request for request in running if request.read(now)]
        for request in ended:
            print(json.dumps(request.answer()), flush=True)
        running = [request for request in running if request not in ended]


def read_lines(incoming: queue.SimpleQueue[list[dict[str, Any]] | None]) -> None:
    for line in sys.stdin:
        incoming.put(json.loads(line))
    incoming.put(None)
