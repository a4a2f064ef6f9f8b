"""API speculative execution: several generations of a program out of one longer completion.

A program whose text follows a pattern, ``"Name:" + gen(stop=",") + ", born:" + gen(stop=",")``, has shown it to the
model in examples. So the first generation is asked for without its stop strings and for more tokens than it wants, and
cut where it would have ended. What is left is kept. If the text that the program has when it generates again is how the
completion went on, the next answer is cut out of it too, and nothing is sent. If it is not, the model is asked as if
nothing had been kept.

A model draws each token given the text before it. Text that was drawn before the program said the same is such text, so
what follows is distributed as an answer of its own would be. No part of a completion is given to two generations, or
samples of one prompt would be copies.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from sglang.lang.backends.apis.token_usage import TokenUsage
from sglang.lang.backends.base import Backend, Generated, Prompt, RoleText
from sglang.lang.choices import ChoicesDecision, ChoicesSamplingMethod
from sglang.lang.ir import CONSTRAINTS, DEFAULT_MAX_NEW_TOKENS, SamplingArguments

MAX_KEPT = 1024
"""Completions, of all programs in flight together; the oldest is forgotten."""

NOT_CUT: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "min_new_tokens": (0,),
    "stop_token_ids": ((),),
    "stop_regex": ((),),
    "frequency_penalty": (0.0,),
    "presence_penalty": (0.0,),
    "return_logprob": (False,),
    **dict.fromkeys(CONSTRAINTS, ()),
    "separate_reasoning": (),
}
"""What keeps a generation from being cut out of a longer one, as it looks at where the answer begins or ends it in a
way that the text does not show; and the values with which it does not."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a completion: ``text[begin:end]``, of so many tokens."""

    text: str
    begin: int
    end: int
    num_tokens: int
    finish_reason: str


@dataclass(slots=True)
class Completion:
    """A longer completion of `prompt`. Lengths are in characters.

    token_ends: where each of its tokens ends. is_ended: the model had no more to say. num_prompt_tokens: None if the
    server does not say. used: how much of the text programs have got.
    """

    prompt: str
    text: str
    token_ends: Sequence[int]
    is_ended: bool
    num_prompt_tokens: int | None
    meta_info: dict[str, Any] = field(default_factory=dict)
    used: int = 0

    def place_of(self, prompt: str) -> int | None:
        """How much of the text a program has that is at `prompt`; None if the completion does not go on from there."""
        place = len(prompt) - len(self.prompt)
        if not self.used <= place < len(self.text) or not prompt.startswith(self.prompt):
            return None
        return place if prompt.endswith(self.text[:place]) else None

    def cut(self, begin: int, max_tokens: int, stops: Sequence[str]) -> Piece | None:
        """What a call of its own would give after ``text[:begin]``. None if that goes on beyond the completion."""
        last = bisect_right(self.token_ends, begin) + max_tokens - 1
        is_complete = last < len(self.token_ends)
        end = self.token_ends[last] if is_complete else len(self.text)
        found = [place for stop in stops if (place := self.text.find(stop, begin, end)) >= 0]
        if found:
            return self._piece(begin, min(found), "stop")
        if is_complete:
            return self._piece(begin, end, "length")
        return self._piece(begin, end, "stop") if self.is_ended else None

    def whole(self) -> Piece:
        """All of it, if it is shorter than what was asked for: longer is not to be had."""
        return self._piece(0, len(self.text), "length")

    def num_tokens_before(self, place: int) -> int | None:
        """Of the prompt and of ``text[:place]`` together."""
        return None if self.num_prompt_tokens is None else self.num_prompt_tokens + self._num_tokens(0, place)

    def _piece(self, begin: int, end: int, finish_reason: str) -> Piece:
        return Piece(self.text[begin:end], begin, end, self._num_tokens(begin, end), finish_reason)

    def _num_tokens(self, begin: int, end: int) -> int:
        """Tokens that have a part in ``text[begin:end]``."""
        if begin == end:
            return 0
        return bisect_left(self.token_ends, end) + 1 - bisect_right(self.token_ends, begin)


