"""The order in which systems are measured, and that the others stand still."""

from __future__ import annotations

import sys

import psutil
import pytest

from benchmarks.measurements import Measurements
from benchmarks.processes import Child, family, free_port, frozen, proportional_bytes
from benchmarks.rounds import Work, alternate, running
from benchmarks.systems.base import BenchmarkError
from tests.benchmarks.fakes import FakeSystem
from tests.helpers.runtime import eventually, is_gone


def test_systems_take_turns_and_the_first_round_is_not_noted() -> None:
    log: list[str] = []
    systems = [FakeSystem("a", log), FakeSystem("b", log)]
    table = Measurements("title", "a")

    def measure(system: FakeSystem, number: int) -> float:
        log.append(f"{system.name} {number}")
        return float(number)

    with running(systems):
        alternate(systems, [Work("work", "s", False, measure)], 2, table)
    assert log == ["a starts", "b starts", "a 0", "b 0", "a 1", "b 1", "a 2", "b 2", "b stops", "a stops"]
    assert table.cases[0].values == {"a": [1.0, 2.0], "b": [1.0, 2.0]}


def test_without_warm_up_every_round_is_noted() -> None:
    table = Measurements("title", "a")
    work: Work[FakeSystem] = Work("work", "s", False, lambda system, number: float(number))
    alternate([FakeSystem("a", [])], [work], 1, table, warm_up=False)
    assert table.cases[0].values == {"a": [1.0]}


def test_those_started_are_stopped_when_the_next_one_fails() -> None:
    log: list[str] = []

    class Broken(FakeSystem):
        def start(self) -> None:
            raise BenchmarkError("no")

    with pytest.raises(BenchmarkError), running([FakeSystem("a", log), Broken("b", log)]):
        pass
    assert log == ["a starts", "a stops"]


NEST = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"


def is_stopped(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


def test_a_frozen_family_does_not_run() -> None:
    child = Child([sys.executable, "-c", NEST], has_pipes=True)
    try:
        eventually(lambda: len(family([child.pid])) == 2, "the child has a child")
        everybody = family([child.pid])
        with frozen([child.pid]):
            eventually(lambda: all(map(is_stopped, everybody)), "they stand still")
        eventually(lambda: not any(map(is_stopped, everybody)), "they go on")
        assert proportional_bytes([child.pid]) > 2**20
    finally:
        child.stop()
    eventually(lambda: all(is_gone(process.pid) for process in everybody), "they are gone")
    assert family([child.pid]) == []


def test_what_a_dead_child_said_is_in_the_error() -> None:
    child = Child([sys.executable, "-c", "raise SystemExit('out of luck')"])
    child.process.wait()
    with pytest.raises(BenchmarkError, match=r"ended with 1.*\n.*out of luck"):
        child.check()
    child.stop()


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(BenchmarkError, match="/nowhere/program"):
        Child(["/nowhere/program"])


def test_a_free_port() -> None:
    assert 1024 < free_port() < 65_536
