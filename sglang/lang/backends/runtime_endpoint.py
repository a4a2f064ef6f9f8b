"""Programs on a server: ours, or any that speaks the published native API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from sglang.lang.backends.base import RoleText
from sglang.lang.backends.http_api import HttpApi
from sglang.lang.backends.native import NativeBackend, Payload
from sglang.lang.backends.per_loop import PerLoop
from sglang.lang.chat_template import ChatTemplate, get_chat_template, get_chat_template_by_model_path
from sglang.srt.errors import BackendError, ConfigurationError, shown

MAX_ROLE_TEXTS = 4096


class RuntimeEndpoint(NativeBackend):
    """Connects at once: raises BackendError if there is no such server, AuthenticationError if it wants another key,
    ConfigurationError for what is no URL of a server.

    A server that takes segments also says what its model's chat template puts around a message. For others, or with
    `chat_template_name`, that comes from the table in `lang/chat_template.py`. ``model_info`` is what the server says
    of its model.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        verify: bool | str | None = None,
        chat_template_name: str | None = None,
    ) -> None:
        template = None if chat_template_name is None else get_chat_template(chat_template_name)
        if base_url.rstrip("/").endswith("/v1"):
            raise ConfigurationError(
                f"the native API is not under /v1: leave that away, RuntimeEndpoint({base_url.rstrip('/')[:-3]!r}), "
                f"or speak the OpenAI API with sgl.OpenAI(model, base_url={base_url!r})"
            )
        self._api = HttpApi(base_url, api_key, verify)
        self.base_url = self._api.base_url
        self.model_info = self._api.json_object(self._api.call_blocking("GET", "/get_model_info"))
        self.takes_segments = self.model_info.get("segments") is True
        self.takes_choices = self.model_info.get("select") is True
        self.wants_prefix_first = not self.takes_segments
        if template is None and not self.takes_segments:
            template = get_chat_template_by_model_path(str(self.model_info.get("model_path")))
        self._template: ChatTemplate | None = template
        self.template_stop = () if template is None else template.stop
        self._role_texts: dict[tuple[str, ...], RoleText] = {}
        self._asking = PerLoop(asyncio.Lock)

    def flush_cache(self) -> None:
        self._api.call_blocking("POST", "/flush_cache")

    def get_server_info(self) -> dict[str, Any]:
        return self._api.json_object(self._api.call_blocking("GET", "/get_server_info"))

    async def role_text(self, roles: Sequence[str]) -> RoleText:
        if self._template is not None:
            return self._template.role_text(roles)
        key = tuple(roles)
        if key not in self._role_texts:
            async with self._asking.get():  # of many programs that begin alike only the first asks
                if key not in self._role_texts:
                    self._remember(key, await self._ask_role_text(key))
        return self._role_texts[key]

    async def aclose(self) -> None:
        """Close the connections that the running event loop has open; they open again when needed."""
        await self._api.aclose()

    async def _post(self, payload: Payload) -> Any:
        return self._api.json(await self._api.call("POST", "/generate", payload))

    async def _post_select(self, payload: Payload) -> Any:
        return self._api.json(await self._api.call("POST", "/select", payload))

    async def _post_score_choices(self, payload: Payload) -> Any:
        return self._api.json(await self._api.call("POST", "/score_choices", payload))

    async def _post_separate_reasoning(self, payload: Payload) -> Any:
        return self._api.json(await self._api.call("POST", "/separate_reasoning", payload))

    def _stream(self, payload: Payload) -> AsyncGenerator[Any, None]:
        return self._api.events("/generate", {**payload, "stream": True})

    async def _ask_role_text(self, roles: Sequence[str]) -> RoleText:
        match self._api.json(await self._api.call("POST", "/role_text", {"roles": roles})):
            case {"prefix": str(prefix), "suffix": str(suffix)}:
                return RoleText(prefix, suffix)
            case answer:
                raise BackendError(f"{self.base_url} answered what is no text around a role: {shown(answer)}")

    def _remember(self, roles: tuple[str, ...], text: RoleText) -> None:
        if len(self._role_texts) >= MAX_ROLE_TEXTS:
            self._role_texts.clear()
        self._role_texts[roles] = text
