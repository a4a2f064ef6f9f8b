"""What both APIs have in common: the envelope of an answer, its usage, and its stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from sglang.srt.errors import InvalidRequestError, RequestAbortedError, SglangError
from sglang.srt.server.openai.errors import FieldError, error_body
from sglang.srt.server.openai.requests import GenerationRequest
from sglang.srt.server.openai.responses import Choice, Ending, FinishType, PromptIds, Usage
from sglang.srt.server.openai.sampling import in_request_names
from sglang.srt.server.wire import LAST_EVENT, event, event_stream, json_response, unless_disconnected
from sglang.srt.tokenizer.call import GenerateCall
from sglang.srt.tokenizer.completion import Completion
from sglang.srt.tokenizer.generation import Generation
from sglang.srt.tokenizer.manager import TokenizerManager
from sglang.version import __version__


class Shape(Protocol):
    """How an API shows the sequences of one request."""

    @property
    def object(self) -> str: ...

    @property
    def chunk_object(self) -> str: ...

    @property
    def own_names(self) -> Mapping[str, str]:
        """What the API calls parameters, by the engine's names."""

    def prompt(self, completion: Completion) -> PromptIds:
        """What is said of its prompt beside the choices, in a stream with the first of them."""

    def choice(self, completion: Completion) -> Choice:
        """All of a finished sequence. Raises RequestAbortedError if it was aborted."""

    def chunks(self, completion: Completion) -> Iterable[Choice]:
        """What is new of a sequence, each to be sent by itself. Raises as above."""


class Answer:
    """The answer to one request. calls: one per prompt. Raises FieldError if the request's options do not fit."""

    def __init__(self, answer_id: str, model: str, request: GenerationRequest, calls: Sequence[GenerateCall]) -> None:
        options = request.stream_options
        if options is not None and not request.stream:
            raise FieldError("stream_options needs stream=true", "stream_options")
        self._request = request
        self._calls = calls
        self._include_usage = options is not None and bool(options.include_usage)
        self._usage_in_chunks = options is not None and bool(options.continuous_usage_stats)
        self._envelope = {
            "id": answer_id,
            "created": int(time.time()),
            "model": request.model or model,
            "system_fingerprint": f"sglang-{__version__}",
        }

    async def respond(self, http: Request, manager: TokenizerManager, shape: Shape) -> Response:
        """The whole answer, or a stream of its parts. A client that leaves ends the work.

        Raises SglangError; once a stream has begun, errors are events of it.
        """
        try:
            if self._request.stream:
                running = await manager.submit(self._calls, stream=True)
                return await event_stream(http, self._events(running, shape), running)
            completions = await unless_disconnected(http.receive, manager.collect(self._calls))
        except InvalidRequestError as error:
            raise in_request_names(error, self._request, shape.own_names) from error
        return json_response(self._whole(completions, shape))

    def _whole(self, completions: Sequence[Completion], shape: Shape) -> dict[str, Any]:
        choices = sorted(map(shape.choice, completions), key=lambda choice: choice["index"])
        envelope = {**self._envelope, "object": shape.object, **shape.prompt(completions[0])}
        usage = UsageCount(len(self._calls))
        for completion in completions:
            usage.add(completion)
        return {**envelope, "choices": choices, "usage": usage.so_far}

    async def _events(self, running: Generation, shape: Shape) -> AsyncGenerator[bytes, None]:
        usage = UsageCount(len(self._calls))
        try:
            async for completion in running:
                about = {} if usage.has_any else shape.prompt(completion)
                usage.add(completion)
                for choice in shape.chunks(completion):
                    yield self._chunk(shape, [choice], usage.so_far if self._usage_in_chunks else None, about)
                    about = {}
            if self._include_usage:
                yield self._chunk(shape, [], usage.so_far, {})
        except SglangError as error:
            yield event(error_body(error))
        yield LAST_EVENT

    def _chunk(self, shape: Shape, choices: list[Choice], usage: Usage | None, about: PromptIds) -> bytes:
        chunk = {**self._envelope, "object": shape.chunk_object, **about, "choices": choices}
        return event({**chunk, "usage": usage} if self._include_usage or usage else chunk)


class UsageCount:
    """Of a request's sequences, each added again when it has grown. Of the samples of a prompt, the one that found
    least in the cache tells what was there before.
    """

    def __init__(self, num_prompts: int) -> None:
        self._num_prompts = num_prompts
        self._prompt_tokens = self._completion_tokens = self._cached_tokens = 0
        self._counted: dict[int, int] = {}  # completion tokens, by the number of the sequence
        self._cached: dict[int, int] = {}  # by the number of the prompt

    @property
    def has_any(self) -> bool:
        return bool(self._counted)

    def add(self, completion: Completion) -> None:
        prompt = completion.index % self._num_prompts
        if prompt not in self._cached:
            self._prompt_tokens += completion.request.num_prompt_tokens
        known = self._cached.get(prompt)
        cached = completion.cached_tokens if known is None else min(known, completion.cached_tokens)
        self._cached_tokens += cached - (known or 0)
        self._cached[prompt] = cached
        num_tokens = len(completion.token_ids)
        self._completion_tokens += num_tokens - self._counted.get(completion.index, 0)
        self._counted[completion.index] = num_tokens

    @property
    def so_far(self) -> Usage:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": self._prompt_tokens + self._completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self._cached_tokens},
        }


def new_id(request: GenerationRequest, prefix: str) -> str:
    """Of an answer, and of its requests in the engine."""
    return request.rid or f"{prefix}-{uuid.uuid4().hex}"


def ending(completion: Completion, has_calls: bool = False) -> Ending:
    """How it ended, if it has. ``length`` is told of calls, too: more of them might have come. Raises
    RequestAbortedError for a sequence that was aborted.
    """
    finish = completion.finish_reason
    if finish is None:
        return {"finish_reason": None, "matched_stop": None}
    if finish.type == "abort":
        raise RequestAbortedError(finish.message or "the request was aborted")
    kind: FinishType = "tool_calls" if finish.type == "stop" and has_calls else finish.type
    found: Ending = {"finish_reason": kind, "matched_stop": finish.matched}
    return found if finish.closed is None else {**found, "closed": finish.closed}
