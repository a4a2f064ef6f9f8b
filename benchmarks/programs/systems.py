"""What runs programs: our engine and our server by the language, servers by the ``openai`` client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import openai

from benchmarks.programs.calibration import Run
from benchmarks.programs.client import ApiClient
from benchmarks.programs.counts import Counts
from benchmarks.programs.program import Item, Program
from benchmarks.systems.base import BenchmarkError, System
from benchmarks.systems.http_server import HttpServer
from benchmarks.systems.ours import OurEngine, OurServer
from sglang.lang.backends.base import Backend, Prompt
from sglang.lang.backends.engine import EngineBackend
from sglang.lang.backends.runtime_endpoint import RuntimeEndpoint
from sglang.lang.execution import loop
from sglang.lang.ir import SamplingArguments
from sglang.lang.state import ProgramState
from sglang.srt.errors import ProgramError


class ProgramSystem(System, Protocol):
    """Runs programs, all items at a time."""

    def run(self, program: Program, items: Sequence[Item]) -> Run: ...


class _Started:
    """Starts and stops another system."""

    def __init__(self, name: str, system: System) -> None:
        self.name = name
        self._system = system

    def start(self) -> None:
        self._system.start()

    def stop(self) -> None:
        self._system.stop()

    def process_ids(self) -> list[int]:
        return self._system.process_ids()


class OnEngine(_Started):
    """The language in process."""

    def __init__(self, engine: OurEngine) -> None:
        super().__init__(engine.name, engine)
        self._engine = engine

    def run(self, program: Program, items: Sequence[Item]) -> Run:
        return run_ours(program, items, CountedEngine(self._engine.engine))


class OnServer(_Started):
    """The language over HTTP."""

    def __init__(self, server: OurServer) -> None:
        super().__init__(server.name, server)
        self._server = server

    def run(self, program: Program, items: Sequence[Item]) -> Run:
        endpoint = CountedEndpoint(self._server.url)
        try:
            return run_ours(program, items, endpoint)
        finally:
            loop.run(endpoint.aclose())


class WithClient(_Started):
    """The ``openai`` client on a server. options_body: how that wants to be told the options of a choice."""

    def __init__(self, name: str, server: HttpServer, options_body: Callable[[Sequence[str]], dict[str, Any]]) -> None:
        super().__init__(name, server)
        self._server = server
        self._options_body = options_body

    def run(self, program: Program, items: Sequence[Item]) -> Run:
        return asyncio.run(self._run(program, items))

    async def _run(self, program: Program, items: Sequence[Item]) -> Run:
        counts = Counts()
        url = f"{self._server.url}/v1"
        timeout = self._server.request_seconds
        async with openai.AsyncOpenAI(base_url=url, api_key="none", timeout=timeout, max_retries=0) as client:
            model = (await client.models.list()).data[0].id
            asking = ApiClient(client, model, self._options_body, counts)
            started = time.monotonic()
            try:
                await asyncio.gather(*(program.theirs(asking, **item) for item in items))
            except openai.OpenAIError as error:
                raise BenchmarkError(f"{self.name} failed at {program.name}: {error}") from error
            return Run(time.monotonic() - started, counts)


class CountedEngine(EngineBackend):
    """Counts the prefixes that are computed ahead, which traces say nothing of."""

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.prefixes = Counts()

    async def cache_prefix(self, prompt: Prompt) -> None:
        await _compute(self, prompt, self.prefixes)


class CountedEndpoint(RuntimeEndpoint):
    """As `CountedEngine`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.prefixes = Counts()

    async def cache_prefix(self, prompt: Prompt) -> None:
        await _compute(self, prompt, self.prefixes)


async def _compute(backend: Backend, prompt: Prompt, counts: Counts) -> None:
    (nothing,) = await backend.generate(prompt, SamplingArguments(max_new_tokens=0))
    counts.add(nothing.meta_info["prompt_tokens"], nothing.meta_info["cached_tokens"], 0)


def run_ours(program: Program, items: Sequence[Item], backend: CountedEngine | CountedEndpoint) -> Run:
    """Raises BenchmarkError if a program failed."""
    started = time.monotonic()
    states = program.ours.run_batch(items, backend=backend)
    try:
        for state in states:
            state.sync()
    except ProgramError as error:
        raise BenchmarkError(f"{program.name} failed: {error}") from error
    seconds = time.monotonic() - started
    counts = replace(backend.prefixes)
    for state in states:
        count(state, counts)
    return Run(seconds, counts)


def count(state: ProgramState, counts: Counts) -> None:
    """Add the requests of a program, but for prefixes that it had computed ahead. Raises BenchmarkError."""
    for node in state.trace().requests:
        if node.kind == "prefix":
            continue
        if node.usage.prompt is None:
            raise BenchmarkError(f"it is not known how many tokens {node.title!r} in line {node.line} asked about")
        counts.add(node.usage.prompt, node.usage.cached, node.usage.new or 0)
