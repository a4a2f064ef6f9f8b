"""The text side of every request: check it, tokenize it, send it, and follow it to its one final answer."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sglang.srt.errors import EngineDeadError, InvalidRequestError, RequestAbortedError, shown, too_long
from sglang.srt.grammar.lowering import Lowering
from sglang.srt.messages import (
    TOKEN_BYTES,
    Abort,
    EngineInfo,
    EngineStats,
    FlushCache,
    FromEngine,
    GenerateRequest,
    GetStats,
    Reply,
    StepOutput,
    Submit,
)
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.tokenizer.call import GenerateCall, Prompt
from sglang.srt.tokenizer.call_limits import (
    check_grammars,
    check_number,
    check_size,
    logprob_start,
    top_logprobs_num,
)
from sglang.srt.tokenizer.channel import EngineChannel
from sglang.srt.tokenizer.completion import Completion
from sglang.srt.tokenizer.generation import Generation
from sglang.srt.tokenizer.observer import Observers
from sglang.srt.tokenizer.score_memory import ScoreMemory
from sglang.srt.tokenizer.seams import Segments
from sglang.srt.tokenizer.token_index import TokenIndex
from sglang.srt.tokenizer.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

LONG_TEXT = 20_000
"""Characters from which tokenizing happens in a thread, so that other requests' streams go on."""


_COMPUTE_ONLY = SamplingParams(max_new_tokens=0)


class ScoredPrefix(NamedTuple):
    """Token ids, and the candidates for the token after each of the last of them; see `GenerateRequest`."""

    token_ids: Sequence[int]
    candidates: Sequence[list[int]]


