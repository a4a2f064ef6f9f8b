"""A bar on stderr while weights are read, for a person who waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


@contextmanager
def loading_bar(title: str, is_wanted: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yields what to call with (done, total), or None where nobody would see a bar. The bar goes when loading ends."""
    console = Console(stderr=True)
    if not is_wanted or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
