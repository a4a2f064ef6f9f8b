"""Running examples as they stand in their files, with the address of the test's own server."""

from __future__ import annotations

import builtins
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sglang as sgl
from tests.examples.seeds import EXAMPLES, ROOT

ADDRESS = "http://127.0.0.1:30000"
SECONDS = 300.0
"""How long an example may take on a busy machine. A failure takes this long, a success never."""

SHORT_SPINS = {"GOMP_SPINCOUNT": "1000"}
"""For engines with several threads on a test machine that may be busy: threads that wait give up their core soon."""


@dataclass(frozen=True)
class Run:
    """An example that ended: its global names, and what it printed."""

    names: dict[str, Any]
    printed: str

    def __getitem__(self, name: str) -> Any:
        return self.names[name]

    @property
    def lines(self) -> list[str]:
        return self.printed.splitlines()


class BorrowedRuntime:
    """What an example's `Runtime(...)` gives: one that others use too, so that its end is not the example's to say."""

    def __init__(self, runtime: sgl.Runtime) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def shutdown(self) -> None:
        """The owner does that."""


def environment() -> dict[str, str]:
    """Of a process that finds this checkout and prints what the documents hold."""
    return {**os.environ, **SHORT_SPINS, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}


def source(name: str, url: str = ADDRESS) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8").replace(ADDRESS, url)


def run_here(name: str, url: str = ADDRESS) -> Run:
    """In this process. Raises what the example raises."""
    printed = io.StringIO()
    names: dict[str, Any] = {"__name__": "__main__", "print": partial(builtins.print, file=printed)}
    exec(compile(source(name, url), str(EXAMPLES / name), "exec", dont_inherit=True), names)
    return Run(names, printed.getvalue())


def run_alone(name: str, folder: Path, url: str = ADDRESS) -> Run:
    """In a process of its own, as a user does. Raises AssertionError with its standard error if it fails."""
    script = folder / name
    script.write_text(source(name, url), encoding="utf-8")
    command = [sys.executable, str(script)]
    ended = subprocess.run(
        command, env=environment(), capture_output=True, encoding="utf-8", timeout=SECONDS, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return Run({}, ended.stdout)


def commands(name: str) -> Iterator[list[str]]:
    """The command lines of a shell example, split into words as a shell does."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if words := shlex.split(line, comments=True):
            yield words
