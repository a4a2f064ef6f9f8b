"""Text that grows in the programs' loop and is read anywhere, by any number of readers, while it does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple


class Delta(NamedTuple):
    """text may be empty where only the meta info is new."""

    text: str
    meta_info: dict[str, Any]


class TextStream:
    """Usable from any thread."""

    def __init__(self) -> None:
        self._deltas: list[Delta] = []
        self._version = 0
        self._changed: Future[None] | None = None  # if somebody waits
        self._lock = threading.Lock()

    def append(self, delta: Delta) -> None:
        with self._lock:
            self._deltas.append(delta)
        self.wake()

    def wake(self) -> None:
        """Have the readers look again."""
        with self._lock:
            self._version += 1
            changed, self._changed = self._changed, None
        if changed is not None:
            changed.set_result(None)

    def follow(self, until: Future[Any]) -> Iterator[Delta | Future[Any]]:
        """All deltas up to the moment when `until` is done. Futures in between are to be waited for."""
        until.add_done_callback(lambda _: self.wake())
        num_read = 0
        while True:
            version, is_over = self._version, until.done()  # before looking, so that nothing that comes then is missed
            while num_read < len(self._deltas):
                yield self._deltas[num_read]
                num_read += 1
            if is_over:
                return
            yield self._change_since(version)

    def _change_since(self, version: int) -> Future[None]:
        with self._lock:
            if self._changed is None:
                self._changed = Future()
            changed = self._changed
            if self._version == version:
                return changed
        done: Future[None] = Future()
        done.set_result(None)
        return done