class TokenizerManager:
    """Belongs to one event loop. Doors call `submit` or `collect`; leaving either early aborts what is unfinished."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        channel: EngineChannel,
        info: EngineInfo,
        sampling_defaults: dict[str, Any],
        random_seed: int | None,
        score_memory: ScoreMemory,
        lowering: Lowering,
    ) -> None:
        self.tokenizer = tokenizer
        self.info = info
        self.score_memory = score_memory
        self._channel = channel
        self._sampling_defaults = sampling_defaults
        self._seeds = random.Random(random_seed)
        self._lowering = lowering
        self._longest_token = max(map(len, tokenizer.vocab.token_bytes))
        # Every request whose final answer is still to come; None once its caller has given up.
        self._claimed: set[str] = set()
        self._not_sent: dict[int, tuple[Sequence[GenerateCall], list[str]]] = {}
        self._generations: dict[str, Generation | None] = {}
        self._replies: dict[int, asyncio.Future[EngineStats]] = {}
        self._token_index: TokenIndex | None = None
        self._num_calls = 0
        self._death: str | None = None
        self.observers = Observers()
        channel.listen(self._on_message, self._engine_died)

    async def submit(self, calls: Sequence[GenerateCall], stream: bool) -> Generation:
        """Check and send the calls. What comes back must be closed; closing it aborts what is unfinished.

        Without `stream` a sequence comes once, when it has finished. The sequences of prompt i are numbered
        i, i + len(calls), i + 2 * len(calls), ... for its ``n`` samples. Raises InvalidRequestError before anything is
        sent, or EngineDeadError.
        """
        check_number(calls, n=1)
        with self.observers.called(calls), self._coming(calls) as unwanted:
            requests = await self._prepare(calls, stream)
            generation = self._send([self._completion(*pair, calls) for pair in enumerate(requests)])
            self._abort([request.rid for request in requests if request.rid.startswith(tuple(unwanted))])
            return generation

    async def collect(self, calls: Sequence[GenerateCall]) -> list[Completion]:
        """All sequences of all calls, finished, in the order of their numbers. Cancelling aborts. Raises as above."""
        return await _finished(await self.submit(calls, stream=False))

    async def compute(self, prefixes: Sequence[ScoredPrefix], rid: str, namespace: str) -> list[Completion]:
        """Compute token ids with candidates and generate nothing. The completions, in order. Cancelling aborts.

        Their rids are `rid` with a number. Raises as `submit`, before anything is sent, and RequestAbortedError if one
        was aborted.
        """
        self._check_alive()
        check_size([prefix.token_ids for prefix in prefixes], n=1)
        completions = []
        for index, prefix in enumerate(prefixes):
            self._limit(len(prefix.token_ids))
            request = GenerateRequest(
                rid=f"{rid}_{index}",
                input_ids=_packed(prefix.token_ids),
                max_new_tokens=0,
                params=_COMPUTE_ONLY,
                seed=0,
                namespace=namespace,
                candidates=list(prefix.candidates),
            )
            completions.append(Completion(request, index, decode_for_logprobs=None))
        finished = await _finished(self._send(completions))
        for completion in finished:
            if completion.finish_reason is not None and completion.finish_reason.type == "abort":
                raise RequestAbortedError(completion.finish_reason.message)
        return finished

    async def score(self, call: GenerateCall, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """The answer that `work` finds with `compute`. Raises InvalidRequestError if another such call has its rid."""
        with self.observers.called([call]), self._claiming(call.rid):
            answer = await work()
        self.observers.on_scores(call, answer)
        return answer

    async def tokenize(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The ids of whole prompts, without holding up anybody. Raises InvalidRequestError for what can never fit."""
        lengths = [_num_characters(prompt) for prompt in prompts]
        ids = await self._encode(lengths, partial(self.tokenizer.encode_prompts, prompts))
        for prompt in ids:
            self._check_ids(prompt)
        return ids

    async def encode(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[list[int]]:
        """`Tokenizer.encode_batch` that holds up nobody. Raises InvalidRequestError for a text that can never fit."""
        lengths = [len(text) for text in texts]
        return await self._encode(lengths, partial(self.tokenizer.encode_batch, texts, add_special_tokens))

    async def encode_continuations(self, texts: Sequence[str]) -> list[list[int]]:
        """`Tokenizer.encode_continuations` that holds up nobody. Raises as `encode`."""
        return await self._encode([len(text) for text in texts], partial(self.tokenizer.encode_continuations, texts))

    def decode_token(self, ids: list[int]) -> str:
        """The text of tokens, of special ones too."""
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    async def token_index(self) -> TokenIndex:
        """Of the tokens that the model can say."""
        if self._token_index is None:
            token_bytes = self.tokenizer.vocab.token_bytes[: self.info.vocab_size]
            self._token_index = await asyncio.to_thread(TokenIndex, token_bytes)
        return self._token_index

    @property
    def max_prompt_tokens(self) -> int:
        """A longer prompt does not fit."""
        return min(self.info.context_length, self.info.max_total_tokens) - 1

    def seed(self, params: SamplingParams) -> int:
        """The one asked for, or a new one."""
        return self._seeds.getrandbits(63) if params.sampling_seed is None else params.sampling_seed

    async def stats(self) -> EngineStats:
        return await self._call(GetStats(self._next_call()))

    async def flush_cache(self) -> EngineStats:
        """Forget every cached prefix that no running request uses."""
        self.score_memory.clear()
        return await self._call(FlushCache(self._next_call()))

    def abort(self, prefix: str) -> int:
        """End all requests whose rid begins so, and say how many. Each gets its final answer, with the finish reason
        ``abort``; those of calls that are still tokenized or lowered, as soon as they are sent.
        """
        rids = [rid for rid, generation in self._generations.items() if generation and rid.startswith(prefix)]
        self._abort(rids)
        num_found = len(rids)
        for calls, unwanted in self._not_sent.values():
            if found := sum(call.rid.startswith(prefix) for call in calls):
                unwanted.append(prefix)
                num_found += found
        return num_found

    def close(self, reason: str = "the engine was shut down; create a new one to go on") -> None:
        """No request is accepted any more; those running get EngineDeadError, as do later ones."""
        self._on_death(reason)

    async def _prepare(self, calls: Sequence[GenerateCall], stream: bool) -> list[GenerateRequest]:
        self._check_alive()
        params = [
            SamplingParams.parse(call.sampling_params, self._sampling_defaults, self.info.vocab_size) for call in calls
        ]
        if len({one.n for one in params}) > 1:
            raise InvalidRequestError(
                f"n must be the same for all prompts of a call, not {shown([one.n for one in params])}"
            )
        grammars = [await self._lowering.lower(one, call.frame) for call, one in zip(calls, params, strict=True)]
        check_grammars(grammars, params[0].n)
        prompts = await self.tokenize([call.prompt for call in calls])
        check_size(prompts, params[0].n)
        packed = [_packed(prompt) for prompt in prompts]
        seeds = [self.seed(one) for one in params]
        return [
            self._request(call, input_ids, one, grammar, seed, sample_index, stream)
            for sample_index in range(params[0].n)
            for call, input_ids, one, grammar, seed in zip(calls, packed, params, grammars, seeds, strict=True)
        ]

    def _completion(self, index: int, request: GenerateRequest, calls: Sequence[GenerateCall]) -> Completion:
        call = calls[index % len(calls)]
        decode = self.decode_token if call.return_text_in_logprobs else None
        vocab = self.tokenizer.vocab if isinstance(call.prompt, Segments) else None
        return Completion(request, index, decode, vocab)

    def _send(self, completions: Sequence[Completion]) -> Generation:
        requests = [completion.request for completion in completions]
        self._check_unused([request.rid for request in requests])
        self._channel.send(Submit(requests))
        self.observers.on_submit(requests, min((one.started for one in completions), default=0.0))
        generation = Generation(completions, self._give_up)
        self._generations.update(dict.fromkeys((request.rid for request in requests), generation))
        return generation

    @contextmanager
    def _coming(self, calls: Sequence[GenerateCall]) -> Iterator[list[str]]:
        """Calls that are being made ready, with the beginnings of rids that are to be aborted."""
        unwanted: list[str] = []
        self._not_sent[id(unwanted)] = calls, unwanted
        try:
            yield unwanted
        finally:
            del self._not_sent[id(unwanted)]

    @contextmanager
    def _claiming(self, rid: str) -> Iterator[None]:
        if rid in self._claimed:
            raise InvalidRequestError(f"rid {rid!r} is in use; give every request its own")
        self._claimed.add(rid)
        try:
            yield
        finally:
            self._claimed.discard(rid)

    def _check_alive(self) -> None:
        if self._death is not None:
            raise EngineDeadError(self._death)

    def _check_unused(self, rids: Sequence[str]) -> None:
        for rid, count in Counter(rids).items():
            if count > 1 or rid in self._generations:
                raise InvalidRequestError(f"rid {rid!r} is in use; give every request its own")

    async def _encode(self, lengths: Sequence[int], encode: Callable[[], list[list[int]]]) -> list[list[int]]:
        """`encode` what has these numbers of characters, in a thread if they are many."""
        for num_characters in lengths:
            self._check_length(num_characters)
        return encode() if sum(lengths) < LONG_TEXT else await asyncio.to_thread(encode)

    def _check_length(self, num_characters: int) -> None:
        """Refuse what cannot fit before spending time on it: no token stands for more than the longest one's bytes."""
        limit = self.info.context_length * self._longest_token
        if num_characters > limit:
            raise too_long(
                f"The input ({num_characters} characters) is longer than the model's context length "
                f"({self.info.context_length} tokens) allows."
            )

    def _check_ids(self, ids: Sequence[int]) -> None:
        for token_id in ids:
            if not 0 <= token_id < self.info.vocab_size:
                raise InvalidRequestError(
                    f"the prompt has token id {shown(token_id)}; valid ids are 0 to {self.info.vocab_size - 1}"
                )

    def _request(
        self,
        call: GenerateCall,
        input_ids: bytes,
        params: SamplingParams,
        grammar: str | None,
        seed: int,
        sample_index: int,
        stream: bool,
    ) -> GenerateRequest:
        num_prompt = len(input_ids) // TOKEN_BYTES
        is_default = "max_new_tokens" not in call.sampling_params
        max_new_tokens = self._max_new_tokens(num_prompt, params.max_new_tokens, is_default)
        if call.sampling_params.get("logprobs_mode") is not None and not call.return_logprob:
            raise InvalidRequestError(f"logprobs_mode={params.logprobs_mode} needs return_logprob=true")
        start = logprob_start(call, num_prompt)
        return GenerateRequest(
            rid=call.rid if params.n == 1 else f"{call.rid}_{sample_index}",
            input_ids=input_ids,
            max_new_tokens=max_new_tokens,
            params=params.without_constraint(),
            grammar=grammar,
            seed=seed,
            sample_index=sample_index,
            stream=stream,
            return_logprob=call.return_logprob,
            logprob_start_len=start,
            top_logprobs_num=top_logprobs_num(call, max_new_tokens + (0 if start is None else num_prompt - start)),
            namespace=call.namespace,
        )

    def _max_new_tokens(self, num_prompt: int, asked: int | None, is_default: bool) -> int:
        """What there is room for; an explicit number that does not fit is refused."""
        limit, name = self._limit(num_prompt)
        room = limit - num_prompt
        if asked is None or (is_default and asked > room):
            return room
        if asked > room:
            raise too_long(
                f"Requested token count exceeds {name} of {limit} tokens: {num_prompt} input tokens "
                f"and max_new_tokens={asked}; at most {room} new tokens fit."
            )
        return asked

    def _limit(self, num_prompt: int) -> tuple[int, str]:
        """How many tokens a sequence may have, and why. Raises InvalidRequestError for a prompt that does not fit."""
        if num_prompt == 0:
            raise InvalidRequestError("the prompt is empty: it has no tokens")
        limit, name = self.info.context_length, "the model's context length"
        if self.info.max_total_tokens < limit:
            limit, name = self.info.max_total_tokens, "the key/value cache"
        if num_prompt >= limit:
            raise too_long(f"The input ({num_prompt} tokens) is longer than {name} ({limit} tokens) allows.")
        return limit, name

    def _give_up(self, unfinished: list[str]) -> None:
        """Nobody waits for these any more; their final answers are still to come."""
        self._generations.update(dict.fromkeys(unfinished))
        with suppress(EngineDeadError):  # then there is nothing left to abort
            self._abort(unfinished)

    def _abort(self, rids: list[str]) -> None:
        if rids:
            self._channel.send(Abort(rids))

    def _on_message(self, message: FromEngine) -> None:
        if isinstance(message, StepOutput):
            self.observers.on_outputs(message.outputs)
            for output in message.outputs:
                generation = self._generations[output.rid]
                if output.finish is not None:
                    del self._generations[output.rid]
                if generation is not None:
                    generation.put(output)
        elif isinstance(message, Reply):
            reply = self._replies.pop(message.call_id)
            if not reply.cancelled():
                reply.set_result(message.stats)
        else:
            raise AssertionError(f"{type(message).__name__} is not expected here")

    def _engine_died(self, reason: str) -> None:
        logger.error(reason)
        self._on_death(reason)

    def _on_death(self, reason: str) -> None:
        self._death = self._death or reason
        self.observers.on_death(reason)
        for generation in set(self._generations.values()):
            if generation is not None:
                generation.die(reason)
        for reply in self._replies.values():
            if not reply.cancelled():
                reply.set_exception(EngineDeadError(reason))
        self._replies.clear()

    async def _call(self, message: GetStats | FlushCache) -> EngineStats:
        self._check_alive()
        reply: asyncio.Future[EngineStats] = asyncio.get_running_loop().create_future()
        self._replies[message.call_id] = reply
        self._channel.send(message)
        return await reply

    def _next_call(self) -> int:
        self._num_calls += 1
        return self._num_calls


async def _finished(running: Generation) -> list[Completion]:
    """All sequences, in the order of their numbers."""
    async with aclosing(running):
        finished = [completion async for completion in running]
    return sorted(finished, key=lambda completion: completion.index)


def _packed(token_ids: Sequence[int]) -> bytes:
    return np.array(token_ids, dtype=np.int32).tobytes()


def _num_characters(prompt: Prompt) -> int:
    """Of the text in it."""
    pieces = prompt.pieces if isinstance(prompt, Segments) else (prompt,)
    return sum(len(piece) for piece in pieces if isinstance(piece, str))
