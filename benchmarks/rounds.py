"""Runs systems in turn, A B A B: a machine whose speed drifts still compares like with like."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from benchmarks.measurements import Measurements
from benchmarks.processes import frozen
from benchmarks.systems.base import BenchmarkError, System

S = TypeVar("S", bound=System)


@dataclass(frozen=True)
class Work(Generic[S]):
    """One case: what to do with a system in a round, which gives the value to note."""

    name: str
    unit: str
    is_rate: bool
    measure: Callable[[S, int], float]


@contextmanager
def running(systems: Sequence[S]) -> Iterator[None]:
    """All of them started, the ones before standing still, and stopped at the end.

    Raises BenchmarkError if two have the same name: what they do would be in one column.
    """
    names = [system.name for system in systems]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BenchmarkError(f"several systems are called {', '.join(sorted(twice))}")
    with ExitStack() as stack:
        for number, system in enumerate(systems):
            say(f"starting {system.name}")
            with alone(None, systems[:number]):
                system.start()
            stack.callback(system.stop)
        yield


@contextmanager
def alone(system: System | None, systems: Sequence[System]) -> Iterator[None]:
    """Every other system stands still meanwhile."""
    with frozen(pid for other in systems if other is not system for pid in other.process_ids()):
        yield


def alternate(
    systems: Sequence[S], works: Sequence[Work[S]], rounds: int, measurements: Measurements, *, warm_up: bool = True
) -> None:
    """In each round every case is done by one system after the other. Round 0 warms up and is not noted."""
    for round_number in range(0 if warm_up else 1, rounds + 1):
        for work in works:
            for system in systems:
                with alone(system, systems):
                    value = work.measure(system, round_number)
                say(f"round {round_number}: {work.name}: {system.name}: {value:.4g} {work.unit}")
                if round_number > 0:
                    measurements.case(work.name, work.unit, is_rate=work.is_rate).add(system.name, value)


def say(text: str) -> None:
    """Progress, apart from the results on standard output."""
    print(text, file=sys.stderr, flush=True)