class CompletionModel(Protocol):
    """What is asked when nothing is kept."""

    token_usage: TokenUsage

    async def generate(self, prompt: Prompt, sampling: SamplingArguments) -> list[Generated]: ...

    async def select(
        self, prompt: Prompt, choices: Sequence[str], method: ChoicesSamplingMethod
    ) -> ChoicesDecision: ...

    async def role_text(self, roles: Sequence[str]) -> RoleText: ...

    def in_role(self, prompt: Prompt, sampling: SamplingArguments) -> SamplingArguments:
        """With the stop strings that end the role which is open."""
        ...

    async def complete(self, prompt: str, sampling: SamplingArguments) -> Completion:
        """One continuation with the places of its tokens."""
        ...


class SpeculativeCompletions(Backend):
    """Asks `model` for at least `num_tokens` tokens at a time. Of one run, or of one batch.

    The meta info of an answer that was cut out of a completion has ``saved_prompt_tokens``, 0 if it was asked for here;
    ``completion_tokens`` counts what the program got of it.
    """

    wants_prefix_first = False

    def __init__(self, model: CompletionModel, num_tokens: int) -> None:
        self._model = model
        self._num_tokens = num_tokens
        self._kept: deque[tuple[SamplingArguments, Completion]] = deque(maxlen=MAX_KEPT)

    async def generate(self, prompt: Prompt, sampling: SamplingArguments) -> list[Generated]:
        if not _can_be_cut(sampling):
            return await self._model.generate(prompt, sampling)
        given = self._model.in_role(prompt, sampling)
        limit, stops = _limit(given), _stops(given)
        drawn = msgspec.structs.replace(given, max_new_tokens=None, stop=None)
        if (answer := self._from_kept(prompt.text, drawn, limit, stops)) is not None:
            return [answer]
        asked = msgspec.structs.replace(drawn, max_new_tokens=max(limit, self._num_tokens))
        completion = await self._model.complete(prompt.text, asked)
        self._kept.append((drawn, completion))
        return [self._answer(completion, completion.cut(0, limit, stops) or completion.whole(), is_saved=False)]

    def stream(self, prompt: Prompt, sampling: SamplingArguments) -> AsyncGenerator[Generated, None]:
        self._refuse("stream=True")

    def speculating(self, num_tokens: int) -> Backend:
        return SpeculativeCompletions(self._model, num_tokens)

    async def select(self, prompt: Prompt, choices: Sequence[str], method: ChoicesSamplingMethod) -> ChoicesDecision:
        return await self._model.select(prompt, choices, method)

    async def role_text(self, roles: Sequence[str]) -> RoleText:
        return await self._model.role_text(roles)

    def _from_kept(self, prompt: str, drawn: SamplingArguments, limit: int, stops: Sequence[str]) -> Generated | None:
        for how, completion in self._kept:
            if how == drawn and (begin := completion.place_of(prompt)) is not None:
                piece = completion.cut(begin, limit, stops)
                if piece is not None:
                    return self._answer(completion, piece, is_saved=True)
        return None

    def _answer(self, completion: Completion, piece: Piece, *, is_saved: bool) -> Generated:
        completion.used = piece.end
        num_prompt_tokens = completion.num_tokens_before(piece.begin)
        saved = (num_prompt_tokens or 0) if is_saved else 0
        if is_saved:
            self._model.token_usage.saved_calls += 1
            self._model.token_usage.saved_prompt_tokens += saved
        meta_info = {
            "id": completion.meta_info.get("id"),
            "finish_reason": {"type": piece.finish_reason},
            "completion_tokens": piece.num_tokens,
            "saved_prompt_tokens": saved,
        }
        if num_prompt_tokens is not None:
            meta_info["prompt_tokens"] = num_prompt_tokens
        return Generated(piece.text, meta_info)


def _can_be_cut(sampling: SamplingArguments) -> bool:
    """What no call should ask for is left to the server to refuse."""
    given = dict(sampling.given())
    is_plain = all(name not in given or given[name] in neutral for name, neutral in NOT_CUT.items())
    return is_plain and _limit(sampling) > 0 and "" not in _stops(sampling)


def _limit(sampling: SamplingArguments) -> int:
    return DEFAULT_MAX_NEW_TOKENS if sampling.max_new_tokens is None else sampling.max_new_tokens


def _stops(sampling: SamplingArguments) -> Sequence[str]:
    stop = sampling.stop or ()
    return (stop,) if isinstance(stop, str) else tuple(stop)
