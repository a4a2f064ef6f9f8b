"""In which order waiting requests are admitted."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Protocol

from sglang.srt.cache.prefix_cache import PrefixCache
from sglang.srt.scheduler.request import Request

AGEING_TOKENS = 64
"""Every admission round in which a younger request went first counts like this many cached tokens."""

LOOKAHEAD = 256
"""Only this many of the oldest waiting requests are looked up in the cache; the rest follow by arrival."""

RANDOM_PATIENCE = 8
"""In a random order a request is passed over in at most this many rounds for each request that waits. Chance alone
would do that to 1 of e**8, so the bound leaves the order random.
"""


class SchedulePolicy(Protocol):
    def order(self, waiting: Sequence[Request], cache: PrefixCache) -> list[Request]:
        """The waiting requests (given by arrival), first to be admitted first."""
        ...


class FirstComeFirstServed:
    def order(self, waiting: Sequence[Request], cache: PrefixCache) -> list[Request]:
        return list(waiting)


class LongestPrefixMatch:
    """Longest cached prefix first, which visits the prefix tree depth first and computes every edge once (theorem 3.1
    of arXiv 2312.07104). A request that was passed over k times ranks as if k * AGEING_TOKENS more were cached, so a
    stream of requests that all share a prefix of m tokens delays another by at most m / AGEING_TOKENS rounds.
    """

    def order(self, waiting: Sequence[Request], cache: PrefixCache) -> list[Request]:
        head, rest = waiting[:LOOKAHEAD], waiting[LOOKAHEAD:]
        return sorted(head, key=lambda request: -self._rank(request, cache)) + list(rest)

    @staticmethod
    def _rank(request: Request, cache: PrefixCache) -> int:
        matched = cache.match_length(request.message.namespace, request.matchable_tokens)
        return matched + request.times_passed_over * AGEING_TOKENS


class RandomOrder:
    """Any order, drawn anew each time: what the others are measured against. None starves: who was passed over more
    than RANDOM_PATIENCE times the number of those waiting goes first.
    """

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    def order(self, waiting: Sequence[Request], cache: PrefixCache) -> list[Request]:
        patience = RANDOM_PATIENCE * len(waiting)

        def turn(request: Request) -> float:
            return request.arrival if request.times_passed_over > patience else math.inf

        return sorted(self._draw.sample(waiting, len(waiting)), key=turn)
