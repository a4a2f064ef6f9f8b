"""One constraint to ask for, and how to tell whether an answer keeps to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_SHOWN = 1000
"""Characters."""


@dataclass(frozen=True)
class Case:
    """name: the kind and the seed that it was made from. parameter: the sampling parameter that has the constraint.

    can_be_met: True if a text that meets it is known, False if none can, None if that is not known. is_met is asked
    about complete answers only. example: such a text, or one that nearly meets it; empty where none is known.
    """

    name: str
    parameter: str
    constraint: str
    can_be_met: bool | None
    is_met: Callable[[str], bool]
    example: str = ""

    @property
    def seed(self) -> int:
        return int(self.name.rpartition(" ")[2])

    @property
    def prompt(self) -> str:
        """What a user would say: the model is told what is wanted, and shown how that looks, as far as it is short."""
        wanted = f"Answer by this {self.parameter}:\n{self.constraint[:MAX_SHOWN]}\n\n"
        shown = f"An example of an answer:\n{self.example[:MAX_SHOWN]}\n\n" if self.example else ""
        return f"{wanted}{shown}An answer:\n"


def never(text: str) -> bool:
    """Of a constraint that nothing meets."""
    return False
