"""One piece of work, written twice."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from benchmarks.programs.material import Material
from sglang.lang.program import SglFunction

Item = dict[str, Any]
"""The arguments of one run, the same for both ways."""

LENGTH: dict[str, Any] = {"temperature": 0.0, "ignore_eos": True}
"""Of `gen`: answers of a fixed length, so that every system does the same work whatever it says."""


@dataclass(frozen=True)
class Program:
    """items: so many runs, about things that runs of another name have not seen. ours: in the language. theirs: the
    same requests, sent with the client of the first argument.
    """

    name: str
    items: Callable[[Material, str, int], list[Item]]
    ours: SglFunction
    theirs: Callable[..., Coroutine[Any, Any, None]]
