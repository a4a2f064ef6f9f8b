"""The socket that the server listens on: who gets a port, and what is said of a wrong one."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator

import pytest

from sglang.srt.errors import ConfigurationError
from sglang.srt.server.listener import MAX_OPEN_FILES, address, allow_many_connections, listen


def test_a_port_has_one_listener() -> None:
    """From the moment it is taken, not only once it is served."""
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}: .*; choose another --port$"):
            listen("127.0.0.1", port)
        socket.create_connection(first.getsockname()).close()
    listen("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "two..dots", "x" * 70, "::zz"])
def test_a_host_that_is_not_of_this_machine_is_named(host: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        listen(host, 0)
    assert str(caught.value).startswith(f"cannot listen on {address(host, 0)}: ")
    assert "give a --host that is a name or an address of this machine" in str(caught.value)


def test_addresses() -> None:
    assert [address("127.0.0.1", 5), address("::1", 5)] == ["127.0.0.1:5", "[::1]:5"]


@pytest.fixture
def few_files() -> Iterator[int]:
    """How many the system lets this process have if it asks for them."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
    yield most
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))


def test_as_many_connections_as_the_system_lets_us_have(few_files: int) -> None:
    allow_many_connections()
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most == few_files
    assert allowed == (MAX_OPEN_FILES if most == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, most)) > 256
    allow_many_connections()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, most)
