"""Where an output of a grammar is: what may still come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sglang.srt.grammar.witness.nodes import Expression, Mark, is_same


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """What may still come: `top`, and then `rest`. cost: in bytes. depth: how many items of arrays without equal ones,
    one within another, are not at their end.
    """

    top: Expression
    rest: Stack | None
    cost: float
    num_marks: int = 0

    @property
    def depth(self) -> int:
        return self.num_marks - self.is_after_item

    @property
    def is_after_item(self) -> bool:
        """Whether such an item ended with the last character."""
        return isinstance(self.top, Mark)

    def is_like(self, other: Stack) -> bool:
        """Whether the same may still come."""
        one: Stack | None = self
        rest: Stack | None = other
        while one is not rest:
            if one is None or rest is None or one.cost != rest.cost or not is_same(one.top, rest.top):
                return False
            one, rest = one.rest, rest.rest
        return True


class Position(NamedTuple):
    """Where an output is. partial: the first bytes of a character whose last ones are still to come."""

    stacks: tuple[Stack, ...]
    partial: bytes
