"""A server process that lives as long as this one."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
import weakref
from typing import IO, Any

import orjson

from sglang.lang.backends.http_api import error_of_type
from sglang.srt.errors import ConfigurationError, EngineDeadError, shown

GRACE_SECONDS = 2.0
"""How long it may take to end by itself once it is told to."""

# The child finds modules exactly where this process does: not in whatever folder it happens to be started from.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from sglang.srt.server.child import main; sys.exit(main())"


class ServerProcess:
    """Its standard input stays open as its lifeline: when this process ends, however, so does the server."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Options of `launch_server`. Raises ConfigurationError for a value that is not JSON."""
        try:
            line = orjson.dumps(options) + b"\n"
        except TypeError as error:
            raise ConfigurationError(f"an option of the server is no plain value: {error}: {shown(options)}") from error
        command = [sys.executable, "-c", _PROGRAM.format(path=sys.path)]
        # A session of its own: the terminal's Ctrl-C is for this process, which ends the server.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        self._is_listening = False
        _RUNNING.add(self)
        with contextlib.suppress(BrokenPipeError):  # it died at once: `wait_for_url` will say so
            self._lifeline.write(line)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for_url(self, deadline: float) -> str:
        """Where the server will answer. deadline: of the monotonic clock.

        Raises what stopped it from starting, or EngineDeadError.
        """
        url = str(self._next_report(deadline)["url"])
        self._is_listening = True
        return url

    def check_running(self) -> None:
        """Raises what stopped it from starting, if something did."""
        if self._process.poll() is not None:
            self._next_report(time.monotonic())

    def end(self) -> None:
        """The process is gone when this returns. Harmless if it is already."""
        if self._is_listening and self._process.poll() is None:  # before that, there is nothing to tidy up
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_SECONDS)
        self._lifeline.close()
        self._process.kill()
        self._process.wait()
        self._reports.close()

    def forget_in_fork(self) -> None:
        """In a forked child of this process: let go of the lifeline, which is not the child's."""
        self._lifeline.close()

    @property
    def _lifeline(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _reports(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _next_report(self, deadline: float) -> dict[str, Any]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._reports, selectors.EVENT_READ)
            if not selector.select(max(deadline - time.monotonic(), 0.0)):
                raise EngineDeadError("the server does not start in time; its log is on standard error")
        line = self._reports.readline()
        if not line:
            code = self._process.wait()
            reason = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise EngineDeadError(f"the server {reason} before it was ready; its log is on standard error")
        report = orjson.loads(line)
        if "error" in report:
            raise error_of_type(report["error"]["type"])(report["error"]["message"])
        return dict(report)


_RUNNING: weakref.WeakSet[ServerProcess] = weakref.WeakSet()


def _after_fork() -> None:
    for process in _RUNNING:
        process.forget_in_fork()


os.register_at_fork(after_in_child=_after_fork)
