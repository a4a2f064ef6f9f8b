"""Answers in the shape of the OpenAI API, whichever library brings them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from sglang.lang.backends.apis.token_usage import TokenUsage
from sglang.lang.backends.base import Backend, Generated, Prompt, RoleText
from sglang.lang.backends.scoring import LogprobRow
from sglang.lang.chat_template import ChatTemplate
from sglang.lang.ir import SamplingArguments
from sglang.srt.errors import RequestFailedError

STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


class OpenAIAnswers(Backend, ABC):
    """``token_usage`` adds up what answers cost."""

    wants_prefix_first = False

    def __init__(self, model_name: str, chat_template: ChatTemplate) -> None:
        self.model_name = model_name
        self.chat_template = chat_template
        self.token_usage = TokenUsage()

    @abstractmethod
    async def _create(self, prompt: Prompt, sampling: SamplingArguments, **options: Any) -> Any:
        """The answer of the API."""

    @abstractmethod
    def _chunks(self, prompt: Prompt, sampling: SamplingArguments) -> AsyncGenerator[Any, None]:
        """The answer as it grows. Closing it closes the connection."""

    async def generate(self, prompt: Prompt, sampling: SamplingArguments) -> list[Generated]:
        answer = await self._create(prompt, sampling)
        self._count(answer)
        return [_generated(answer, choice, sampling) for choice in answer.choices]

    async def stream(self, prompt: Prompt, sampling: SamplingArguments) -> AsyncGenerator[Generated, None]:
        text, finish = "", None
        logprobs: list[LogprobRow] = []
        async with aclosing(self._chunks(prompt, sampling)) as chunks:
            async for chunk in chunks:
                self._count(chunk)
                for choice in chunk.choices:
                    text += choice_text(choice)
                    finish = finish_of(choice) or finish
                    logprobs += _logprobs(choice) or ()
                yield Generated(text, meta_info_of(chunk, finish, logprobs or None))

    async def role_text(self, roles: Sequence[str]) -> RoleText:
        return self.chat_template.role_text(roles)

    def _count(self, answer: Any) -> None:
        usage = getattr(answer, "usage", None)
        if usage is not None:
            self.token_usage.prompt_tokens += usage.prompt_tokens
            self.token_usage.completion_tokens += usage.completion_tokens


def choice_text(choice: Any) -> str:
    """Of a completion, of a message, or of a piece of either. Raises RequestFailedError if the model refuses."""
    if hasattr(choice, "text"):
        return choice.text or ""
    message = choice.delta if hasattr(choice, "delta") else choice.message
    if message.content is None and getattr(message, "refusal", None):
        raise RequestFailedError(f"the model refuses to answer: {message.refusal}")
    return message.content or ""


def finish_of(choice: Any) -> dict[str, Any] | None:
    """Why it ended, if it has; servers of this project say of one at its limit whether it is whole."""
    if choice.finish_reason is None:
        return None
    closed = getattr(choice, "closed", None)
    return {"type": choice.finish_reason} if closed is None else {"type": choice.finish_reason, "closed": closed}


def meta_info_of(answer: Any, finish: dict[str, Any] | None, logprobs: list[LogprobRow] | None) -> dict[str, Any]:
    """Under the names of the native API. Numbers of tokens are of all samples of the call together."""
    meta: dict[str, Any] = {"id": answer.id, "finish_reason": finish}
    usage = getattr(answer, "usage", None)
    if usage is not None:
        meta["prompt_tokens"] = usage.prompt_tokens
        meta["completion_tokens"] = usage.completion_tokens
        details = getattr(usage, "prompt_tokens_details", None)
        if details is not None:
            meta["cached_tokens"] = details.cached_tokens
    if logprobs is not None:
        meta["output_token_logprobs"] = logprobs
    return meta


def _generated(answer: Any, choice: Any, sampling: SamplingArguments) -> Generated:
    meta_info = meta_info_of(answer, finish_of(choice), _logprobs(choice))
    if sampling.separate_reasoning is not None:
        meta_info["reasoning_content"] = _reasoning(choice.message)
    return Generated(choice_text(choice), meta_info)


def _reasoning(message: Any) -> str:
    """Servers of open models have two names for it. OpenAI's own tell nobody what their models think."""
    return getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None) or ""


def _logprobs(choice: Any) -> list[LogprobRow] | None:
    """(log-probability, token, token): the API names tokens by their text."""
    found = getattr(choice, "logprobs", None)
    if found is None:
        return None
    if hasattr(found, "tokens"):
        return [(value, token, token) for value, token in zip(found.token_logprobs, found.tokens, strict=True)]
    return [(entry.logprob, entry.token, entry.token) for entry in found.content or ()]
