"""Many who ask for the same at once, and those who leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar import lowering
from sglang.srt.grammar.frame import Frame
from sglang.srt.grammar.lowering import Lowering
from sglang.srt.sampling_params import Constraint, SamplingParams

PARAMS = SamplingParams(constraint=Constraint("regex", "a+"))


class Gate:
    """Lowers when it is opened, and counts."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.calls: list[str] = []

    def lower(self, constraint: Constraint, frame: Frame) -> str:
        self.calls.append(constraint.text)
        self.opened.wait()
        if constraint.text == "(":
            raise InvalidRequestError("regex is wrong")
        return f"start: /{constraint.text}/"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(lowering, "lower", gate.lower)
    yield gate
    gate.opened.set()


def test_what_many_ask_for_at_once_is_lowered_once(gate: Gate) -> None:
    async def run() -> None:
        shared = Lowering()
        waiting = [asyncio.ensure_future(shared.lower(PARAMS)) for _ in range(50)]
        await asyncio.sleep(0.05)
        waiting[0].cancel()
        gate.opened.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError) and set(found[1:]) == {"start: /a+/"}
        assert await shared.lower(PARAMS) == "start: /a+/"

    asyncio.run(run())
    assert gate.calls == ["a+"]


def test_each_is_told_of_a_mistake_by_an_error_of_its_own(gate: Gate) -> None:
    """The manager puts the id of a request on it."""
    wrong = SamplingParams(constraint=Constraint("regex", "("))
    gate.opened.set()

    async def run() -> list[str | BaseException | None]:
        shared = Lowering()
        return await asyncio.gather(*(shared.lower(wrong) for _ in range(3)), return_exceptions=True)

    errors = asyncio.run(run())
    assert [type(error) for error in errors] == [InvalidRequestError] * 3 and len(set(map(id, errors))) == 3
    assert gate.calls == ["("]


def test_what_nobody_waits_for_any_more_is_not_begun(gate: Gate) -> None:
    async def run() -> None:
        shared = Lowering()
        texts = [f"a{number}" for number in range(lowering.MAX_THREADS + 1)]
        waiting = [
            asyncio.ensure_future(shared.lower(SamplingParams(constraint=Constraint("regex", text)))) for text in texts
        ]
        await asyncio.sleep(0.05)
        waiting[-1].cancel()
        again = asyncio.ensure_future(shared.lower(PARAMS))
        await asyncio.sleep(0.05)
        gate.opened.set()
        await asyncio.gather(*waiting[:-1], again)
        assert sorted(gate.calls) == sorted([*texts[:-1], "a+"])

    asyncio.run(run())
