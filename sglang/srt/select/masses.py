"""From the probabilities of token sequences to those of choices.

The event: the model goes on, token by token, and some of its first tokens spell a choice exactly; then it has said that
choice. If it goes on to spell a longer one as well, the longer one is what it has said. So choices exclude each other,
also where one begins with another ("1", "10"), and their probabilities add up to that of saying any choice at all.

A token sequence that completes a choice is a *gain* of that choice. Where a shorter choice was complete on the way, the
same amount is the shorter one's *loss*. Sequences not followed to their end are *open*: each can still add its own mass
to choices that lie ahead, and take it from the one that was complete on the way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LARGEST = 600.0
"""The exponent of a mass beside which nothing else counts, and of which many can be added."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenMass:
    """logprob: of the tokens so far. complete: the longest choice among them. ahead: the choices that may follow."""

    logprob: float
    complete: int | None
    ahead: Sequence[int]


class ChoiceMass:
    """Masses are kept as logarithms and compared with the largest, so those of long choices are not lost to 0."""

    def __init__(self, num_choices: int) -> None:
        self._gains: list[list[float]] = [[] for _ in range(num_choices)]
        self._losses: list[list[float]] = [[] for _ in range(num_choices)]
        self._scale = -math.inf  # the largest of all gains

    def add(self, choice: int, logprob: float, complete: int | None) -> None:
        """A sequence spells `choice`. complete: the longest other choice that was complete on the way."""
        self._gains[choice].append(logprob)
        self._scale = max(self._scale, logprob)
        if complete is not None:
            self._losses[complete].append(logprob)

    def shares(self) -> list[float]:
        """The probability of each choice, given that it is one of them, as far as is known; all 0 if nothing is."""
        masses = self._masses()
        total = math.fsum(masses)
        return [mass / total for mass in masses] if total else masses

    def logprobs(self) -> list[float | None]:
        """Natural-log probability of each choice; None for one whose mass is 0."""
        return [math.log(mass) + self._scale if mass else None for mass in self._masses()]

    def unexplored(self, opened: Iterable[OpenMass]) -> float:
        """The part of the probability that is open. No choice's share is off by more."""
        first, later = self._open_masses(opened)
        possible = math.fsum([*self._masses(), *first])
        return min(1.0, math.fsum([*first, *later]) / possible) if possible else 0.0

    def num_to_follow(self, opened: Sequence[OpenMass], limit: float) -> int:
        """How many of the first of `opened`, given by falling mass, have to go so that `limit` is left `unexplored`."""
        total = math.fsum(self._masses())
        first = later = 0.0
        for number, one in enumerate(reversed(opened)):
            if one.complete is None:
                first += self._scaled(one.logprob)
            else:
                later += self._scaled(one.logprob)
            if first + later > limit * (total + first):
                return len(opened) - number
        return 0

    def bounds(self, opened: Sequence[OpenMass]) -> list[tuple[float, float]]:
        """Between what each choice's share lies, whatever becomes of what is open."""
        masses = self._masses()
        total = math.fsum(masses)
        may_gain, may_add, may_lose = ([0.0] * len(masses) for _ in range(3))
        most = total
        for one in opened:
            mass = self._scaled(one.logprob)
            if one.complete is None:
                most += mass
            else:
                may_lose[one.complete] += mass
            for choice in one.ahead:
                may_gain[choice] += mass
                may_add[choice] += mass if one.complete is None else 0.0
        if not most:
            return [(0.0, 1.0)] * len(masses)
        return [
            (max(0.0, mass - lose) / most, _at_most_one(mass + gain, total + add))
            for mass, lose, gain, add in zip(masses, may_lose, may_gain, may_add, strict=True)
        ]

    def _open_masses(self, opened: Iterable[OpenMass]) -> tuple[list[float], list[float]]:
        """Of sequences that have completed nothing so far, and of the others."""
        first: list[float] = []
        later: list[float] = []
        for one in opened:
            (first if one.complete is None else later).append(self._scaled(one.logprob))
        return first, later

    def _masses(self) -> list[float]:
        return [
            max(0.0, math.fsum([*map(self._scaled, gains), *(-self._scaled(loss) for loss in losses)]))
            for gains, losses in zip(self._gains, self._losses, strict=True)
        ]

    def _scaled(self, logprob: float) -> float:
        """A mass as a multiple of the largest gain."""
        scale = self._scale if self._scale > -math.inf else 0.0
        return math.exp(min(logprob - scale, _LARGEST))


def _at_most_one(part: float, whole: float) -> float:
    return min(1.0, part / whole) if whole else 1.0
