"""A bar on stderr while weights are read, for a person who waits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnProgress = Callable[[int, int], None] | None
"""To be called with (done, total)."""


@contextmanager
def loading_bar(title: str, is_wanted: bool) -> Iterator[OnProgress]:
    """Yields what to call with (done, total), or None where nobody would see a bar. The bar goes when loading ends."""
    if not is_wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # takes a while, which a server without a terminal does not
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
