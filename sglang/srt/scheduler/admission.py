"""How many tokens each running request computes in a step, and which waiting requests join.

Where nothing decodes prompts have the whole token budget, oldest request first. Decoding rows are never held back by
it, and beside them prompts have a part of it: a step takes the longer the more rows it has, and those who are being
answered wait for all of them. A request joins only if its prompt fits in memory beside a reserve for what the others
are about to generate; when the guess is wrong all the same, the youngest request gives its memory back and waits
(retraction).
"""

from __future__ import annotations

from collections.abc import Sequence

from sglang.srt.cache.prefix_cache import PrefixCache
from sglang.srt.scheduler.request import Request

DECODE_RESERVE = 128
"""Tokens set aside for each request's own output when another asks to join."""

PROMPT_SHARE = 4
"""Beside decoding rows prompts have the budget divided by this."""

EFFICIENT_ROWS = 128
"""Of fewer rows each takes longer: where the budget allows, prompts have as many."""


class RunningRequests:
    """The requests that hold memory, by admission; the last is the first to be retracted."""

    def __init__(self, cache: PrefixCache, decode_reserve: int) -> None:
        self._cache = cache
        self._decode_reserve = decode_reserve
        self._requests: list[Request] = []
        self._promised: int | None = None  # to all of them; None until somebody asks to join
        self.retracted: list[Request] = []  # by the last `advance`

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def requests(self) -> Sequence[Request]:
        return self._requests

    def remove(self, request: Request) -> None:
        self._requests.remove(request)

    def advance(self, token_budget: int) -> int:
        """Schedule the next tokens of every request, retracting younger ones for memory. Returns the budget left."""
        self.retracted = []
        if any(request.num_uncomputed == 1 for request in self._requests):
            token_budget = max(token_budget // PROMPT_SHARE, min(EFFICIENT_ROWS, token_budget))  # at least 1
        index = 0
        while index < len(self._requests):  # retraction shortens the list at its end
            request = self._requests[index]
            if request.num_uncomputed == 1:
                self._schedule_next(request)
            elif token_budget > 0:
                token_budget -= self._schedule(request, min(request.num_uncomputed, token_budget))
            index += 1
        self._promised = None
        return token_budget

    def try_admit(self, request: Request, token_budget: int) -> int | None:
        """Take in a waiting request and schedule what the budget allows. None if memory does not suffice now."""
        if self._promised is None:
            self._promised = sum(map(self._promise, self._requests))
        prefix = self._cache.acquire_prefix(request.message.namespace, request.matchable_tokens)
        missing = request.num_tokens - prefix.num_tokens
        wanted = missing + self._reserve(request) + self._promised
        if not self._requests:
            wanted = min(wanted, missing + 1)
        if wanted > self._cache.num_available:
            self._cache.release_prefix(prefix)
            return None
        request.start(prefix)
        self._requests.append(request)
        scheduled = self._schedule(request, min(missing, token_budget))
        self._promised += self._promise(request)
        return scheduled

    def _retract(self, request: Request) -> None:
        """Take the memory back. What is computed stays shared while there is room; no token is lost."""
        assert request.num_scheduled == 0, "a request cannot be retracted out of the step being scheduled"
        self.give_back(request)
        request.num_retractions += 1
        self.retracted.append(request)

    def give_back(self, request: Request) -> None:
        """Have `request` start again from what of it is cached by then."""
        self._requests.remove(request)
        release(request, self._cache)

    def discard_all(self) -> list[Request]:
        """A step failed: take all memory back and keep nothing that was computed. Returns who held it."""
        requests, self._requests = self._requests, []
        for request in requests:
            discard(request, self._cache)
        return requests

    def _schedule(self, request: Request, count: int) -> int:
        """Give `request` slots for its next `count` tokens, or for as many as can be had. Returns how many."""
        while (slots := self._cache.allocate(count, after=request.last_slot)) is None:
            if not self._retract_for(request):
                count = self._cache.num_available
        if count:
            request.schedule(slots)
            self._publish(request)
        return count

    def _schedule_next(self, request: Request) -> None:
        """`_schedule` for one token: what every decoding request asks for in every step."""
        while (slot := self._cache.allocate_next(after=request.last_slot)) is None:
            if not self._retract_for(request):
                return
        request.schedule_next(slot)
        if request.num_held <= request.num_prompt_tokens:
            self._publish(request)

    def _retract_for(self, request: Request) -> bool:
        """Take the memory of the youngest; False if `request` is the youngest itself."""
        youngest = self._requests[-1]
        if youngest is request:
            return False
        self._retract(youngest)
        return True

    def _publish(self, request: Request) -> None:
        """Let others share the prompt as soon as it is scheduled."""
        end = min(request.num_held, request.num_prompt_tokens)
        if end > request.prefix.num_tokens:
            message = request.message
            request.share(
                self._cache.publish(message.namespace, request.tokens[:end], request.slots[:end], request.prefix)
            )

    def _promise(self, request: Request) -> int:
        """Slots a running request does not hold yet but is expected to need."""
        return request.num_uncomputed - request.num_scheduled + self._reserve(request)

    def _reserve(self, request: Request) -> int:
        return min(request.max_tokens_left, self._decode_reserve)


def release(request: Request, cache: PrefixCache) -> None:
    """Give back what `request` holds; all it computed stays in the cache while there is room."""
    held = request.num_held
    cache.keep(request.message.namespace, request.tokens[:held], request.slots, request.prefix)
    request.stop()


def discard(request: Request, cache: PrefixCache) -> None:
    """Give back what `request` holds without keeping what it computed."""
    cache.free(request.own_slots)
    cache.release_prefix(request.prefix)
    request.stop()
