"""What a driver asks of a system. Everything is given in token ids, so that all systems get the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Tokens = Sequence[int]

PEERS = ("llama.cpp", "openvino", "vllm")
"""Peers that drivers start; the name of such a system begins with one of these."""

READY_SECONDS = 300.0
"""How long a system may take to start."""

REQUEST_SECONDS = 600.0
"""How long a peer may take over a request, or over all that are given to it at once, unless it is told otherwise."""


@dataclass(frozen=True)
class Request:
    """Continue `prompt` greedily by exactly `new_tokens` tokens, or with `json_schema` until the object is complete."""

    prompt: Tokens
    new_tokens: int
    json_schema: dict[str, Any] | None = None


@dataclass(frozen=True)
class Answer:
    """`cached_tokens` of the prompt were found in the cache; None where a system does not say."""

    token_ids: list[int]
    cached_tokens: int | None = None


class System(Protocol):
    """Something that computes in processes of its own. Raises BenchmarkError if it cannot be run."""

    name: str

    def start(self) -> None:
        """Returns when the first answer would be given without delay."""
        ...

    def stop(self) -> None:
        """End its processes. Harmless when it was not started."""
        ...

    def process_ids(self) -> list[int]:
        """The processes that compute, without their children."""
        ...


class BatchSystem(System, Protocol):
    """Prompts all given at once. Prompts must be new to the system, unless the same call is repeated to warm up."""

    def prefill_seconds(self, prompts: Sequence[Tokens]) -> float:
        """From giving the prompts to having the first new token of each."""
        ...

    def decode_rate(self, prompts: Sequence[Tokens], new_tokens: int) -> float:
        """New tokens per second of all together, while all are decoding: prompts are not in this time."""
        ...

    def total_seconds(self, prompts: Sequence[Tokens], new_tokens: int) -> float:
        """From giving the prompts to having all `new_tokens` of each."""
        ...


class Endpoint(System, Protocol):
    """Requests that come and go by themselves, as programs make them."""

    async def complete(self, request: Request) -> Answer: ...


class BenchmarkError(Exception):
    """A system cannot be started, or did not do what was asked of it."""


def late(system: str, seconds: float) -> BenchmarkError:
    return BenchmarkError(f"{system} did not answer within {seconds:g} s")
