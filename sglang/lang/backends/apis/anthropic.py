"""Programs on Anthropic's Messages API, through the official client."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from sglang.lang.backends.apis.anthropic_answer import AnthropicAnswer
from sglang.lang.backends.apis.conversation import check_all_in_roles, check_is_answer, split_system
from sglang.lang.backends.apis.errors import refused, unreachable
from sglang.lang.backends.apis.samples import together
from sglang.lang.backends.apis.sampling_options import (
    asked_for,
    check_reasoning_is_the_api_s,
    limit,
    refuse_others,
    stops,
)
from sglang.lang.backends.base import Backend, Generated, Prompt, RoleText
from sglang.lang.backends.per_loop import PerLoop
from sglang.lang.chat_template import get_chat_template
from sglang.lang.ir import SamplingArguments
from sglang.lang.media import Content, Media
from sglang.srt.errors import AuthenticationError, BackendError, ConfigurationError

if TYPE_CHECKING:
    import anthropic

API = "the Anthropic API"

DEFAULT_TEMPERATURE = 1.0
"""Of the API. It is not sent: some models take no temperature at all."""

IN_BODY = ("temperature", "top_p", "top_k")
"""Parameters of the API that the client does not name in all of its versions."""

TAKEN = (*IN_BODY, "max_new_tokens", "n", "stop", "json_schema", "separate_reasoning")


class Anthropic(Backend):
    """`model_name` as the API calls it. Further arguments are those of the official client
    (``anthropic.AsyncAnthropic``), such as ``api_key`` and ``base_url``.

    The API is sent the messages of a program; all text must be in roles. Text that the program has put in the open
    role of the assistant is how the answer begins, for models that take that. Several samples are as many requests. A
    JSON schema is enforced by the API; a regex, log-probabilities and whatever else it cannot do are refused by name.
    Raises ConfigurationError without the package, or for arguments that the client does not take.
    """

    wants_prefix_first = False
    media_kinds = frozenset(("image",))

    def __init__(self, model_name: str, *args: Any, **kwargs: Any) -> None:
        client = _client_class()
        self._url = client(*args, **kwargs).base_url  # says at once what is wrong with them
        self._clients: PerLoop[anthropic.AsyncAnthropic] = PerLoop(lambda: client(*args, **kwargs))
        self.model_name = model_name
        self.chat_template = get_chat_template("claude")

    async def generate(self, prompt: Prompt, sampling: SamplingArguments) -> list[Generated]:
        request = self._request(prompt, sampling)
        return await together([self._whole(request, sampling) for _ in range(sampling.n or 1)])

    async def stream(self, prompt: Prompt, sampling: SamplingArguments) -> AsyncGenerator[Generated, None]:
        async with aclosing(self._answers(self._request(prompt, sampling))) as answers:
            async for answer in answers:
                yield answer.generated()

    async def role_text(self, roles: Sequence[str]) -> RoleText:
        return self.chat_template.role_text(roles)

    async def aclose(self) -> None:
        """Close the connections that the running event loop has open; they open again when needed."""
        client = self._clients.pop()
        if client is not None:
            await client.close()

    async def _whole(self, request: dict[str, Any], sampling: SamplingArguments) -> Generated:
        """Streamed too: the client refuses to wait for long answers otherwise."""
        async with aclosing(self._answers(request)) as answers:
            *_, answer = [answer async for answer in answers]
        return answer.generated(with_reasoning=sampling.separate_reasoning is not None)

    async def _answers(self, request: dict[str, Any]) -> AsyncGenerator[AnthropicAnswer, None]:
        """One and the same as it grows. Raises BackendError if it ends too early."""
        answer = AnthropicAnswer()
        with self._reporting():
            async with await self._begin(request) as events:
                async for event in events:
                    if answer.add(event):
                        yield answer
        if not answer.is_complete:
            raise BackendError(f"{self._url}: the stream ended before the answer was complete")

    async def _begin(self, request: dict[str, Any]) -> anthropic.AsyncStream[Any]:
        try:
            return await self._clients.get().messages.create(**request, stream=True)
        except TypeError as error:  # by which the client says that it has no key
            raise AuthenticationError(f"{API} wants a key; set ANTHROPIC_API_KEY, or give api_key: {error}") from error

    def _request(self, prompt: Prompt, sampling: SamplingArguments) -> dict[str, Any]:
        check_is_answer(prompt)
        check_all_in_roles(prompt, self.chat_template)
        check_reasoning_is_the_api_s(sampling, API)
        asked = asked_for(sampling)
        refuse_others(asked, TAKEN, API)
        if asked.get("temperature") == DEFAULT_TEMPERATURE:
            del asked["temperature"]
        system, messages = split_system(prompt.messages, API)
        body = {name: asked[name] for name in IN_BODY if name in asked}
        if sampling.json_schema is not None:
            form = {"type": "json_schema", "schema": json.loads(sampling.json_schema)}
            body["output_config"] = {"format": form}
        request: dict[str, Any] = {
            "model": self.model_name,
            "max_tokens": limit(sampling),
            "messages": [{"role": one["role"], "content": _content(one["content"])} for one in messages],
            "extra_body": body,
        }
        if prompt.role_text:
            request["messages"].append({"role": "assistant", "content": prompt.role_text})
        if system is not None:
            request["system"] = system
        if stop := stops(sampling):
            request["stop_sequences"] = stop
        return request

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """What the client raises, as errors of our own."""
        import anthropic

        try:
            yield
        except anthropic.APIConnectionError as error:
            raise unreachable(self._url, error.__cause__ or error, "base_url says where the API is") from error
        except anthropic.APIStatusError as error:
            message = getattr(error, "api_message", None) or error.message
            raise refused(API, error.status_code, message, error.request_id) from error
        except anthropic.AnthropicError as error:
            raise BackendError(f"{API}: {error}") from error


def _client_class() -> Any:
    try:
        import anthropic
    except ImportError as error:
        raise ConfigurationError(
            "sglang.Anthropic needs the anthropic package: pip install 'sglang[anthropic]'"
        ) from error
    return anthropic.AsyncAnthropic


def _content(content: Content) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    return [{"type": "text", "text": part} if isinstance(part, str) else _image(part) for part in content]


def _image(image: Media) -> dict[str, Any]:
    if image.data is None:
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    return {"type": "image", "source": {"type": "base64", "media_type": image.mime_type, "data": image.base64}}
