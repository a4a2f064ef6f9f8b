"""What all runtimes of the native API share: how a prompt is sent and what comes back. Subclasses carry it there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from sglang.lang.backends.base import Backend, Generated, Prompt, Segment
from sglang.lang.backends.scoring import LogprobRow, decide, tokens_of_choice
from sglang.lang.choices import ChoicesDecision, ChoicesSamplingMethod
from sglang.lang.ir import SamplingArguments
from sglang.srt.errors import BackendError, RequestAbortedError, shown

Payload = dict[str, Any]
"""A request of the native API: the JSON of ``POST /generate``, the arguments of ``Engine.generate``."""

REQUEST_FIELDS = ("return_logprob", "logprob_start_len", "top_logprobs_num", "return_text_in_logprobs")
"""Sampling arguments that stand beside ``sampling_params``, not in it."""

MARGIN = 4
"""Tokens at the end of a prompt that are looked at again with every choice: some may melt with its beginning. The first
of them is reported without a log-probability."""

COMPUTE_ONLY = {"max_new_tokens": 0, "temperature": 0.0}


class NativeBackend(Backend, ABC):
    """takes_segments: whether the runtime takes generated ids back as they are; otherwise it is sent text.

    template_stop: what ends an answer inside a role, where the runtime does not know that by itself.
    """

    takes_segments = True
    template_stop: tuple[str, ...] = ()

    @abstractmethod
    async def _post(self, payload: Payload) -> Any:
        """The result of a request, or the list of its results."""

    @abstractmethod
    def _stream(self, payload: Payload) -> AsyncGenerator[Any, None]:
        """The results of a request for one sequence as it grows, the last one complete. Closing it ends the request."""

    async def generate(self, prompt: Prompt, sampling: SamplingArguments) -> list[Generated]:
        return _all_generated(await self._post(self._payload(prompt, sampling)))

    async def stream(self, prompt: Prompt, sampling: SamplingArguments) -> AsyncGenerator[Generated, None]:
        async with aclosing(self._stream(self._payload(prompt, sampling))) as results:
            async for result in results:
                yield _generated(result)

    async def select(self, prompt: Prompt, choices: Sequence[str], method: ChoicesSamplingMethod) -> ChoicesDecision:
        """Every choice is scored as the text that continues the prompt, tokenized together with it.

        So a token may begin in the prompt and end in the choice: such a token counts as the choice's. The meta info
        counts the tokens of the prompt.
        """
        first = await self._compute(prompt)
        start = max(_reported(first, "prompt_tokens") - MARGIN, 0)
        *scored, alone = await self._score(self._continuations(prompt, [*choices, ""]), start)
        before = _input_logprobs(alone)
        rows = [
            tokens_of_choice(choice, _input_logprobs(result), before)
            for choice, result in zip(choices, scored, strict=True)
        ]
        outputs = [result.meta_info.get("output_token_logprobs", []) for result in scored]
        by_themselves = await self._score_alone(rows) if method.requires_unconditional_logprobs else []
        unconditional = [_input_logprobs(result) for result in by_themselves] or None
        made = decide(method, choices, rows, outputs, unconditional)
        return replace(made, meta_info={**made.meta_info, **_usage(first)})

    async def cache_prefix(self, prompt: Prompt) -> None:
        await self._compute(prompt)

    async def _compute(self, prompt: Prompt) -> Generated:
        """Nothing after the prompt, which is in the cache then."""
        return _generated(await self._post({**self._prompt(prompt), "sampling_params": COMPUTE_ONLY}))

    async def _score_alone(self, rows: Sequence[Sequence[LogprobRow]]) -> list[Generated]:
        """The same tokens with nothing before them."""
        return await self._score({"input_ids": [[token_id for _, token_id, _ in row] for row in rows]}, 0)

    async def _score(self, prompts: Payload, start: int) -> list[Generated]:
        """Nothing after several prompts, but the log-probabilities of their tokens from `start` on."""
        wanted = {"return_logprob": True, "logprob_start_len": start, "return_text_in_logprobs": True}
        return _all_generated(await self._post({**prompts, "sampling_params": COMPUTE_ONLY, **wanted}))

    def _payload(self, prompt: Prompt, sampling: SamplingArguments) -> Payload:
        if self.template_stop and prompt.open_role is not None:
            sampling = sampling.with_stops(self.template_stop)
        params = dict(sampling.given())
        fields = {name: params.pop(name) for name in REQUEST_FIELDS if name in params}
        return {**self._prompt(prompt), "sampling_params": params, **fields}

    def _prompt(self, prompt: Prompt) -> Payload:
        return {"segments": prompt.segments or ("",)} if self.takes_segments else {"text": prompt.text}

    def _continuations(self, prompt: Prompt, texts: Sequence[str]) -> Payload:
        if self.takes_segments:
            return {"segments": [(*prompt.segments, text) for text in texts]}
        return {"text": [prompt.text + text for text in texts]}


def _all_generated(answer: Any) -> list[Generated]:
    """A single result comes alone, several as a list."""
    return [_generated(result) for result in (answer if isinstance(answer, list) else [answer])]


def _generated(result: Any) -> Generated:
    match result:
        case {"meta_info": {"finish_reason": {"type": "abort", **reason}}}:
            raise RequestAbortedError(str(reason.get("message") or "the request was aborted on the server"))
        case {"text": str(text), "meta_info": dict(meta_info)}:
            return Generated(text, meta_info, _segments(result.get("segments")))
    raise BackendError(f"a result has 'text' and 'meta_info', but the server answered {shown(result)}")


def _segments(pieces: Sequence[Any] | None) -> tuple[Segment, ...] | None:
    return None if pieces is None else tuple(piece if isinstance(piece, str) else tuple(piece) for piece in pieces)


def _input_logprobs(scored: Generated) -> list[LogprobRow]:
    return [(logprob, token_id, text) for logprob, token_id, text in _reported(scored, "input_token_logprobs")]


def _usage(result: Generated) -> dict[str, Any]:
    names = ("prompt_tokens", "cached_tokens", "completion_tokens")
    return {name: result.meta_info[name] for name in names if name in result.meta_info}


def _reported(scored: Generated, name: str) -> Any:
    if name not in scored.meta_info:
        raise BackendError(f"select needs {name!r} of a prompt, which the server does not report")
    return scored.meta_info[name]
