"""What programs ask of an endpoint: prefixes shared by a burst, along a conversation, down a tree, between samples.

Each takes an endpoint and a source of prompts, and returns the answers of all its requests. Prompts are token ids that
no earlier run had. Answers go into later prompts as they came, and all have the same length, so that every system does
the same work whatever it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.prompts import Prompts
from benchmarks.systems.base import Answer, Endpoint, Request, Tokens


@dataclass(frozen=True)
class Exchange:
    """One request and what came of it."""

    prompt: Tokens
    answer: Answer


async def ask(endpoint: Endpoint, prompt: Tokens, new_tokens: int) -> Exchange:
    return Exchange(prompt, await endpoint.complete(Request(prompt, new_tokens)))


async def ask_all(endpoint: Endpoint, prompts: Sequence[Tokens], new_tokens: int) -> list[Exchange]:
    return list(await asyncio.gather(*(ask(endpoint, prompt, new_tokens) for prompt in prompts)))


@dataclass(frozen=True)
class FewShot:
    """A burst of questions after the same examples, all at once."""

    questions: int
    examples_tokens: int = 1000
    question_tokens: int = 48
    new_tokens: int = 16

    def prompts(self, source: Prompts, examples: Tokens) -> list[list[int]]:
        return [[*examples, *source.tokens(self.question_tokens)] for _ in range(self.questions)]

    async def run(self, endpoint: Endpoint, source: Prompts) -> list[Exchange]:
        examples = source.tokens(self.examples_tokens)
        return await ask_all(endpoint, self.prompts(source, examples), self.new_tokens)


@dataclass(frozen=True)
class MultiTurn:
    """Conversations side by side; each turn's prompt is all that was said before, and something new."""

    conversations: int
    turns: int = 4
    turn_tokens: int = 192
    new_tokens: int = 8

    async def run(self, endpoint: Endpoint, source: Prompts) -> list[Exchange]:
        said = [source.batch(self.turns, self.turn_tokens) for _ in range(self.conversations)]
        talks = await asyncio.gather(*(self._talk(endpoint, turns) for turns in said))
        return [exchange for talk in talks for exchange in talk]

    async def _talk(self, endpoint: Endpoint, turns: list[list[int]]) -> list[Exchange]:
        history: list[int] = []
        exchanges = []
        for turn in turns:
            exchanges.append(await ask(endpoint, [*history, *turn], self.new_tokens))
            history += turn + exchanges[-1].answer.token_ids
        return exchanges


@dataclass(frozen=True)
class Tree:
    """Thoughts that branch: every answer is gone on from in `branches` ways, `depth` times."""

    depth: int = 3
    branches: int = 3
    root_tokens: int = 384
    step_tokens: int = 24
    new_tokens: int = 24

    async def run(self, endpoint: Endpoint, source: Prompts) -> list[Exchange]:
        return await self._grow(endpoint, source, source.tokens(self.root_tokens), self.depth)

    async def _grow(self, endpoint: Endpoint, source: Prompts, path: Tokens, depth: int) -> list[Exchange]:
        if depth == 0:
            return []
        branches = await asyncio.gather(
            *(self._branch(endpoint, source.part(number), path, depth) for number in range(self.branches))
        )
        return [exchange for branch in branches for exchange in branch]

    async def _branch(self, endpoint: Endpoint, source: Prompts, path: Tokens, depth: int) -> list[Exchange]:
        """Goes on as soon as its own answer is there."""
        exchange = await ask(endpoint, [*path, *source.tokens(self.step_tokens)], self.new_tokens)
        below = await self._grow(endpoint, source, [*exchange.prompt, *exchange.answer.token_ids], depth - 1)
        return [exchange, *below]


@dataclass(frozen=True)
class SelfConsistency:
    """Several samples of each question, all at once. Greedy here, for equal work: the samples come out the same."""

    questions: int
    samples: int = 8
    question_tokens: int = 512
    new_tokens: int = 32

    async def run(self, endpoint: Endpoint, source: Prompts) -> list[Exchange]:
        questions = source.batch(self.questions, self.question_tokens)
        return await ask_all(
            endpoint, [question for question in questions for _ in range(self.samples)], self.new_tokens
        )


Program = FewShot | MultiTurn | Tree | SelfConsistency


def cached_share(exchanges: Sequence[Exchange]) -> float | None:
    """The part of all prompt tokens that was found in the cache; None where the system does not say."""
    cached = [exchange.answer.cached_tokens for exchange in exchanges]
    known = [count for count in cached if count is not None]
    if len(known) < len(cached):
        return None
    return sum(known) / sum(len(exchange.prompt) for exchange in exchanges)
