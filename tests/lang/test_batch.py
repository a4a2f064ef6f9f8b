"""Many inputs at a time."""

from __future__ import annotations

import contextvars
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.execution import prefix_gate
from sglang.lang.execution.batch import max_in_flight
from sglang.lang.program import SglFunction
from tests.lang.conftest import UseMock

HEAD = "Answer the question in one word, and do not explain what you mean by it. "


@sgl.function
def ask(s: sgl.ProgramState, question: str) -> None:
    s += HEAD + question
    s += sgl.gen("a")


def test_results_are_complete_and_in_order(mock: sgl.Mock) -> None:
    questions = [f"q{index}" for index in range(300)]
    states = ask.run_batch([{"question": question} for question in questions], temperature=0)
    alone = [ask.run(question, temperature=0).text() for question in questions[:3]]
    assert mock.num_open == 0
    assert [state.text() for state in states][:3] == alone
    assert all(state.text() == HEAD + text + state["a"] for state, text in zip(states, questions, strict=True))
    assert len({state["a"] for state in states}) > 100


@pytest.fixture
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the second program may come late."""
    monkeypatch.setattr(prefix_gate, "PATIENCE_SECONDS", 60.0)


@pytest.mark.usefixtures("_patience")
def test_what_all_have_in_common_is_computed_first_and_once(mock: sgl.Mock) -> None:
    ask.run_batch([("one",), ("other",), ("old",)])  # whichever two come first
    assert [request.kind for request in mock.requests] == ["cache_prefix"] + ["generate"] * 3
    assert mock.requests[0].prompt.text == HEAD + "o"
    assert mock.requests[0].prompt.segments == (HEAD + "o",)


@pytest.mark.usefixtures("_patience")
def test_nobody_goes_on_before_the_common_prefix_is_computed(mock: sgl.Mock) -> None:
    mock.hold()
    states = ask.run_batch([(f"q{index}",) for index in range(20)], generator_style=True)

    def release() -> None:
        _wait_for(lambda: mock.num_open == 1)
        mock.release()

    releaser = threading.Thread(target=release)
    releaser.start()
    assert len(list(states)) == 20
    releaser.join()
    assert [request.kind for request in mock.requests] == ["cache_prefix"] + ["generate"] * 20


def _wait_for(condition: Any) -> None:
    while not condition():
        threading.Event().wait(0.001)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_no_prefix_is_sent_where_it_is_no_use(num_threads: int, mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState, text: str) -> None:
        s += text + sgl.gen("a")

    items = [(HEAD,), (HEAD,)] if num_threads == 1 else [("a" + HEAD,), ("b" + HEAD,)]
    program.run_batch(items, num_threads=num_threads)
    program.run_batch([(HEAD,)])
    assert [request.kind for request in mock.requests] == ["generate"] * 3


def test_a_program_that_asks_for_nothing_keeps_nobody_waiting(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState, index: int) -> None:
        s += HEAD
        if index == 3:
            forks = s.fork(2)
            forks += sgl.gen("a")
            s += forks.join()

    states = program.run_batch([(index,) for index in range(5)])
    assert ["a" in state for state in states] == [False, False, False, True, False]


def test_an_error_of_the_prefix_is_the_error_of_the_program_that_asked(use_mock: UseMock) -> None:
    use_mock(errors={0: RuntimeError("down")})
    states = ask.run_batch([("one",), ("other",), ("third",)])
    assert sorted(state.error() is None for state in states) == [False, True, True]


def test_one_thread_is_one_after_the_other(mock: sgl.Mock) -> None:
    events = []

    @sgl.function
    def program(s: sgl.ProgramState, index: int) -> None:
        events.append(("begin", index, len(mock.requests), mock.num_open))
        s += f"{index}" + sgl.gen("a")

    program.run_batch([(index,) for index in range(4)], num_threads=1)
    assert events == [("begin", index, index, 0) for index in range(4)]


def test_no_more_are_in_flight_than_wanted(mock: sgl.Mock) -> None:
    lock = threading.Lock()
    most = 0

    @sgl.function
    def program(s: sgl.ProgramState, index: int) -> None:
        nonlocal most
        s += f"{index}" + sgl.gen("a")
        with lock:
            most = max(most, mock.num_open)

    for style in (False, True):
        assert len(list(program.run_batch([(i,) for i in range(40)], num_threads=3, generator_style=style))) == 40
    assert most <= 3


def test_how_many_run_at_a_time() -> None:
    assert max_in_flight("auto", 10) == 10
    assert max_in_flight("auto", 10_000) == 512
    assert max_in_flight(8, 100) == 8
    assert max_in_flight(8, 3) == 3
    for wrong in ("many", 1.5, True):
        with pytest.raises(TypeError, match="num_threads must be an integer or 'auto'"):
            max_in_flight(wrong, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1, not 0"):
        max_in_flight(0, 3)


def test_items(mock: sgl.Mock) -> None:
    assert ask.run_batch([]) == []
    assert list(ask.run_batch([], generator_style=True)) == []
    wrong: list[tuple[Any, str]] = [
        ([("a", "b")], "ask: too many positional arguments"),
        ([{"question": "a"}, {"query": "b"}], "ask: missing a required argument"),
        (["a"], "an item of run_batch is a dict or a tuple of arguments, not 'a'"),
        ({"question": "a"}, "run_batch takes a list of dicts or of tuples"),
    ]
    for items, message in wrong:
        with pytest.raises(TypeError, match=re.escape(message)):
            ask.run_batch(items)
    with pytest.raises(TypeError, match=r"'question' is not known$"):
        ask.run_batch([("a",)], question="b")
    assert not mock.requests


def test_bound_arguments_and_context_variables(mock: sgl.Mock) -> None:
    setting = contextvars.ContextVar("setting", default="none")

    @sgl.function
    def program(s: sgl.ProgramState, a: str, b: str) -> str:
        return a + b + setting.get()

    setting.set("some")
    states = program.bind(b="y").run_batch([("x",), {"a": "z"}])
    assert [state.ret_value for state in states] == ["xysome", "zysome"]


def test_a_backend_error_belongs_to_its_program(use_mock: UseMock) -> None:
    use_mock(errors={1: RuntimeError("down"), 2: RuntimeError("down")})
    states = ask.run_batch([("one",), ("two",), ("three",)], num_threads=1)
    assert [state.error() is None for state in states] == [True, False, False]


@pytest.mark.parametrize("style", [False, True])
def test_an_exception_ends_the_batch_and_leaves_nothing(style: bool, mock: sgl.Mock) -> None:
    complete: set[int] = set()

    @sgl.function
    def program(s: sgl.ProgramState, index: int) -> None:
        s += f"{index}" + sgl.gen("a")
        if index == 2:
            _wait_for(lambda: complete >= {0, 1})
            mock.hold()
            raise LookupError("a bug")
        forks = s.fork(2)
        forks += sgl.gen("b")
        forks.join()
        complete.add(index)

    found: list[sgl.ProgramState] = []
    with pytest.raises(LookupError, match="a bug"):
        found.extend(program.run_batch([(index,) for index in range(100)], num_threads=10, generator_style=style))
    assert len(found) == (2 if style else 0)
    assert len(complete) < 100
    assert mock.num_open == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sglang-batch")]


def test_a_batch_that_is_closed_early_leaves_nothing(mock: sgl.Mock) -> None:
    states = ask.run_batch([(f"q{index}",) for index in range(50)], generator_style=True)
    assert isinstance(states, Iterator)
    assert next(states)["a"]
    mock.hold()
    states.close()  # type: ignore[attr-defined]
    assert mock.num_open == 0


def test_progress_bar(mock: sgl.Mock, capsys: pytest.CaptureFixture[str]) -> None:
    for style in (False, True):
        assert len(list(ask.run_batch([("a",), ("b",)], progress_bar=True, generator_style=style))) == 2
        assert "100%" in capsys.readouterr().out


@sgl.function
def fragile(s: sgl.ProgramState, index: int) -> int:
    s += f"{index}" + sgl.gen("a")
    if index % 3 == 1:
        raise LookupError(f"no {index}")
    return index


@sgl.function
async def fragile_async(s: sgl.ProgramState, index: int) -> int:
    s += f"{index}" + sgl.gen("a")
    if index % 3 == 1:
        raise LookupError(f"no {index}")
    return index


BOTH = pytest.mark.parametrize("program", [fragile, fragile_async], ids=["plain", "async"])


def said(found: object) -> object:
    return found.ret_value if isinstance(found, sgl.ProgramState) else str(found)


@BOTH
@pytest.mark.parametrize("num_threads", ["auto", 1, 3])
def test_exceptions_stand_where_their_states_would(
    program: SglFunction, num_threads: int | str, mock: sgl.Mock
) -> None:
    items = [(index,) for index in range(10)]
    expected = [f"no {index}" if index % 3 == 1 else index for index in range(10)]
    found = program.run_batch(items, return_exceptions=True, num_threads=num_threads)
    assert [said(one) for one in found] == expected
    assert isinstance(found[1], LookupError)
    style = {"generator_style": True, "return_exceptions": True, "num_threads": num_threads}
    assert [said(one) for one in program.run_batch(items, **style)] == expected
    pairs = dict(program.run_batch(items, ordered=False, **style))
    assert [said(pairs[index]) for index in range(10)] == expected


@BOTH
def test_states_come_as_they_end(program: SglFunction, mock: sgl.Mock) -> None:
    mock.hold()

    @sgl.function
    def second_is_quick(s: sgl.ProgramState, index: int) -> None:
        if index == 0:
            s += sgl.gen("a")

    @sgl.function
    async def second_is_quick_async(s: sgl.ProgramState, index: int) -> None:
        if index == 0:
            s += sgl.gen("a")

    quick = second_is_quick_async if program.is_async else second_is_quick
    pairs = quick.run_batch([(0,), (1,), (2,)], generator_style=True, ordered=False, num_threads=2)
    assert [next(pairs)[0], next(pairs)[0]] == [1, 2]
    mock.release()
    index, state = next(pairs)
    assert (index, "a" in state) == (0, True)
    assert next(pairs, None) is None


def test_what_no_program_should_catch_ends_the_batch(mock: sgl.Mock) -> None:
    @sgl.function
    def leaves(s: sgl.ProgramState, index: int) -> None:
        s += f"{index}" + sgl.gen("a")
        if index == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leaves.run_batch([(index,) for index in range(5)], return_exceptions=True)


def test_a_list_has_the_order_of_its_items(mock: sgl.Mock) -> None:
    with pytest.raises(ValueError, match="ordered=False needs generator_style=True"):
        ask.run_batch([("a",)], ordered=False)
    assert not mock.requests
