"""``HEAD``, by which watchers and load balancers ask whether somebody is there."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

WITH_EFFECTS = ("/flush_cache",)
"""Where GET does something, because the published API has it so. Who asks whether somebody is there must not."""


class HeadAsGet:
    """Middleware that has the routes for GET answer HEAD too, but for those with effects. The HTTP server leaves the
    body of the answer away.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD" and scope["path"] not in WITH_EFFECTS:
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
