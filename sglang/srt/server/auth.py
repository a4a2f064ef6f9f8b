"""``--api-key``: who may use the server."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sglang.srt.errors import AuthenticationError
from sglang.srt.server.wire import error_body, json_response

OPEN_PATHS = ("/health", "/metrics")
"""And whatever begins so: for those who watch the server without using it."""


class BearerAuth:
    """Middleware that lets only requests with ``Authorization: Bearer KEY`` pass."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._api_key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._may_pass(scope):
            await self._app(scope, receive, send)
            return
        error = AuthenticationError("this server needs its API key: send the header 'Authorization: Bearer KEY'")
        body = error_body(error)
        body["error"]["param"] = None  # as clients of the OpenAI API expect
        response = json_response(body, error.http_status)
        response.headers["www-authenticate"] = "Bearer"
        await response(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if scope["method"] == "OPTIONS" or scope["path"].startswith(OPEN_PATHS):
            return True
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        is_the_key = hmac.compare_digest(key.encode("latin-1"), self._api_key)  # in constant time
        return is_the_key and scheme.lower() == "bearer"
