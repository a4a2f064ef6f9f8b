"""The text side of every request: check it, tokenize it, send it, and follow it to its one final answer."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any

from sglang.srt.errors import EngineDeadError, InvalidRequestError, RequestFailedError
from sglang.srt.messages import (
    Abort,
    EngineInfo,
    EngineStats,
    FlushCache,
    FromEngine,
    GenerateRequest,
    GetStats,
    Reply,
    RequestOutput,
    StepOutput,
    Submit,
)
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.tokenizer.call import GenerateCall
from sglang.srt.tokenizer.channel import EngineChannel
from sglang.srt.tokenizer.completion import Completion
from sglang.srt.tokenizer.tokenizer import Tokenizer

LONG_TEXT = 20_000
"""Characters from which tokenizing happens in a thread, so that other requests' streams go on."""


class TokenizerManager:
    """Belongs to one event loop. Doors call `submit` or `collect`; leaving either early aborts what is unfinished."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        channel: EngineChannel,
        info: EngineInfo,
        sampling_defaults: dict[str, Any],
        random_seed: int | None,
    ) -> None:
        self.tokenizer = tokenizer
        self.info = info
        self._channel = channel
        self._sampling_defaults = sampling_defaults
        self._seeds = random.Random(random_seed)
        # Every request whose final answer is still to come; None once its caller has left.
        self._inboxes: dict[str, asyncio.Queue[RequestOutput] | None] = {}
        self._replies: dict[int, asyncio.Future[EngineStats]] = {}
        self._num_calls = 0
        self._death: EngineDeadError | None = None
        channel.listen(self._on_message, self._on_death)

    async def submit(self, calls: Sequence[GenerateCall], stream: bool) -> AsyncGenerator[Completion, None]:
        """Check and send the calls. The result yields a sequence whenever it has grown (without `stream`: when it has
        finished), until all have; closing it aborts what is unfinished.

        The sequences of prompt i are numbered i, i + len(calls), i + 2 * len(calls), ... for its ``n`` samples.
        Raises InvalidRequestError before anything is sent; the result raises RequestFailedError or EngineDeadError.
        """
        requests = await self._prepare(calls, stream)
        completions: dict[str, Completion] = {}
        for index, request in enumerate(requests):
            decode = self._decode_token if calls[index % len(calls)].return_text_in_logprobs else None
            completions[request.rid] = Completion(request, index, decode)
        return self._follow(completions)

    async def collect(self, calls: Sequence[GenerateCall]) -> list[Completion]:
        """All sequences of all calls, finished, in the order of their numbers. Cancelling aborts. Raises as above."""
        async with aclosing(await self.submit(calls, stream=False)) as running:
            finished = [completion async for completion in running]
        return sorted(finished, key=lambda completion: completion.index)

    async def stats(self) -> EngineStats:
        return await self._call(GetStats(self._next_call()))

    async def flush_cache(self) -> EngineStats:
        """Forget every cached prefix that no running request uses."""
        return await self._call(FlushCache(self._next_call()))

    def close(self) -> None:
        """No request is accepted any more; those running get EngineDeadError."""
        self._on_death(EngineDeadError("the engine was shut down; create a new one to go on"))

    async def _prepare(self, calls: Sequence[GenerateCall], stream: bool) -> list[GenerateRequest]:
        if self._death is not None:
            raise self._death
        prompts = await self._tokenize([call.prompt for call in calls])
        params = [
            SamplingParams.parse(call.sampling_params, self._sampling_defaults, self.info.vocab_size) for call in calls
        ]
        if len({one.n for one in params}) > 1:
            raise InvalidRequestError(f"n must be the same for all prompts of a call, not {[one.n for one in params]}")
        requests: list[GenerateRequest] = []
        seeds = [self._seeds.getrandbits(63) if one.sampling_seed is None else one.sampling_seed for one in params]
        for sample_index in range(params[0].n):
            for call, input_ids, one, seed in zip(calls, prompts, params, seeds, strict=True):
                request = self._request(call, input_ids, one, seed, sample_index, stream)
                requests.append(request)
        self._check_unused([request.rid for request in requests])
        return requests

    def _check_unused(self, rids: Sequence[str]) -> None:
        for rid, count in Counter(rids).items():
            if count > 1 or rid in self._inboxes:
                raise InvalidRequestError(f"rid {rid!r} is in use; give every request its own")

    async def _tokenize(self, prompts: Sequence[str | Sequence[int]]) -> list[list[int]]:
        texts = [prompt for prompt in prompts if isinstance(prompt, str)]
        if sum(map(len, texts)) < LONG_TEXT:
            encoded = iter(self.tokenizer.encode_batch(texts))
        else:
            encoded = iter(await asyncio.to_thread(self.tokenizer.encode_batch, texts))
        return [next(encoded) if isinstance(prompt, str) else self._check_ids(prompt) for prompt in prompts]

    def _check_ids(self, ids: Sequence[int]) -> list[int]:
        for token_id in ids:
            if not 0 <= token_id < self.info.vocab_size:
                raise InvalidRequestError(f"input_ids has {token_id}; valid ids are 0 to {self.info.vocab_size - 1}")
        return list(ids)

    def _request(
        self,
        call: GenerateCall,
        input_ids: list[int],
        params: SamplingParams,
        seed: int,
        sample_index: int,
        stream: bool,
    ) -> GenerateRequest:
        is_asked_for_default = "max_new_tokens" not in call.sampling_params
        return GenerateRequest(
            rid=call.rid if params.n == 1 else f"{call.rid}_{sample_index}",
            input_ids=input_ids,
            max_new_tokens=self._max_new_tokens(len(input_ids), params.max_new_tokens, is_asked_for_default),
            params=params,
            seed=seed,
            sample_index=sample_index,
            stream=stream,
            return_logprob=call.return_logprob,
            logprob_start_len=_logprob_start(call, len(input_ids)),
            top_logprobs_num=self._top_logprobs_num(call),
            namespace=call.namespace,
        )

    def _max_new_tokens(self, num_prompt: int, asked: int | None, is_default: bool) -> int:
        """What there is room for; an explicit number that does not fit is refused."""
        if num_prompt == 0:
            raise InvalidRequestError("the prompt is empty: it has no tokens")
        limit, name = self.info.context_length, "the model's context length"
        if self.info.max_total_tokens < limit:
            limit, name = self.info.max_total_tokens, "the key/value cache (max_total_tokens)"
        if num_prompt >= limit:
            raise InvalidRequestError(f"The input ({num_prompt} tokens) is longer than {name} ({limit} tokens) allows.")
        room = limit - num_prompt
        if asked is None or (is_default and asked > room):
            return room
        if asked > room:
            raise InvalidRequestError(
                f"Requested token count exceeds {name} of {limit} tokens: {num_prompt} input tokens "
                f"and max_new_tokens={asked}; at most {room} new tokens fit."
            )
        return asked

    def _top_logprobs_num(self, call: GenerateCall) -> int:
        asked = call.top_logprobs_num
        if not 0 <= asked <= self.info.vocab_size:
            raise InvalidRequestError(f"top_logprobs_num must be 0 to {self.info.vocab_size}, not {asked}")
        if asked and not call.return_logprob:
            raise InvalidRequestError(f"top_logprobs_num={asked} needs return_logprob=true")
        return asked

    async def _follow(self, completions: dict[str, Completion]) -> AsyncGenerator[Completion, None]:
        inbox: asyncio.Queue[RequestOutput] = asyncio.Queue()
        self._check_unused(list(completions))
        self._channel.send(Submit([completion.request for completion in completions.values()]))
        self._inboxes.update(dict.fromkeys(completions, inbox))
        try:
            num_unfinished = len(completions)
            while num_unfinished:
                output = await self._next_output(inbox)
                completion = completions[output.rid]
                completion.update(output)
                num_unfinished -= output.finish is not None
                if output.finish is not None and output.finish.status_code == RequestFailedError.http_status:
                    raise RequestFailedError(output.finish.message)
                yield completion
        finally:
            self._leave([rid for rid in completions if self._inboxes.get(rid) is inbox])

    def _leave(self, unfinished: list[str]) -> None:
        """Nobody waits for these any more."""
        self._inboxes.update(dict.fromkeys(unfinished))
        if unfinished:
            with suppress(EngineDeadError):  # then there is nothing left to abort
                self._channel.send(Abort(unfinished))

    async def _next_output(self, inbox: asyncio.Queue[RequestOutput]) -> RequestOutput:
        """Raises EngineDeadError when there will be none."""
        output = await inbox.get()
        if self._death is not None:
            raise self._death
        return output

    def _decode_token(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def _on_message(self, message: FromEngine) -> None:
        if isinstance(message, StepOutput):
            for output in message.outputs:
                inbox = self._inboxes[output.rid]
                if output.finish is not None:
                    del self._inboxes[output.rid]
                if inbox is not None:
                    inbox.put_nowait(output)
        elif isinstance(message, Reply):
            reply = self._replies.pop(message.call_id)
            if not reply.cancelled():
                reply.set_result(message.stats)
        else:
            raise AssertionError(f"{type(message).__name__} is not expected here")

    def _on_death(self, error: EngineDeadError) -> None:
        """Wake everyone who waits; they find `_death` set."""
        self._death = error
        for rid, inbox in self._inboxes.items():
            if inbox is not None:
                inbox.put_nowait(RequestOutput(rid, [], b""))
        for reply in self._replies.values():
            if not reply.cancelled():
                reply.set_exception(error)
        self._replies.clear()

    async def _call(self, message: GetStats | FlushCache) -> EngineStats:
        if self._death is not None:
            raise self._death
        reply: asyncio.Future[EngineStats] = asyncio.get_running_loop().create_future()
        self._replies[message.call_id] = reply
        self._channel.send(message)
        return await reply

    def _next_call(self) -> int:
        self._num_calls += 1
        return self._num_calls


def _logprob_start(call: GenerateCall, num_prompt: int) -> int | None:
    start = call.logprob_start_len
    if not -1 <= start <= num_prompt:
        raise InvalidRequestError(f"logprob_start_len must be -1 (none) to {num_prompt} (the prompt), not {start}")
    if start >= 0 and not call.return_logprob:
        raise InvalidRequestError(f"logprob_start_len={start} needs return_logprob=true")
    return None if start in (-1, num_prompt) else start
