"""The engine process as its parent sees it: started, watched, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import IO

import msgspec

from sglang.srt.messages import EngineStart

# The child finds modules exactly where this process does: not in whatever folder it happens to be started from.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from sglang.srt.scheduler.process import main; sys.exit(main())"


class EngineProcess:
    """Its standard input stays open as its lifeline: when this process ends, however, so does the engine.

    `on_exit` is called from a thread of its own when the process has ended, whoever ended it.
    """

    def __init__(self, start: EngineStart, on_exit: Callable[[], None]) -> None:
        command = [sys.executable, "-c", _PROGRAM.format(path=sys.path)]
        # A session of its own: the terminal's Ctrl-C is for this process, which ends the engine by the lifeline.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True)
        self._on_exit = on_exit
        _RUNNING.add(self)
        data = msgspec.msgpack.encode(start)
        with contextlib.suppress(BrokenPipeError):  # it died at once: the watcher will say so
            self._lifeline.write(len(data).to_bytes(4, "big") + data)
        threading.Thread(target=self._watch, name="sglang-engine-watch", daemon=True).start()

    @property
    def _lifeline(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def describe_exit(self) -> str:
        code = self._process.poll()
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}" if code is not None else "does not answer"

    def cut_lifeline(self) -> None:
        """The process ends by itself, soon."""
        with contextlib.suppress(OSError):
            self._lifeline.close()

    def kill(self) -> None:
        """The process is gone. Harmless if it is already."""
        self._process.kill()
        self._process.wait()

    def _watch(self) -> None:
        self._process.wait()
        self._on_exit()

    def forget_in_fork(self) -> None:
        """In a forked child of this process: let go of the lifeline, which is not the child's."""
        with contextlib.suppress(OSError):
            self._lifeline.close()


_RUNNING: weakref.WeakSet[EngineProcess] = weakref.WeakSet()


def _after_fork() -> None:
    for process in _RUNNING:
        process.forget_in_fork()


os.register_at_fork(after_in_child=_after_fork)
