"""The socket that the server listens on."""

from __future__ import annotations

import errno
import resource
import socket
import sys

from sglang.srt.errors import ConfigurationError

BACKLOG = 2048

MAX_OPEN_FILES = 10_240 if sys.platform == "darwin" else 65_536
"""On macOS the system may refuse more, whatever it says of its limits."""


def allow_many_connections() -> None:
    """Each takes an open file, of which many systems let a process have 1,024 unless it asks for more."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if most == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def listen(host: str, port: int) -> socket.socket:
    """From now on the port is ours: whoever connects waits until the server is up.

    Raises ConfigurationError saying which of the two is wrong.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only where a socket says that it is TCP; else every answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # two may bind to a port, but only one may listen
    except (OSError, ValueError) as error:  # ValueError: a name that can be none
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"cannot listen on {address(host, port)}: {reason}; {_advice(error)}") from error
    return listener


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _advice(error: OSError | ValueError) -> str:
    if not isinstance(error, OSError) or isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "give a --host that is a name or an address of this machine, such as 127.0.0.1 or 0.0.0.0"
    return "choose another --port"
