"""Sequences of items that have to be counted: as states, and what is read from each to the next."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.schema.shapes import ANYTHING, State
from sglang.srt.grammar.schema.strings import Strings

MAX_MACHINE_STATES = 400
"""Of one array or object whose items are counted."""


class Item(NamedTuple):
    """key: the names of a property. text: the value, if it is only this one; else it meets the state."""

    state: State = ANYTHING
    key: Strings | None = None
    text: str | None = None


@dataclass(frozen=True)
class Machine:
    """State 0 is the beginning. edges[i]: what may be read in state i, and the state after that. is_object: the items
    are properties.
    """

    is_object: bool
    edges: tuple[tuple[tuple[Item, int], ...], ...]
    accepting: tuple[bool, ...]

    @property
    def states(self) -> set[State]:
        return {item.state for edges in self.edges for item, _ in edges}

    def within(self, productive: Callable[[State], bool]) -> Machine:
        """Without what leads nowhere."""
        edges = [[(item, to) for item, to in found if productive(item.state)] for found in self.edges]
        alive = {place for place, accepts in enumerate(self.accepting) if accepts}
        grows = True
        while grows:
            found = {place for place, out in enumerate(edges) if any(to in alive for _, to in out)}
            grows = not found <= alive
            alive |= found
        kept = tuple(tuple((item, to) for item, to in out if to in alive) for out in edges)
        return Machine(self.is_object, kept, self.accepting)

    @property
    def is_empty(self) -> bool:
        """Of a machine without what leads nowhere."""
        return not self.edges[0] and not self.accepting[0]


_Count = TypeVar("_Count", bound=Hashable)


def build_machine(
    is_object: bool,
    start: _Count,
    steps: Callable[[_Count], Iterable[tuple[Item, _Count]]],
    accepts: Callable[[_Count], bool],
    what: str,
) -> Machine:
    """From what has been counted so far to what may come next. Raises InvalidRequestError, which says `what` it is for,
    if there are too many states.
    """
    numbers = {start: 0}
    counts = [start]
    edges = []
    for count in counts:  # grows on the way
        out = []
        for item, after in steps(count):
            if after not in numbers:
                numbers[after] = len(numbers)
                counts.append(after)
            out.append((item, numbers[after]))
        edges.append(tuple(out))
        if len(counts) > MAX_MACHINE_STATES:
            raise InvalidRequestError(f"json_schema counts {what} with more than {MAX_MACHINE_STATES} states")
    return Machine(is_object, tuple(edges), tuple(map(accepts, counts)))
