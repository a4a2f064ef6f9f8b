"""Who wants to know of every request that passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sglang.srt.errors import SglangError
from sglang.srt.messages import GenerateRequest, RequestOutput
from sglang.srt.tokenizer.call import GenerateCall


class RequestObserver:
    """Called in the manager's event loop, between a message and whoever waits for it: must be quick, and not raise.

    A call becomes one request for each of its samples, or many for the choices of a text. Does nothing by itself.
    """

    def on_call(self, calls: Sequence[GenerateCall]) -> None:
        """Somebody asks for these. Nothing of them is checked yet."""

    def on_refusal(self, calls: Sequence[GenerateCall], error: BaseException) -> None:
        """These have ended so: nothing of them was sent, or what was sent serves no answer."""

    def on_submit(self, requests: Sequence[GenerateRequest], started: float) -> None:
        """These have been sent to the engine. started: when they were made, by `time.perf_counter`."""

    def on_outputs(self, outputs: Sequence[RequestOutput]) -> None:
        """What one step added. One with ``finish`` is the last of its request, also if nobody waits for it any more."""

    def on_scores(self, call: GenerateCall, answer: Mapping[str, Any]) -> None:
        """The answer about choices, for which the engine was asked with ``candidates``."""

    def on_death(self, reason: str) -> None:
        """No output will come any more."""

    def on_misread(self, what: str, error: SglangError) -> None:
        """A door could make no call of what it was sent."""


class Observers(RequestObserver):
    """All of them, told one after the other."""

    def __init__(self) -> None:
        self._observers: list[RequestObserver] = []

    def add(self, observer: RequestObserver) -> None:
        self._observers.append(observer)

    @contextmanager
    def called(self, calls: Sequence[GenerateCall]) -> Iterator[None]:
        """Tell of calls, and of what is raised inside, cancellation too. An error gets the id of the first."""
        for observer in self._observers:
            observer.on_call(calls)
        try:
            yield
        except BaseException as error:
            if isinstance(error, SglangError):
                error.request_id = calls[0].rid
            for observer in self._observers:
                observer.on_refusal(calls, error)
            raise

    def on_submit(self, requests: Sequence[GenerateRequest], started: float) -> None:
        for observer in self._observers:
            observer.on_submit(requests, started)

    def on_outputs(self, outputs: Sequence[RequestOutput]) -> None:
        for observer in self._observers:
            observer.on_outputs(outputs)

    def on_scores(self, call: GenerateCall, answer: Mapping[str, Any]) -> None:
        for observer in self._observers:
            observer.on_scores(call, answer)

    def on_misread(self, what: str, error: SglangError) -> None:
        for observer in self._observers:
            observer.on_misread(what, error)

    def on_death(self, reason: str) -> None:
        for observer in self._observers:
            observer.on_death(reason)
