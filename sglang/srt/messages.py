"""Everything the text process and the engine process say to each other: msgpack, one message per call and per step.

Text to engine: SetVocab (once, first), Submit, Abort, FlushCache, GetStats, Shutdown (last).
Engine to text: Ready or StartupFailed (once, first), StepOutput, Reply.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from sglang.srt.args import EngineArgs
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.vocab import Vocab

TOKEN_BYTES = 4


class EngineStart(msgspec.Struct, frozen=True, kw_only=True):
    """How to start the engine process: the first thing that it is told."""

    args: EngineArgs
    model_path: str


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One sequence to continue, fully checked. A call with n samples or many prompts is many of these.

    ``namespace`` isolates the prefix cache. ``logprob_start_len=None`` means no input log-probabilities.
    ``stream=False`` lets the engine hold everything back until the end. ``grammar`` is what ``params.constraint`` was
    lowered to: checked text in the notation of llguidance.

    ``candidates`` belong to the last prompt tokens, a list of ids to each: how likely is each of them as the next one?
    Answered for the tokens that this request computes, the last one among them, and not for what it finds in the cache:
    of several requests with a common prefix, whichever computes a token answers for it.
    """

    rid: str
    input_ids: bytes  # int32 in the machine's order
    max_new_tokens: int
    params: SamplingParams
    seed: int
    sample_index: int = 0
    stream: bool = False
    return_logprob: bool = False
    logprob_start_len: int | None = None
    top_logprobs_num: int = 0
    namespace: str = ""
    grammar: str | None = None
    candidates: list[list[int]] = []

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.input_ids) // TOKEN_BYTES

    @property
    def prompt_token_ids(self) -> list[int]:
        return memoryview(self.input_ids).cast("i").tolist()


class SetVocab(msgspec.Struct, frozen=True, tag="vocab"):
    vocab: Vocab


class Submit(msgspec.Struct, frozen=True, tag="submit"):
    requests: list[GenerateRequest]


class Abort(msgspec.Struct, frozen=True, tag="abort"):
    rids: list[str]


class FlushCache(msgspec.Struct, frozen=True, tag="flush"):
    call_id: int


class GetStats(msgspec.Struct, frozen=True, tag="stats"):
    call_id: int


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """The last message: the engine process ends without finishing what it has."""


ToEngine = SetVocab | Submit | Abort | FlushCache | GetStats | Shutdown


class FinishReason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a sequence ended. ``matched`` is the stop string or token id; ``message`` says why it was aborted.

    ``closed``: whether an output with a constraint satisfies it although its tokens ran out.
    """

    type: Literal["stop", "length", "abort"]
    matched: int | str | None = None
    length: int | None = None
    message: str | None = None
    status_code: int | None = None
    closed: bool | None = None


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """Natural-log probability of a token under the model's own distribution, before any sampling parameter.

    ``logprob`` is None only for the first input token asked about. ``top`` holds (logprob, token id), best first.
    """

    logprob: float | None
    token_id: int
    top: list[tuple[float, int]] | None = None


class CandidateLogprobs(msgspec.Struct, frozen=True, array_like=True):
    """Natural-log probabilities of the candidates after the prompt token at ``position``, in their order."""

    position: int
    logprobs: list[float]


class RequestOutput(msgspec.Struct, array_like=True):
    """What one step (or, without streaming, all steps) added to one request. ``finish`` is set exactly once.

    ``cached_tokens``, ``num_retractions`` and ``forced_tokens``, which the constraint left no choice for, count from
    the request's beginning. ``first_token_latency`` is in seconds since the engine got the request.
    """

    rid: str
    token_ids: list[int]
    text: bytes
    finish: FinishReason | None = None
    cached_tokens: int = 0
    num_retractions: int = 0
    input_logprobs: list[TokenLogprob] | None = None
    output_logprobs: list[TokenLogprob] | None = None
    candidate_logprobs: list[CandidateLogprobs] | None = None
    forced_tokens: int = 0
    first_token_latency: float | None = None


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the text process must know to check requests, and what it reports to users.

    dtype: of most weights, ``q4_1`` and the like where they are quantised. kernels: the native ones' level, or torch.
    """

    context_length: int
    vocab_size: int
    max_total_tokens: int
    max_running_requests: int
    chunked_prefill_size: int
    dtype: str
    kv_cache_dtype: str
    kernels: str
    kv_bytes_per_token: int
    num_threads: int
    load_seconds: float


class EngineStats(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot between two steps. Token counts of the cache add up to ``total_tokens``; the rest only grow."""

    num_running: int
    num_waiting: int
    total_tokens: int
    free_tokens: int
    evictable_tokens: int
    protected_tokens: int
    running_tokens: int
    num_steps: int
    computed_tokens: int
    cached_tokens: int
    generated_tokens: int
    num_retractions: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    info: EngineInfo


class StartupFailed(msgspec.Struct, frozen=True, tag="startup_failed"):
    error: str
    message: str


class StepOutput(msgspec.Struct, frozen=True, tag="step"):
    outputs: list[RequestOutput]


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    """The answer to FlushCache (``stats`` after it) or GetStats."""

    call_id: int
    stats: EngineStats


FromEngine = Ready | StartupFailed | StepOutput | Reply
