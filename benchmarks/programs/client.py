"""What a program written with the ``openai`` client needs of a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.programs.counts import Counts
from benchmarks.systems.base import BenchmarkError

if TYPE_CHECKING:
    import openai

Message = dict[str, str]

MAX_CHOICE_TOKENS = 32
LENGTH = {"ignore_eos": True}
"""Answers of a fixed length, so that every system does the same work whatever it says."""


class Client(Protocol):
    """Every method sends one request, whose answer has exactly `max_tokens` unless a constraint ends it."""

    async def complete(self, prompt: str, max_tokens: int, temperature: float = 0.0) -> str: ...

    async def choose(self, prompt: str, options: Sequence[str]) -> str:
        """One of `options`, decoded under a constraint: the API cannot score them."""
        ...

    async def chat(
        self, messages: Sequence[Message], max_tokens: int, json_schema: dict[str, Any] | None = None
    ) -> str: ...


class ApiClient:
    """Counts what it sends. options_body: how the server wants to be told the options of a choice."""

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        model: str,
        options_body: Callable[[Sequence[str]], dict[str, Any]],
        counts: Counts,
    ) -> None:
        self._client = client
        self._model = model
        self._options_body = options_body
        self._counts = counts

    async def complete(self, prompt: str, max_tokens: int, temperature: float = 0.0) -> str:
        return await self._complete(prompt, max_tokens, temperature, LENGTH)

    async def choose(self, prompt: str, options: Sequence[str]) -> str:
        return await self._complete(prompt, MAX_CHOICE_TOKENS, 0.0, self._options_body(options))

    async def chat(
        self, messages: Sequence[Message], max_tokens: int, json_schema: dict[str, Any] | None = None
    ) -> str:
        given: dict[str, Any] = {"extra_body": LENGTH}
        if json_schema is not None:
            schema = {"name": "answer", "schema": json_schema, "strict": True}
            given = {"response_format": {"type": "json_schema", "json_schema": schema}}
        answer = await self._client.chat.completions.create(
            model=self._model,
            messages=list(messages),  # type: ignore[arg-type]
            max_tokens=max_tokens,
            temperature=0.0,
            **given,
        )
        self._count(answer.usage)
        return answer.choices[0].message.content or ""

    async def _complete(self, prompt: str, max_tokens: int, temperature: float, body: dict[str, Any]) -> str:
        answer = await self._client.completions.create(
            model=self._model, prompt=prompt, max_tokens=max_tokens, temperature=temperature, extra_body=body
        )
        self._count(answer.usage)
        return answer.choices[0].text

    def _count(self, usage: Any) -> None:
        if usage is None:
            raise BenchmarkError("the server does not say how many tokens a request had")
        details = usage.prompt_tokens_details
        cached = None if details is None else details.cached_tokens
        self._counts.add(usage.prompt_tokens, cached, usage.completion_tokens)


def choices_body(options: Sequence[str]) -> dict[str, Any]:
    """For our own server."""
    return {"choices": list(options)}


def grammar_body(options: Sequence[str]) -> dict[str, Any]:
    """For llama.cpp's."""
    return {"grammar": "root ::= " + " | ".join(json.dumps(option) for option in options)}
