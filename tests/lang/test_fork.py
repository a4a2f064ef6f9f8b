"""States side by side."""

from __future__ import annotations

from typing import Any

import pytest

import sglang as sgl
from tests.lang.conftest import UseMock


def test_forks_go_on_from_where_their_parent_was(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> Any:
        s += sgl.user("Q" + sgl.gen("q")) + sgl.assistant_begin()
        forks = s.fork(3)
        s += " parent"
        forks += lambda index: f" {index}:" + sgl.gen("x")
        forks += sgl.assistant_end()
        return list(forks)

    state = program.run()
    head = state.text().removesuffix(" parent")
    texts = [fork.text() for fork in state.ret_value]
    assert texts == [f"{head} {i}:{fork['x']}<|im_end|>\n" for i, fork in enumerate(state.ret_value)]
    assert [fork.messages()[0] for fork in state.ret_value] == state.messages() * 3
    assert all(fork["q"] == state["q"] for fork in state.ret_value)
    assert "x" not in state


def test_what_is_common_is_sent_first_and_once(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState, size: int, head: str) -> None:
        s += head
        forks = s.fork(size)
        forks += sgl.gen("x")
        forks.join()

    program.run(50, "common")
    assert [request.kind for request in mock.requests] == ["cache_prefix"] + ["generate"] * 50
    assert mock.requests[0].prompt.text == "common"
    for size, head in ((1, "common"), (5, "")):
        mock.requests.clear()
        program.run(size, head)
        assert [request.kind for request in mock.requests] == ["generate"] * size
    mock.wants_prefix_first = False
    mock.requests.clear()
    program.run(5, "common")
    assert [request.kind for request in mock.requests] == ["generate"] * 5


def test_forks_run_at_the_same_time(mock: sgl.Mock) -> None:
    mock.wants_prefix_first = False
    mock.hold()

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        forks = s.fork(50)
        forks += sgl.gen("x")
        s += "go on"
        s.sync()
        while mock.num_open < 50:
            s.sync()
        mock.release()
        s += forks.join()

    assert len(program.run()["x"]) == 50


def test_join_gathers_variables_of_one_as_they_are_and_of_several_as_a_list(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q" + sgl.gen("before")
        forks = s.fork(3)
        for index, fork in enumerate(forks):
            fork += f"{index}:" + sgl.gen("all", max_tokens=index + 1)
            fork += sgl.gen(f"one_{index}")
        forks[1]["two"] = "b"
        forks[2]["two"] = "c"
        s += forks.join()
        s += forks.join()
        s += " end"

    state = program.run()
    assert state.text() == f"Q{state['before']} end"
    assert len(state["all"]) == 3
    assert [info["completion_tokens"] for info in state.get_meta_info("all")] == [1, 2, 3]
    assert isinstance(state["one_1"], str)
    assert state.get_meta_info("one_1")["completion_tokens"] > 0
    assert state["two"] == ["b", "c"]
    assert isinstance(state["before"], str)


def test_a_second_round_of_forks_gives_its_own_values(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> list[Any]:
        rounds = []
        for number in range(2):
            forks = s.fork(2)
            forks += [f"{number}{index}" + sgl.gen("x") for index in range(2)]
            s += forks.join()
            rounds.append(s["x"])
        return rounds

    first, second = program.run().ret_value
    assert len({*first, *second}) == 4


def test_join_appends_the_texts_in_order_and_once(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> list[str]:
        s += "head"
        forks = s.fork(3)
        forks += [f" {index}" + sgl.gen("x") for index in range(3)]
        s += forks.join("concate_and_append")
        s += forks.join("concate_and_append")
        s += sgl.gen("last")
        return [fork["x"] for fork in forks]

    state = program.run()
    assert state.text() == "head" + "".join(f" {i}{x}" for i, x in enumerate(state.ret_value)) + state["last"]
    assert [isinstance(segment, str) for segment in mock.requests[-1].prompt.segments] == [True, *[True, False] * 3]


def test_messages_of_forks_are_appended_too_and_open_roles_are_not(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState, ends: bool) -> None:
        s += sgl.user("Q")
        forks = s.fork(2)
        forks += lambda index: sgl.assistant_begin() + f"{index}"
        if ends:
            forks += sgl.assistant_end()
        s += forks.join("concate_and_append")

    assert [message["content"] for message in program.run(True).messages()] == ["Q", "0", "1"]
    with pytest.raises(sgl.ProgramError, match="a branch that ends in role assistant cannot be appended"):
        program.run(False).text()


def test_copy_and_forks_of_forks(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q"
        with s.copy() as copy:
            copy += " aside" + sgl.gen("aside")
            with copy.copy() as inner:
                inner += " deeper" + sgl.gen("deeper")
        s += "!"

    state = program.run()
    assert state.text() == "Q!"
    assert mock.requests[1].prompt.text == f"Q aside{state['aside']} deeper"
    assert isinstance(state["deeper"], str)


def test_an_error_in_a_fork_is_raised_at_its_join_and_its_reads_only(use_mock: UseMock) -> None:
    down = RuntimeError("down")
    use_mock(errors={2: down}, wants_prefix_first=False)

    @sgl.function
    def program(s: sgl.ProgramState) -> Any:
        s += "Q" + sgl.gen("q")
        forks = s.fork(3)
        for fork in forks:
            fork += sgl.gen("x")
            fork.error()
        return forks

    state = program.run()
    forks = state.ret_value
    assert state.text() == "Q" + state["q"]
    assert (forks[0]["x"], forks[2]["x"]) == (forks[0]["x"],) * 2
    for read in (forks[1].text, forks.join, lambda: forks.join("concate_and_append")):
        with pytest.raises(sgl.ProgramError, match="down") as caught:
            read()
        assert caught.value.__cause__ is down


def test_an_error_before_a_fork_is_the_error_of_its_forks(use_mock: UseMock) -> None:
    down = RuntimeError("down")
    mock = use_mock(errors={0: down})

    @sgl.function
    def program(s: sgl.ProgramState) -> Any:
        s += sgl.gen("q")
        forks = s.fork(2)
        forks += sgl.gen("x")
        return forks

    for fork in program.run().ret_value:
        for name in ("q", "x"):
            with pytest.raises(sgl.ProgramError, match=r"Gen\('q'\).*down") as caught:
                fork[name]
            assert caught.value.__cause__ is down
    assert len(mock.requests) == 1


def test_wrong_uses(mock: sgl.Mock) -> None:
    state = sgl.function(lambda s: None).run()
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        state.fork(0)
    with pytest.raises(TypeError, match="size must be an integer, not 'two'"):
        state.fork("two")  # type: ignore[arg-type]
    with pytest.raises(sgl.UnsupportedError, match="position_ids_offset"):
        state.fork(2, position_ids_offset=[0, 1])
    forks = state.fork(2)
    assert len(forks) == len(list(forks)) == 2
    with pytest.raises(ValueError, match="3 expressions for 2 forks"):
        forks += ["a", "b", "c"]
    with pytest.raises(TypeError, match="not 5"):
        forks += 5  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot be replaced"):
        forks[0] = forks[1]
    with pytest.raises(ValueError, match="not 'merge'"):
        forks.join("merge")
