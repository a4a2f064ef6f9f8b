"""A server of the published protocol that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

MODEL_INFO = {"model_path": "someone/some-model-chatml", "is_generation": True}


@dataclass(frozen=True)
class Asked:
    path: str
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """`body`: bytes as they are, anything else as JSON."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()


def events(*values: Any, done: bool = True) -> Answer:
    """A stream of server-sent events."""
    data = b"".join(b"data: " + Answer(value).data + b"\n\n" for value in values)
    return Answer(data + (b"data: [DONE]\n\n" if done else b""))


DROPPED = Answer(b"", status=0)
"""No answer: the connection is closed."""


class FakeServer:
    """`answer` gets the path and the body of every request but those for the model's description."""

    def __init__(self, answer: Callable[[str, Any], Answer], model_info: dict[str, Any] | None = None) -> None:
        self.asked: list[Asked] = []
        self._answer = answer
        self._model_info = MODEL_INFO if model_info is None else model_info
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                with suppress(ConnectionError):  # a client may leave before it has its answer
                    super().handle()

            def do_GET(self) -> None:
                self._reply(None)

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers.get("content-length", 0)))
                self._reply(json.loads(data) if data else None)

            def _reply(self, body: Any) -> None:
                answer = fake.answer(Asked(self.path, body, {k.lower(): v for k, v in self.headers.items()}))
                if answer is DROPPED:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                self.send_header("content-length", str(len(answer.data)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.data)

            def log_message(self, format: str, *args: Any) -> None:
                """Requests are remembered, not printed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def generate_bodies(self) -> list[Any]:
        return [asked.body for asked in self.asked if asked.path == "/generate"]

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        return Answer(self._model_info) if asked.path == "/get_model_info" else self._answer(asked.path, asked.body)

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
