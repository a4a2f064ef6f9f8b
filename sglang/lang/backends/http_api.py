"""A server's HTTP API as a client sees it: JSON in and out, server-sent events, errors of the project's own tree."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import orjson

from sglang.lang.backends.connections import Connections
from sglang.lang.backends.per_loop import PerLoop
from sglang.srt.errors import (
    AuthenticationError,
    BackendError,
    ConfigurationError,
    EngineDeadError,
    InvalidRequestError,
    ModelLoadError,
    RequestAbortedError,
    RequestFailedError,
    SglangError,
    UnsupportedError,
    shown,
)

CONNECT_SECONDS = 10.0
"""How long a connection may take. An answer may take any time: how long a generation lasts is up to the program."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_BY_TYPE: dict[object, type[SglangError]] = {
    kind.error_type: kind
    for kind in (
        InvalidRequestError,
        RequestAbortedError,
        EngineDeadError,
        AuthenticationError,
        ConfigurationError,
        ModelLoadError,
        UnsupportedError,
    )
}
_BY_STATUS: dict[object, type[SglangError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    422: InvalidRequestError,
    499: RequestAbortedError,
    500: RequestFailedError,
    503: EngineDeadError,
}


class HttpApi:
    """Usable from any thread and event loop; every loop has its own connections.

    Every call raises BackendError if the server cannot be reached or answers what is no answer, and the error that the
    server reports otherwise.
    """

    def __init__(self, base_url: str, api_key: str | None = None, verify: bool | str | None = None) -> None:
        """verify: whether, or with which file of certificates, to check the server's. Raises ConfigurationError."""
        self.base_url = base_url.rstrip("/")
        self._options = _client_options(self.base_url, api_key, verify)
        self._connections = PerLoop(lambda: Connections(self._options))

    async def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Cancelling it closes the connection, by which the server knows."""
        with self._reaching():
            async with self._connections.get().client() as client:
                response = await client.request(method, path, content=_encoded(body))
        return self._checked(response)

    def call_blocking(self, method: str, path: str, body: object = None) -> httpx.Response:
        with self._reaching(), httpx.Client(**self._options) as client:
            response = client.request(method, path, content=_encoded(body))
        return self._checked(response)

    async def events(self, path: str, body: object) -> AsyncGenerator[Any, None]:
        """The data of the server-sent events that answer a POST, up to ``[DONE]``. Closing it closes the connection."""
        with self._reaching():
            async with self._streaming(path, body) as response:
                if response.is_error:
                    await response.aread()
                self._checked(response)
                is_done = False
                async for data in _event_data(response.aiter_bytes()):
                    if data == b"[DONE]":
                        is_done = True
                    else:
                        yield self._event(data)
        if not is_done:
            raise BackendError(f"{self.base_url}: the stream ended before the answer was complete")

    def json(self, response: httpx.Response) -> Any:
        return self._parsed(response.content)

    def json_object(self, response: httpx.Response) -> dict[str, Any]:
        value = self.json(response)
        if not isinstance(value, dict):
            raise BackendError(f"{response.request.url} answered {shown(value)}, which is no JSON object")
        return value

    async def aclose(self) -> None:
        """Close the connections that the running event loop has open."""
        connections = self._connections.pop()
        if connections is not None:
            await connections.aclose()

    @asynccontextmanager
    async def _streaming(self, path: str, body: object) -> AsyncIterator[httpx.Response]:
        async with (
            self._connections.get().client() as client,
            client.stream("POST", path, content=_encoded(body)) as response,
        ):
            yield response

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise BackendError(
                f"{self.base_url} cannot be reached, or ended the connection: {reason}; is a server running there? "
                "Start one with: sglang serve"
            ) from error

    def _checked(self, response: httpx.Response) -> httpx.Response:
        """Raises the error that the response reports, if it does."""
        if response.is_success:
            return response
        where = f"{response.request.method} {response.request.url} answered {response.status_code}"
        try:
            reported = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            reported = shown(response.text)
        raise _reported_error(reported, response.status_code, where)

    def _event(self, data: bytes) -> Any:
        value = self._parsed(data)
        match value:
            case {"error": dict(report)}:
                raise _reported_error(value, report.get("code"), f"{self.base_url} ended the stream")
        return value

    def _parsed(self, data: bytes) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            text = shown(data.decode(errors="replace"))
            raise BackendError(f"{self.base_url} answered what is not JSON: {text}") from error


def error_of_type(error_type: object) -> type[SglangError]:
    """The class of an error that a server of ours reports."""
    return _BY_TYPE.get(error_type, BackendError)


def _client_options(base_url: str, api_key: str | None, verify: bool | str | None) -> dict[str, Any]:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"base_url {shown(base_url)} is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"base_url must be like 'http://localhost:30000', not {shown(base_url)}")
    return {
        "base_url": url,
        "headers": {
            "content-type": "application/json",
            **({} if api_key is None else {"authorization": f"Bearer {api_key}"}),
        },
        "verify": _tls_context(url.scheme, verify),
        "timeout": httpx.Timeout(None, connect=CONNECT_SECONDS),
        "trust_env": url.host not in LOOPBACK,  # no proxy can reach this machine's own addresses
    }


def _tls_context(scheme: str, verify: bool | str | None) -> ssl.SSLContext:
    if scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; to read the certificates takes long
    if isinstance(verify, str):
        return ssl.create_default_context(cafile=verify)
    return httpx.create_ssl_context(verify=verify is not False)


def _encoded(body: object) -> bytes | None:
    if body is None:
        return None
    try:
        return orjson.dumps(body)
    except TypeError as error:  # says what cannot be JSON, such as text with a lone surrogate
        raise InvalidRequestError(f"the request cannot be sent: {error}") from error


async def _event_data(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The ``data:`` lines of an event stream. Only b"\\n" ends a line: JSON may hold other line separators."""
    rest = b""
    async for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line.removeprefix(b"data:").strip()


def _reported_error(reported: object, status: object, where: str) -> SglangError:
    """The error of the tree that a server means, in the shapes that servers of the published protocol use."""
    details = reported.get("error", reported) if isinstance(reported, dict) else reported
    if not isinstance(details, dict):
        details = {"message": details}
    message = details.get("message") or details.get("detail") or shown(details)
    kind = _BY_TYPE.get(details.get("type")) or _BY_STATUS.get(status) or BackendError
    return kind(f"{where}: {message}")
