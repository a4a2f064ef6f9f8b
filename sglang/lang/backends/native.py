"""What all runtimes of the native API share: how a prompt is sent and what comes back. Subclasses carry it there."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

from sglang.lang.backends.base import Backend, Generated, Prompt, Segment
from sglang.lang.backends.scoring import LogprobRow, decide, tokens_of_choice
from sglang.lang.choices import ChoicesDecision, ChoicesSamplingMethod, Exact
from sglang.lang.ir import SamplingArguments
from sglang.srt.errors import (
    BackendError,
    InvalidRequestError,
    RequestAbortedError,
    SglangError,
    UnsupportedError,
    shown,
)

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

    takes_choices: whether it has ``/select`` and ``/score_choices``; otherwise prompts are scored to select.

    template_stop: what ends an answer inside a role, where the runtime does not know that by itself.
    """

    takes_segments = True
    takes_choices = True
    template_stop: tuple[str, ...] = ()

    @abstractmethod
    async def _post(self, payload: Payload) -> Any:
        """The result of a request, or the list of its results."""

    @abstractmethod
    async def _post_select(self, payload: Payload) -> Any:
        """The result of a ``/select``."""

    @abstractmethod
    async def _post_score_choices(self, payload: Payload) -> Any:
        """The result of a ``/score_choices``."""

    @abstractmethod
    async def _post_separate_reasoning(self, payload: Payload) -> Any:
        """The result of a ``/separate_reasoning``."""

    @abstractmethod
    def _stream(self, payload: Payload) -> AsyncGenerator[Any, None]:
        """The results of a request for one sequence as it grows, the last one complete. Closing it ends the request."""

    async def generate(self, prompt: Prompt, sampling: SamplingArguments) -> list[Generated]:
        _check_may_think(sampling)
        payload = self._payload(prompt, sampling)
        with _naming(payload):
            answers = _all_generated(await self._post(payload))
            if (reasoning_parser := sampling.separate_reasoning) is None:
                return answers
            return [await self._without_reasoning(answer, reasoning_parser) for answer in answers]

    async def stream(self, prompt: Prompt, sampling: SamplingArguments) -> AsyncGenerator[Generated, None]:
        payload = self._payload(prompt, sampling)
        with _naming(payload):
            async with aclosing(self._stream(payload)) as results:
                async for result in results:
                    yield _generated(result)

    async def select(self, prompt: Prompt, choices: Sequence[str], method: ChoicesSamplingMethod) -> ChoicesDecision:
        """Every choice is scored as the text that continues the prompt, tokenized together with it.

        So a token may begin in the prompt and end in the choice: such a token counts as the choice's. The meta info
        counts the tokens of the prompt.
        """
        if not self.takes_choices:
            return await self._select_by_prompts(prompt, choices, method)
        payload = {
            **self._choices(prompt, choices),
            "unconditional": method.requires_unconditional_logprobs,
        }
        with _naming(payload):
            answer = await self._post_score_choices(payload)
        match answer:
            case {"input_token_logprobs": list(rows), "meta_info": dict(meta_info)}:
                alone = answer.get("unconditional_token_logprobs")
                alone_rows = None if alone is None else list(map(_rows, alone))
                made = decide(method, choices, list(map(_rows, rows)), [[] for _ in choices], alone_rows)
                return replace(made, meta_info={**made.meta_info, **meta_info})
        raise BackendError(f"'input_token_logprobs' and 'meta_info' were asked for, but not answered: {shown(answer)}")

    async def select_exact(self, prompt: Prompt, choices: Sequence[str], exact: Exact) -> ChoicesDecision:
        if not self.takes_choices:
            raise UnsupportedError(
                "choices_method=exact needs a server of this project, which has /select; "
                "with others use token_length_normalized or another method"
            )
        payload = {**self._choices(prompt, choices), **exact.given()}
        with _naming(payload):
            answer = await self._post_select(payload)
        match answer:
            case {"decision": str(decision), "meta_info": dict(meta_info)}:
                return ChoicesDecision(decision, meta_info)
        raise BackendError(f"'decision' and 'meta_info' were asked for, but not answered: {shown(answer)}")

    async def _without_reasoning(self, generated: Generated, reasoning_parser: str) -> Generated:
        try:
            answer = await self._post_separate_reasoning({"text": generated.text, "reasoning_parser": reasoning_parser})
        except InvalidRequestError as error:
            wanted = True if reasoning_parser == "auto" else reasoning_parser
            raise InvalidRequestError(f"separate_reasoning={wanted!r}: {error}") from error
        match answer:
            case {"text": str(text), "reasoning_text": str(thoughts)}:
                return Generated(text, {**generated.meta_info, "reasoning_content": thoughts})
        raise BackendError(f"'text' and 'reasoning_text' were asked for, but not answered: {shown(answer)}")

    async def _select_by_prompts(
        self, prompt: Prompt, choices: Sequence[str], method: ChoicesSamplingMethod
    ) -> ChoicesDecision:
        """By scoring the prompt with each choice, where a server has nothing better."""
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

    async def count_tokens(self, text: str) -> int:
        return int(_reported(await self._compute(Prompt(text, (text,))), "prompt_tokens")) if text else 0

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
        params.pop("separate_reasoning", None)  # done here, with the whole answer
        fields = {name: params.pop(name) for name in REQUEST_FIELDS if name in params}
        names = {"rid": uuid.uuid4().hex} if self.takes_segments else {}
        return {**self._prompt(prompt), "sampling_params": params, **fields, **names}

    def _choices(self, prompt: Prompt, choices: Sequence[str]) -> Payload:
        return {**self._prompt(prompt), "choices": list(choices), "rid": uuid.uuid4().hex}

    def _prompt(self, prompt: Prompt) -> Payload:
        return {"segments": prompt.segments or ("",)} if self.takes_segments else {"text": prompt.text}

    def _continuations(self, prompt: Prompt, texts: Sequence[str]) -> Payload:
        if self.takes_segments:
            return {"segments": [(*prompt.segments, text) for text in texts]}
        return {"text": [prompt.text + text for text in texts]}


def _check_may_think(sampling: SamplingArguments) -> None:
    """Raises UnsupportedError if thoughts are wanted, and a constraint leaves no room for them."""
    if sampling.separate_reasoning is None:
        return
    if (held_to := sampling.constraint()) is not None:
        raise UnsupportedError(
            f"separate_reasoning cannot be had with {held_to[0]} here, which holds from the first token on: let the "
            "model think in one gen, and answer in the next"
        )


@contextmanager
def _naming(payload: Payload) -> Iterator[None]:
    """An error of a request says which one it was, as the server's log does."""
    try:
        yield
    except SglangError as error:
        error.request_id = payload.get("rid")
        raise


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
    return _rows(_reported(scored, "input_token_logprobs"))


def _rows(reported: Sequence[Sequence[Any]]) -> list[LogprobRow]:
    return [(logprob, token_id, text) for logprob, token_id, text in reported]


def _usage(result: Generated) -> dict[str, Any]:
    names = ("prompt_tokens", "cached_tokens", "completion_tokens")
    return {name: result.meta_info[name] for name in names if name in result.meta_info}


def _reported(scored: Generated, name: str) -> Any:
    if name not in scored.meta_info:
        raise BackendError(f"select needs {name!r} of a prompt, which the server does not report")
    return scored.meta_info[name]
