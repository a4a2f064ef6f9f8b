"""What was measured, and what it comes to: medians with ranges, and ratios of medians."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.systems.base import PEERS


@dataclass
class Case:
    """One row of work: every system's values, one a round. ``is_rate``: more is better; otherwise less is."""

    name: str
    unit: str
    is_rate: bool
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, system: str, value: float) -> None:
        self.values.setdefault(system, []).append(value)

    def median(self, system: str) -> float:
        return statistics.median(self.values[system])

    def advantage(self, system: str, other: str) -> float:
        """How many times better `system` is than `other`: above 1 it is ahead, whatever the unit."""
        ours, theirs = self.median(system), self.median(other)
        return ours / theirs if self.is_rate else theirs / ours

    def best(self, systems: list[str]) -> str | None:
        """The one of `systems` with the best median; None if none of them did this work."""
        known = [system for system in systems if system in self.values]
        pick = max if self.is_rate else min
        return pick(known, key=self.median) if known else None

    def to_json(self) -> dict[str, Any]:
        return {"case": self.name, "unit": self.unit, "is_rate": self.is_rate, "values": self.values}


@dataclass
class Measurements:
    """The cases of one run. ``ours``: the name of the system that the others are compared with. ``details``: what a
    driver writes beside them, as JSON. ``peers``: names of others' systems, beside those that begin with one of PEERS.
    """

    title: str
    ours: str
    cases: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    peers: Sequence[str] = ()

    def case(self, name: str, unit: str, *, is_rate: bool) -> Case:
        """The case of this name, made when first asked for."""
        for case in self.cases:
            if case.name == name:
                return case
        self.cases.append(Case(name, unit, is_rate))
        return self.cases[-1]

    def is_peer(self, system: str) -> bool:
        return system in self.peers or system.startswith(PEERS)

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "ours": self.ours,
            "notes": self.notes,
            "cases": [case.to_json() for case in self.cases],
            **self.details,
        }
