"""What an interpreter has in its queue, and what is recorded of it for those who look at the program afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

from sglang.lang import ir
from sglang.lang.execution.text_stream import TextStream
from sglang.lang.execution.transcript import Transcript
from sglang.lang.execution.variables import Value, Variable
from sglang.lang.source_line import SourceLine
from sglang.srt.errors import ProgramError


@dataclass(frozen=True, slots=True, repr=False)
class Fill:
    """A node and the variable that had its name when it was queued, though perhaps not yet its value."""

    node: ir.Variable
    variable: Variable

    def __repr__(self) -> str:
        return repr(self.node)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The thoughts that were told apart from what a variable holds."""

    variable: Variable


@dataclass(frozen=True, slots=True)
class Read:
    """What `of` says about the transcript when everything before it is done."""

    of: Callable[[Transcript], Any]


@dataclass(frozen=True, slots=True)
class Extend:
    """Append what a branch has by then."""

    branch: Future[Transcript]


@dataclass(frozen=True, slots=True)
class CachePrefix:
    """Have the backend compute what is there."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Where branches go on. It is in no queue, only in records."""

    size: int


class Record:
    """What became of one node. The times are in seconds of `perf_counter`, or None for what has not happened.

    Every field is set once or only grows, so it can be read at any time from any thread.
    """

    __slots__ = ("began", "branches", "ended", "failure", "first_token", "line", "node", "queued", "texts", "value")

    def __init__(self, node: Any, line: SourceLine, branches: Sequence[Sequence[Record]] = ()) -> None:
        self.node = node
        self.line = line
        self.branches = branches
        self.texts: list[str] = []  # what it appended, joined
        self.value: Value | None = None
        self.failure: ProgramError | None = None
        self.queued = perf_counter()
        self.began: float | None = None
        self.first_token: float | None = None
        self.ended: float | None = None


class Step(NamedTuple):
    """A node, and what is to be told of it. Where it is only to be read something there is no record."""

    node: Any
    line: SourceLine
    outcome: Future[Any] | None = None
    stream: TextStream | None = None
    record: Record | None = None
