"""The drivers on a tiny model: what they measure is there, and is of the right kind."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import batch, overhead
from benchmarks.overhead import Stopwatch, conversation_lengths, timed_tree
from benchmarks.shared_prefix import SharedPrefix, timed, works
from benchmarks.systems.base import Answer, BenchmarkError
from benchmarks.token_programs import ask_all
from sglang.srt.cache.radix_tree import RadixTree
from tests.benchmarks.fakes import FakeEndpoint


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: str) -> Callable[..., dict[str, Any]]:
    """Runs a driver's main on the tiny model; what it wrote, as {case: {system: values}}."""

    def run(main: Callable[[], None], *given: str) -> dict[str, Any]:
        path = tmp_path / "results.json"
        common = ("--model", tiny_model, "--threads", "1", "--quick", "--json", str(path))
        monkeypatch.setattr(sys, "argv", ["driver", *common, *given])
        main()
        return {case["case"]: case["values"] for case in json.loads(path.read_text())["cases"]}

    return run


def test_streams_in_process_and_over_http(
    results: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--streams", "2", "--prompt-tokens", "8", "--new-tokens", "4", "--http", "--peers", "none")
    values = results(batch.main, *sizes)
    assert values.keys() == {"decode, 2 x (8 + 4)", "end to end, 2 x (8 + 4)"}
    for case in values.values():
        assert case.keys() == {"sglang", "sglang, HTTP"}
        assert all(len(rates) == 1 and rates[0] > 0 for rates in case.values())
    assert "of one core" in capsys.readouterr().out


def test_tree_time_is_a_part_of_the_whole(results: Callable[..., dict[str, Any]]) -> None:
    values = results(overhead.main, "--requests", "3")
    (share,) = values["radix tree"]["sglang"]
    assert 0 < share < 100
    assert values["whole time"].keys() == {"sglang", "without cache"}


def test_the_tree_is_timed_meanwhile_only() -> None:
    before = RadixTree.match
    with timed_tree() as tree:
        RadixTree().evict(0)
        assert tree.calls == 1
    assert RadixTree.match is before
    RadixTree().evict(0)
    assert tree.calls == 1


def test_a_call_inside_another_counts_once() -> None:
    stopwatch = Stopwatch()
    inner = stopwatch.wrap(lambda: 1)
    assert stopwatch.wrap(lambda: inner() + 1)() == 2
    assert stopwatch.calls == 1
    assert stopwatch.seconds > 0


def test_a_call_that_raises_ends() -> None:
    stopwatch = Stopwatch()
    with pytest.raises(ZeroDivisionError):
        stopwatch.wrap(lambda: 1 // 0)()
    stopwatch.wrap(lambda: 1)()
    assert stopwatch.calls == 2


def test_conversations_have_many_short_and_few_long_requests() -> None:
    lengths = sorted(length for pair in conversation_lengths(500, "a") for length in pair)
    assert 4 <= lengths[0] < 100 < lengths[-1] <= 600
    assert 70 < lengths[500] < 140


def test_shared_prefixes_are_new_in_every_round_but_the_warm_one() -> None:
    endpoint = FakeEndpoint(lambda request: Answer([1] * request.new_tokens, 0))
    shared = SharedPrefix(vocab=1000)
    first = {}
    for work in works(shared, is_small=True):
        for number in (0, 1):
            endpoint.requests.clear()
            work.measure(endpoint, number)
            first[work.name, number] = tuple(endpoint.requests[0].prompt[:64])
    cold, warm = "few-shot, cold", "few-shot, warm"
    assert first[cold, 0] == first[warm, 0]
    assert first[cold, 1] == first[warm, 1]
    assert len(set(first.values())) == len(first) - 2
    assert "few-shot: endpoint found 0.0% cached" in shared.notes()


def test_answers_that_are_too_short_are_an_error() -> None:
    endpoint = FakeEndpoint(lambda request: Answer([1]))
    with pytest.raises(BenchmarkError, match=r"\[1\] tokens, not 2"):
        timed(ask_all(endpoint, [[1]], 2), 2)
