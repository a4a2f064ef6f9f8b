"""Systems that compute nothing, for what is around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.systems.base import Answer, Request, Tokens


class FakeSystem:
    """Notes what is asked of it in a log that it may share with others. Times are what `seconds` says."""

    def __init__(self, name: str, log: list[str], seconds: float = 1.0) -> None:
        self.name = name
        self._log = log
        self._seconds = seconds

    def start(self) -> None:
        self._log.append(f"{self.name} starts")

    def stop(self) -> None:
        self._log.append(f"{self.name} stops")

    def process_ids(self) -> list[int]:
        return []

    def prefill_seconds(self, prompts: Sequence[Tokens]) -> float:
        return self.total_seconds(prompts, 1)

    def decode_rate(self, prompts: Sequence[Tokens], new_tokens: int) -> float:
        return len(prompts) * new_tokens / self.total_seconds(prompts, new_tokens)

    def total_seconds(self, prompts: Sequence[Tokens], new_tokens: int) -> float:
        self._log.append(f"{self.name} does {len(prompts)} x ({len(prompts[0])} + {new_tokens})")
        return self._seconds


class FakeEndpoint(FakeSystem):
    """Answers with what `reply` makes of a prompt, and keeps all requests."""

    def __init__(self, reply: Callable[[Request], Answer]) -> None:
        super().__init__("endpoint", [])
        self._reply = reply
        self.requests: list[Request] = []

    async def complete(self, request: Request) -> Answer:
        self.requests.append(request)
        return self._reply(request)
