"""The server as a child of the process that uses it.

On standard input comes one line of JSON, the options. Then the pipe stays open: when it closes, the parent is gone, and
the server ends. On standard output it answers with lines of JSON: ``{"url"}`` once the port is its own, and
``{"error": {"type", "message"}}`` if it cannot start. What else is printed goes to standard error.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
from typing import IO, Any

from sglang.srt.args import launch_args
from sglang.srt.errors import ConfigurationError, SglangError
from sglang.srt.server.listener import address, listen

NUM_PORTS = 1000
"""How many ports are tried, from the one that is asked for upwards."""

_REACHABLE_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def main() -> int:
    """Returns the exit code. The options are those of `launch_server`."""
    stdin = sys.stdin.fileno()
    with open(stdin, "rb", buffering=0, closefd=False) as pipe:
        options = json.loads(pipe.readline())
    threading.Thread(target=_end_with_parent, args=(stdin,), name="sglang-lifeline", daemon=True).start()
    with _reports() as reports:
        try:
            engine_args, server_args = launch_args(**options)
            from sglang.srt.server.launch import serve  # takes a second, which wrong options do not

            with _listen_from(server_args.host, server_args.port) as listener:
                host, port = listener.getsockname()[:2]
                _report(reports, {"url": f"http://{address(_REACHABLE_AT.get(host, host), port)}"})
                serve(engine_args, server_args, listener)
        except SglangError as error:
            _report(reports, {"error": {"type": error.error_type, "message": str(error)}})
            return 1
        except KeyboardInterrupt:  # how the parent asks to end
            return 0
    return 0


def _end_with_parent(stdin: int) -> None:
    while os.read(stdin, 1):
        pass
    os._exit(0)  # nobody waits for an answer any more; the engine process notices as we do


def _reports() -> IO[str]:
    """The parent's end of standard output. From now on nothing else gets there, from the engine process neither."""
    stdout = sys.stdout.fileno()
    reports = os.fdopen(os.dup(stdout), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), stdout)
    return reports


def _report(reports: IO[str], message: dict[str, Any]) -> None:
    reports.write(json.dumps(message) + "\n")
    reports.flush()


def _listen_from(host: str, port: int) -> socket.socket:
    """On the first free port from `port` upwards; on any if it is 0."""
    last = min(port + NUM_PORTS, 65536) - 1 if port else 0
    while port < last:
        try:
            return listen(host, port)
        except ConfigurationError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EADDRINUSE:
                raise
            port += 1
    return listen(host, port)
