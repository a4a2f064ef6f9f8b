"""The engine process as its parent sees it: started, watched, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable

import msgspec

from sglang.srt.frames import frame
from sglang.srt.messages import EngineStart

# The child finds modules exactly where this process does: not in whatever folder it happens to be started from.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from sglang.srt.scheduler.process import main; sys.exit(main())"


class EngineProcess:
    """`connection` is its lifeline too: when that closes, also because this process ends, however, so does the engine.

    `on_exit` is called from a thread of its own when the process has ended, whoever ended it.
    """

    def __init__(self, start: EngineStart, on_exit: Callable[[], None]) -> None:
        command = [sys.executable, "-c", _PROGRAM.format(path=sys.path)]
        self.connection, engines_end = socket.socketpair()
        with engines_end:
            # A session of its own: the terminal's Ctrl-C is for this process, which ends the engine by the lifeline.
            self._process = subprocess.Popen(command, stdin=engines_end.fileno(), start_new_session=True)
        self._on_exit = on_exit
        _RUNNING.add(self)
        with contextlib.suppress(ConnectionError):  # it died at once: the watcher will say so
            self.connection.sendall(frame(msgspec.msgpack.encode(start)))
        threading.Thread(target=self._watch, name="sglang-engine-watch", daemon=True).start()

    def describe_exit(self) -> str:
        code = self._process.poll()
        if code == -signal.SIGKILL:
            return "was killed by SIGKILL, as systems do that run out of memory"
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}; its log says more"
        return f"ended with exit code {code}; its log says more" if code is not None else "does not answer"

    def kill(self) -> None:
        """The process is gone. Harmless if it is already."""
        self._process.kill()
        self._process.wait()

    def _watch(self) -> None:
        self._process.wait()
        self._on_exit()

    def forget_in_fork(self) -> None:
        """In a forked child of this process: let go of the lifeline, which is not the child's."""
        self.connection.close()


_RUNNING: weakref.WeakSet[EngineProcess] = weakref.WeakSet()


def _after_fork() -> None:
    for process in _RUNNING:
        process.forget_in_fork()


os.register_at_fork(after_in_child=_after_fork)
