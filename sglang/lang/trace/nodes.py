"""The tree of what a program did, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["waiting", "running", "done", "failed"]

Kind = Literal["text", "gen", "select", "variable", "role", "scope", "fork", "join", "prefix", "media"]
"""What a node is: given text; what a model generated or chose; the text of a variable; where a role or a scope begins
or ends; a fork; the text of a fork; a request that computes what is there; an image, a sound or
a video."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the backend counts them. forced: those of the new ones that a constraint left no choice for.

    None: the backend does not say.
    """

    prompt: int | None = None
    cached: int | None = None
    new: int | None = None
    forced: int | None = None


@dataclass(frozen=True, slots=True)
class TraceNode:
    """One node. Times are in seconds from the beginning of the trace; None for what has not happened.

    title: the kind and what belongs to it, in a few words. name: the variable it sets or fills in. text: what it
    appended. is_request: whether a backend was asked. samples: all texts, of ``n`` ones. choices: of a `select`.
    at_limit: how it ended, if its tokens ran out; what is closed satisfies its constraint all the same. queued: when
    the program said it, in `file` at `line`. first_token: when it came, where the backend says so. branches: of a fork.
    """

    kind: Kind
    title: str
    status: Status
    file: str
    line: int
    queued: float
    began: float | None
    first_token: float | None
    ended: float | None
    name: str | None = None
    text: str = ""
    is_request: bool = False
    samples: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    constraint: str | None = None
    at_limit: Literal["cut off", "closed"] | None = None
    usage: Usage = Usage()
    error: str | None = None
    branches: tuple[tuple[TraceNode, ...], ...] = ()

    @property
    def duration(self) -> float | None:
        """Seconds from its beginning to its end."""
        return None if self.began is None or self.ended is None else self.ended - self.began

    @property
    def time_to_first_token(self) -> float | None:
        return None if self.began is None or self.first_token is None else self.first_token - self.began


@dataclass(frozen=True, slots=True)
class TraceNodes:
    """Of a state: what it did itself, and the forks of it."""

    nodes: tuple[TraceNode, ...]

    def walk(self) -> Iterator[TraceNode]:
        """All nodes, those of forks after the fork."""
        return _walk(self.nodes)

    @property
    def requests(self) -> list[TraceNode]:
        """The nodes that asked a backend."""
        return [node for node in self.walk() if node.is_request]

    @property
    def usage(self) -> Usage:
        """Of all requests."""
        counted = [node.usage for node in self.requests]
        return Usage(
            sum_of_known(usage.prompt for usage in counted),
            sum_of_known(usage.cached for usage in counted),
            sum_of_known(usage.new for usage in counted),
            sum_of_known(usage.forced for usage in counted),
        )

    @property
    def duration(self) -> float:
        """Seconds from the first node to the last thing that has happened."""
        times = [time for node in self.walk() for time in (node.queued, node.began, node.ended) if time is not None]
        return max(times, default=0.0)


def sum_of_known(numbers: Iterable[float | None]) -> Any:
    """None if none is known."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _walk(nodes: Sequence[TraceNode]) -> Iterator[TraceNode]:
    waiting = list(reversed(nodes))
    while waiting:
        node = waiting.pop()
        yield node
        for branch in reversed(node.branches):
            waiting.extend(reversed(branch))
