"""A backend without a model, for testing programs: deterministic, instant, and it remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sglang.lang.backends.base import Backend, Generated, Prompt, RoleText
from sglang.lang.choices import ChoicesDecision, ChoicesSamplingMethod, Exact, mean_logprob
from sglang.lang.ir import DEFAULT_MAX_NEW_TOKENS, SamplingArguments
from sglang.lang.media import ALL_MEDIA
from sglang.srt.errors import UnsupportedError, shown

Answer = Callable[[Prompt, SamplingArguments], "str | None"]
"""The text that continues a prompt, or None to have one made up."""

WORDS = ("the", "a", "one", "of", "to", "and", "is", "was", "in", "it", "for", "on", "with", "as", "at", "by")
NATURAL_LENGTHS = range(4, 12)
"""How many tokens a made-up text has if nothing ends it before."""

_THOUGHTS = re.compile(r"\s*<think>\s*(?P<thoughts>.*?)\s*(?:</think>\s*|\Z)(?P<answer>.*)", re.DOTALL)

NO_CONTENT = frozenset({"max_new_tokens", "min_new_tokens", "n", "stop", "stop_token_ids", "stop_regex", "ignore_eos"})
"""Sampling arguments that say where a text ends, not what it says. So a longer answer begins like a shorter one."""


@dataclass(frozen=True)
class MockRequest:
    """kind: 'generate', 'stream', 'select' or 'cache_prefix'; with the sampling, or the choices, that belong to it."""

    kind: str
    prompt: Prompt
    sampling: SamplingArguments | None = None
    choices: tuple[str, ...] = ()


class Mock(Backend):
    """answers: texts by the end of the prompt they follow (the longest that matches counts), or a function.

    Where `answers` says nothing, a text of common words is made up: a pure function of the prompt, the sampling
    arguments and the index of the sample. A given answer is taken as it is, up to ``max_new_tokens`` and ``stop``.
    Under a constraint nothing is made up (UnsupportedError), and of a given answer it is checked that it matches a
    ``regex`` and is JSON for a ``json_schema`` (ValueError).

    scores: log-probabilities of the tokens of a choice, for `select`; without them they are made up too.
    With ``separate_reasoning`` an answer's thoughts are what stands in ``<think>...</think>`` at its beginning. Images,
    sounds and videos are taken, and change nothing.

    errors: what to raise, by the number of the request, counted from 0.

    Its tokens are words with the space before them. Roles look like ChatML. `requests` are all requests so far,
    `num_open` is how many are being worked on. Use one from the programs of one process only.
    """

    media_kinds = ALL_MEDIA

    def __init__(
        self,
        answers: Mapping[str, str] | Answer | None = None,
        *,
        scores: Mapping[str, Sequence[float]] | None = None,
        errors: Mapping[int, Exception] | None = None,
        wants_prefix_first: bool = True,
    ) -> None:
        self.wants_prefix_first = wants_prefix_first
        self.requests: list[MockRequest] = []
        self.num_open = 0
        self._answer = answers if callable(answers) else _by_ending(_checked_answers(answers or {}))
        self._scores = scores or {}
        self._errors = errors or {}
        self._released: Future[None] | None = None

    def hold(self) -> None:
        """Answer nothing from now on, until `release`."""
        self._released = Future()

    def release(self) -> None:
        released, self._released = self._released, None
        if released is not None:
            released.set_result(None)

    async def generate(self, prompt: Prompt, sampling: SamplingArguments) -> list[Generated]:
        with self._request(MockRequest("generate", prompt, sampling)):
            await self._until_released()
            return [self._sample(prompt, sampling, index) for index in range(sampling.n or 1)]

    async def stream(self, prompt: Prompt, sampling: SamplingArguments) -> AsyncGenerator[Generated, None]:
        """A token at a time. While held, one token comes and no more."""
        with self._request(MockRequest("stream", prompt, sampling)):
            whole = self._sample(prompt, sampling, 0)
            tokens = _tokens(whole.text)
            for length in range(1, len(tokens)):
                meta_info = {**whole.meta_info, "completion_tokens": length, "finish_reason": None}
                yield Generated("".join(tokens[:length]), meta_info)
                await self._until_released()
            await self._until_released()
            yield whole

    async def select(self, prompt: Prompt, choices: Sequence[str], method: ChoicesSamplingMethod) -> ChoicesDecision:
        with self._request(MockRequest("select", prompt, choices=tuple(choices))):
            await self._until_released()
            scored = [self._score(prompt.text, choice) for choice in choices]
            return method(
                choices=choices,
                normalized_prompt_logprobs=[mean_logprob(tokens) for tokens in scored],
                input_token_logprobs=scored,
                output_token_logprobs=[[] for _ in choices],
                unconditional_token_logprobs=[_made_up_score("", choice) for choice in choices],
            )

    async def select_exact(self, prompt: Prompt, choices: Sequence[str], exact: Exact) -> ChoicesDecision:
        """As if every choice had one spelling, that of its scores."""
        with self._request(MockRequest("select", prompt, choices=tuple(choices))):
            await self._until_released()
            logprobs = [math.fsum(row[0] for row in self._score(prompt.text, choice)) for choice in choices]
            weights = [math.exp(logprob - max(logprobs)) for logprob in logprobs]
            shares = [weight / math.fsum(weights) for weight in weights]
            decision = choices[weights.index(1.0)]
            if exact.temperature > 0:
                tempered = [weight ** (1 / exact.temperature) for weight in weights]
                (decision,) = random.Random(exact.sampling_seed).choices(choices, tempered)
            return ChoicesDecision(decision, {"choice_probabilities": shares, "unexplored_mass": 0.0})

    async def role_text(self, roles: Sequence[str]) -> RoleText:
        return RoleText(f"<|im_start|>{roles[-1]}\n", "<|im_end|>\n")

    async def cache_prefix(self, prompt: Prompt) -> None:
        with self._request(MockRequest("cache_prefix", prompt)):
            await self._until_released()

    async def count_tokens(self, text: str) -> int:
        return len(_tokens(text))

    def flush_cache(self) -> None:
        """There is nothing to forget."""

    def get_server_info(self) -> dict[str, Any]:
        return {"model_path": "mock", "num_requests": len(self.requests)}

    @contextmanager
    def _request(self, request: MockRequest) -> Iterator[None]:
        error = self._errors.get(len(self.requests))
        self.requests.append(request)
        self.num_open += 1
        try:
            if error is not None:
                raise error
            yield
        finally:
            self.num_open -= 1

    async def _until_released(self) -> None:
        await asyncio.sleep(0)
        if self._released is not None:
            await asyncio.shield(asyncio.wrap_future(self._released))

    def _sample(self, prompt: Prompt, sampling: SamplingArguments, index: int) -> Generated:
        text = self._answer(prompt, sampling)
        if text is None:
            text = _made_up_text(prompt, sampling, index)
        else:
            _check(text, sampling)
        text, reason = _ended(text, sampling)
        meta_info: dict[str, Any] = {
            "id": _digest(prompt.text, str(index)).hex(),
            "prompt_tokens": len(_tokens(prompt.text)),
            "completion_tokens": len(_tokens(text)),
            "cached_tokens": 0,
            "finish_reason": reason,
        }
        if sampling.separate_reasoning is not None:
            meta_info["reasoning_content"], text = _thoughts_and_answer(text)
        return Generated(text, meta_info, (tuple(map(_token_id, _tokens(text))),) if text else ())

    def _score(self, before: str, choice: str) -> list[tuple[float, int, str]]:
        if choice not in self._scores:
            return _made_up_score(before, choice)
        tokens = [*_tokens(choice), *([""] * len(self._scores[choice]))]
        return [
            (float(logprob), _token_id(token), token)
            for logprob, token in zip(self._scores[choice], tokens, strict=False)
        ]


def _checked_answers(answers: Mapping[str, str]) -> Mapping[str, str]:
    if isinstance(answers, Mapping) and all(isinstance(text, str) for pair in answers.items() for text in pair):
        return answers
    raise TypeError(
        "Mock takes its answers by the end of the prompt they follow, as in Mock({'2 + 2 =': ' 4'}), or as a function, "
        f"not as {shown(answers)}"
    )


def _by_ending(answers: Mapping[str, str]) -> Answer:
    endings = sorted(answers, key=len, reverse=True)

    def answer(prompt: Prompt, _: SamplingArguments) -> str | None:
        return next((answers[ending] for ending in endings if prompt.text.endswith(ending)), None)

    return answer


def _made_up_text(prompt: Prompt, sampling: SamplingArguments, index: int) -> str:
    if (held_to := sampling.constraint()) is not None:
        raise UnsupportedError(f"Mock makes up no text for {held_to[0]}; give it the answer")
    content = [f"{name}={value!r}" for name, value in sampling.given() if name not in NO_CONTENT]
    seed = _digest(prompt.text, str(index), *content)
    length = NATURAL_LENGTHS[seed[0] % len(NATURAL_LENGTHS)]
    if sampling.ignore_eos:
        length = _max_tokens(sampling)
    length = max(length, sampling.min_new_tokens or 0)
    return "".join(" " + WORDS[byte % len(WORDS)] for byte in _bytes(seed, length))


def _check(text: str, sampling: SamplingArguments) -> None:
    if sampling.regex is not None and not re.fullmatch(sampling.regex, text):
        raise ValueError(f"the answer {text!r} given to Mock does not match {sampling.regex!r}")
    if sampling.json_schema is not None:
        json.loads(text)


def _ended(text: str, sampling: SamplingArguments) -> tuple[str, dict[str, Any]]:
    """The text up to where something ends it, and what that was, as the native API reports it."""
    ends: list[tuple[int, Any]] = [(len(text), None)]
    stops = [sampling.stop] if isinstance(sampling.stop, str) else sampling.stop or ()
    ends.extend((text.index(stop), stop) for stop in stops if stop in text)
    patterns = [sampling.stop_regex] if isinstance(sampling.stop_regex, str) else sampling.stop_regex or ()
    ends.extend((found.start(), found.group()) for pattern in patterns if (found := re.search(pattern, text)))
    end, matched = min(ends, key=lambda found: found[0])
    tokens, limit = _tokens(text[:end]), _max_tokens(sampling)
    if len(tokens) > limit or (len(tokens) == limit and matched is None and sampling.ignore_eos):
        return "".join(tokens[:limit]), {"type": "length", "length": limit}
    return text[:end], {"type": "stop", "matched": matched}


def _thoughts_and_answer(text: str) -> tuple[str, str]:
    found = _THOUGHTS.fullmatch(text)
    return (found["thoughts"], found["answer"]) if found else ("", text)


def _max_tokens(sampling: SamplingArguments) -> int:
    return DEFAULT_MAX_NEW_TOKENS if sampling.max_new_tokens is None else sampling.max_new_tokens


def _made_up_score(before: str, choice: str) -> list[tuple[float, int, str]]:
    """Between -8 and 0."""
    scored = []
    for token in _tokens(choice):
        scored.append((_digest(before, token)[0] / -32.0, _token_id(token), token))
        before += token
    return scored


def _tokens(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def _token_id(token: str) -> int:
    return zlib.crc32(token.encode(errors="surrogatepass"))


def _digest(*parts: str) -> bytes:
    return blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=16).digest()


def _bytes(seed: bytes, length: int) -> Iterator[int]:
    while length > 0:
        yield from seed[:length]
        length -= len(seed)
        seed = blake2b(seed, digest_size=16).digest()
