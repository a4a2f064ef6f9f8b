"""Programs on Gemini models of Google's Vertex AI, through the official client (google-genai)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from sglang.lang.backends.apis.conversation import check_all_in_roles, check_answer_begins, split_system
from sglang.lang.backends.apis.errors import refused, unreachable
from sglang.lang.backends.apis.sampling_options import (
    asked_for,
    check_reasoning_is_the_api_s,
    limit,
    refuse_others,
    stops,
)
from sglang.lang.backends.apis.vertexai_answer import VertexAnswer
from sglang.lang.backends.base import Backend, Generated, Prompt, RoleText
from sglang.lang.backends.per_loop import PerLoop
from sglang.lang.chat_template import get_chat_template
from sglang.lang.ir import SamplingArguments
from sglang.lang.media import ALL_MEDIA, Content, Media
from sglang.srt.errors import AuthenticationError, BackendError, ConfigurationError, UnsupportedError

if TYPE_CHECKING:
    from google import genai

API = "the Vertex AI API"

NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "n": "candidate_count",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "sampling_seed": "seed",
}
"""Ours and theirs, of parameters with the same meaning."""

TAKEN = (*NAMES, "max_new_tokens", "stop", "json_schema", "separate_reasoning")

SafetySettings = Mapping[str, str] | Sequence[Any]


class VertexAI(Backend):
    """A Gemini model of the project in ``GCP_PROJECT_ID``, in the region ``GCP_LOCATION``. Further arguments are those
    of the official client (``google.genai.Client``), such as ``project``, ``location`` and ``credentials``.

    safety_settings: thresholds by category, or what the client takes as such. The API is sent the messages of a
    program: gen must come first in an assistant role, and all text must be in roles. Images, sounds and videos are sent
    along. A JSON schema is enforced by the API; what it cannot do is refused by name.
    Raises ConfigurationError without the package, or where nothing says the project.
    """

    wants_prefix_first = False
    media_kinds = ALL_MEDIA

    def __init__(self, model_name: str, safety_settings: SafetySettings | None = None, **kwargs: Any) -> None:
        make = _client_class()
        options = _client_options(kwargs)
        make(**options)  # says at once what is wrong with them
        self._clients: PerLoop[genai.Client] = PerLoop(lambda: make(**options))
        self.model_name = model_name
        self.chat_template = get_chat_template("default")
        self._safety_settings = _safety_list(safety_settings)

    async def generate(self, prompt: Prompt, sampling: SamplingArguments) -> list[Generated]:
        request = self._request(prompt, sampling)
        with self._reporting():
            response = await self._clients.get().aio.models.generate_content(**request)
        answers = [VertexAnswer() for _ in range(sampling.n or 1)]
        for index, answer in enumerate(answers):
            answer.add(response, index)
            if not answer.is_complete:
                raise BackendError(f"{API}: of {len(answers)} answers that were asked for, number {index} is missing")
        return [answer.generated(with_reasoning=sampling.separate_reasoning is not None) for answer in answers]

    async def stream(self, prompt: Prompt, sampling: SamplingArguments) -> AsyncGenerator[Generated, None]:
        request = self._request(prompt, sampling)
        answer = VertexAnswer()
        with self._reporting():
            async with aclosing(await self._clients.get().aio.models.generate_content_stream(**request)) as chunks:
                async for chunk in chunks:
                    answer.add(chunk, 0)
                    yield answer.generated()
        if not answer.is_complete:
            raise BackendError(f"{API}: the stream ended before the answer was complete")

    async def role_text(self, roles: Sequence[str]) -> RoleText:
        return self.chat_template.role_text(roles)

    async def aclose(self) -> None:
        """Close the connections that the running event loop has open; they open again when needed."""
        client = self._clients.pop()
        if client is not None:
            await client.aio.aclose()

    def _request(self, prompt: Prompt, sampling: SamplingArguments) -> dict[str, Any]:
        check_answer_begins(prompt)
        check_all_in_roles(prompt, self.chat_template)
        check_reasoning_is_the_api_s(sampling, API)
        asked = asked_for(sampling)
        refuse_others(asked, TAKEN, API)
        config: dict[str, Any] = {theirs: asked[ours] for ours, theirs in NAMES.items() if ours in asked}
        config["max_output_tokens"] = limit(sampling)
        config["safety_settings"] = self._safety_settings
        if stop := stops(sampling):
            config["stop_sequences"] = stop
        if sampling.json_schema is not None:
            config["response_mime_type"] = "application/json"
            config["response_json_schema"] = json.loads(sampling.json_schema)
        if sampling.separate_reasoning is not None:
            config["thinking_config"] = {"include_thoughts": True}
        system, messages = split_system(prompt.messages, API)
        if system is not None:
            config["system_instruction"] = system
        return {"model": self.model_name, "contents": [_turn(**message) for message in messages], "config": config}

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """What the client raises, as errors of our own."""
        from google.auth.exceptions import GoogleAuthError
        from google.genai import errors

        try:
            yield
        except GoogleAuthError as error:
            how = "gcloud auth application-default login makes credentials, and credentials= takes others"
            raise AuthenticationError(f"{API} wants credentials, but: {error}; {how}") from error
        except errors.APIError as error:
            raise refused(API, error.code, error.message or error.status or "") from error
        except _transport_errors() as error:
            raise unreachable(API, error, "is there a network, and is GCP_LOCATION a region?") from error


def _client_class() -> Any:
    try:
        from google import genai
    except ImportError as error:
        raise ConfigurationError(
            "sglang.VertexAI needs the google-genai package: pip install 'sglang[vertexai]'"
        ) from error
    return genai.Client


def _transport_errors() -> tuple[type[Exception], ...]:
    """Of the HTTP libraries that the client may have found, and has loaded then."""
    kinds = (("httpx", "TransportError"), ("httpx2", "TransportError"), ("aiohttp", "ClientError"))
    return tuple(getattr(sys.modules[library], name) for library, name in kinds if library in sys.modules)


def _client_options(given: Mapping[str, Any]) -> dict[str, Any]:
    options = {"vertexai": True, **given}
    if options.get("api_key") is not None:
        return options
    options.setdefault("project", os.environ.get("GCP_PROJECT_ID"))
    options.setdefault("location", os.environ.get("GCP_LOCATION"))
    if not options["project"]:
        raise ConfigurationError(
            "sglang.VertexAI needs a project: set GCP_PROJECT_ID and GCP_LOCATION, or give api_key"
        )
    return options


def _safety_list(given: SafetySettings | None) -> list[Any]:
    if isinstance(given, Mapping):
        return [{"category": category, "threshold": threshold} for category, threshold in given.items()]
    return list(given or ())


def _turn(role: str, content: Content) -> dict[str, Any]:
    parts = [content] if isinstance(content, str) else content
    written = [{"text": part} if isinstance(part, str) else _media_part(part) for part in parts]
    return {"role": "model" if role == "assistant" else role, "parts": written}


def _media_part(media: Media) -> dict[str, Any]:
    if media.data is not None:
        return {"inline_data": {"mime_type": media.mime_type, "data": media.data}}
    if media.mime_type is None:
        raise UnsupportedError(f"{API} wants to know the type of {media!r}: give a URL that ends like a file's name")
    return {"file_data": {"file_uri": media.url, "mime_type": media.mime_type}}
