"""One call that is under way: its sequences, and where the engine's outputs for them arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sglang.srt.errors import EngineDeadError, InvalidRequestError, RequestFailedError, SglangError
from sglang.srt.messages import RequestOutput
from sglang.srt.tokenizer.completion import Completion

_ERRORS: dict[int | None, type[SglangError]] = {
    error.http_status: error for error in (InvalidRequestError, RequestFailedError)
}
"""How the engine says no to one sequence. What it was told to abort is no error."""


class Generation:
    """An async iterator over a call's completions: each time, one that has grown; it ends when all are finished.

    `put` and `die` are for the manager. `aclose` gives up what is unfinished; whoever gets a Generation must close it.
    Belongs to one event loop. Raises RequestFailedError if the engine failed on a sequence, InvalidRequestError if it
    cannot do what one asks for, and EngineDeadError if it died before all had their final answer.
    """

    def __init__(self, completions: Sequence[Completion], give_up: Callable[[list[str]], None]) -> None:
        self._completions = {completion.request.rid: completion for completion in completions}
        self._unfinished = set(self._completions)
        self._grown: dict[str, Completion] = {}  # to be yielded, longest waiting first
        self._arrival = asyncio.Event()
        self._death: str | None = None
        self._give_up = give_up

    def put(self, output: RequestOutput) -> None:
        completion = self._completions[output.rid]
        completion.update(output)
        if output.finish is not None:
            self._unfinished.discard(output.rid)
        self._grown.setdefault(output.rid, completion)
        self._arrival.set()

    def die(self, reason: str) -> None:
        """No more outputs will come. Those that came are still yielded."""
        self._death = reason
        self._arrival.set()

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> Completion:
        await self.wait()
        if not self._grown:
            raise StopAsyncIteration
        return self._grown.pop(next(iter(self._grown)))

    async def wait(self) -> None:
        """Until there is something to yield, or nothing more to come. Raises what iterating then would."""
        while not self._grown:
            if not self._unfinished:
                return
            if self._death is not None:
                raise EngineDeadError(self._death)
            self._arrival.clear()
            await self._arrival.wait()
        first = next(iter(self._grown.values()))
        finish = first.finish_reason
        if finish is not None and finish.status_code in _ERRORS:
            error = _ERRORS[finish.status_code](finish.message)
            error.request_id = first.request.rid
            raise error

    async def aclose(self) -> None:
        self._give_up(sorted(self._unfinished))
        self._unfinished.clear()
