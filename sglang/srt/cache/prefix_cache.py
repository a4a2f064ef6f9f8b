"""Slots and the radix tree together: what the scheduler asks for memory and for shared prefixes.

Every slot has exactly one owner: the free list, the tree, or one running request. Prompt slots move to the tree when
they are *scheduled*, before they are computed: rows of one step may read what other rows of that step write, so a
second request with the same prefix shares it in the very step in which the first one computes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sglang.srt.cache.pool import SlotArray, SlotPool
from sglang.srt.cache.radix_tree import Match, Node, RadixTree, TokenArray

EVICTION_BLOCK = 4096
"""Slots freed at least when any are needed: a full cache still gives growing sequences long runs."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """A locked prefix: `slots` stay valid until `release_prefix`. An empty prefix holds nothing."""

    slots: SlotArray
    node: Node | None

    @property
    def num_tokens(self) -> int:
        return len(self.slots)


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """All in tokens. The parts add up: free + evictable + protected + held by running requests == total."""

    total: int
    free: int
    evictable: int
    protected: int


class PrefixCache(Protocol):
    """The scheduler's memory. One thread. A *prefix* is locked from the call that returns it until released."""

    def acquire_prefix(self, namespace: str, tokens: TokenArray) -> Prefix:
        """Lock the longest cached prefix of `tokens`."""
        ...

    def release_prefix(self, prefix: Prefix) -> None: ...

    def match_length(self, namespace: str, tokens: TokenArray) -> int:
        """How many tokens `acquire_prefix` would give. Changes nothing."""
        ...

    def publish(self, namespace: str, tokens: TokenArray, slots: SlotArray, held: Prefix) -> Prefix:
        """Share `tokens`, computed (or about to be, in this step) in `slots`; replaces the lock `held`.

        The result's slots are the shared ones. Slots of the caller that are not among them stay the caller's: they are
        duplicates of what was shared already. A cache that shares nothing returns `held`.
        """
        ...

    def keep(self, namespace: str, tokens: TokenArray, slots: SlotArray, held: Prefix) -> None:
        """The end of a request: share `tokens` for later, free its duplicates, drop its lock."""
        ...

    def allocate(self, count: int, after: int | None) -> SlotArray | None:
        """`count` slots for the caller, evicting unlocked prefixes if need be; None, and no change, if too few."""
        ...

    def allocate_next(self, after: int | None) -> int | None:
        """One slot, if possible the one after `after`, as `allocate` gives it."""
        ...

    def free(self, slots: SlotArray) -> None: ...

    @property
    def num_available(self) -> int:
        """Free slots plus those that eviction could free."""
        ...

    def clear(self) -> None:
        """Forget every unlocked prefix."""
        ...

    def usage(self) -> CacheUsage: ...

    def check_integrity(self, held_by_requests: Iterable[SlotArray]) -> None:
        """Raise AssertionError unless every slot has exactly one owner."""
        ...


class RadixPrefixCache:
    """Shares prefixes token by token through a radix tree."""

    def __init__(self, pool: SlotPool) -> None:
        self._pool = pool
        self._tree = RadixTree()

    def acquire_prefix(self, namespace: str, tokens: TokenArray) -> Prefix:
        return self._lock(self._tree.match(namespace, tokens))

    def release_prefix(self, prefix: Prefix) -> None:
        if prefix.node is not None:
            self._tree.unlock(prefix.node)

    def match_length(self, namespace: str, tokens: TokenArray) -> int:
        return self._tree.match_length(namespace, tokens)

    def publish(self, namespace: str, tokens: TokenArray, slots: SlotArray, held: Prefix) -> Prefix:
        shared = self._lock(self._tree.insert(namespace, tokens, slots))
        self.release_prefix(held)
        return shared

    def keep(self, namespace: str, tokens: TokenArray, slots: SlotArray, held: Prefix) -> None:
        shared = self._tree.insert(namespace, tokens, slots)
        self.free(slots[shared.slots != slots])
        self.release_prefix(held)

    def allocate(self, count: int, after: int | None) -> SlotArray | None:
        return self._pool.allocate(count, after) if self._make_room(count) else None

    def allocate_next(self, after: int | None) -> int | None:
        return self._pool.allocate_next(after) if self._make_room(1) else None

    def free(self, slots: SlotArray) -> None:
        self._pool.free(slots)

    @property
    def num_available(self) -> int:
        return self._pool.num_free + self._tree.num_evictable_tokens

    def clear(self) -> None:
        self._pool.free(self._tree.evict(self._tree.num_evictable_tokens))

    def usage(self) -> CacheUsage:
        tree = self._tree
        return CacheUsage(self._pool.total, self._pool.num_free, tree.num_evictable_tokens, tree.num_locked_tokens)

    def check_integrity(self, held_by_requests: Iterable[SlotArray]) -> None:
        self._tree.check_integrity()
        _check_one_owner(self._pool, (node.slots for node in self._tree.nodes()), held_by_requests)

    def _make_room(self, count: int) -> bool:
        """Whether `count` slots are free now; changes nothing if they cannot be."""
        missing = count - self._pool.num_free
        if missing <= 0:
            return True
        if missing > self._tree.num_evictable_tokens:
            return False
        self._pool.free(self._tree.evict(max(missing, min(EVICTION_BLOCK, self._pool.total // 16))))
        return True

    def _lock(self, match: Match) -> Prefix:
        return Prefix(match.slots, self._tree.lock(match))


class EndedPrefixCache(RadixPrefixCache):
    """Shares what a request computed once it has ended (``--disable-in-flight-sharing``)."""

    def publish(self, namespace: str, tokens: TokenArray, slots: SlotArray, held: Prefix) -> Prefix:
        return held


class NoPrefixCache:
    """Shares nothing (``--disable-radix-cache``): every request computes its whole prompt in slots of its own."""

    def __init__(self, pool: SlotPool) -> None:
        self._pool = pool

    def acquire_prefix(self, namespace: str, tokens: TokenArray) -> Prefix:
        return EMPTY_PREFIX

    def release_prefix(self, prefix: Prefix) -> None:
        pass

    def match_length(self, namespace: str, tokens: TokenArray) -> int:
        return 0

    def publish(self, namespace: str, tokens: TokenArray, slots: SlotArray, held: Prefix) -> Prefix:
        return held

    def keep(self, namespace: str, tokens: TokenArray, slots: SlotArray, held: Prefix) -> None:
        self._pool.free(slots)

    def allocate(self, count: int, after: int | None) -> SlotArray | None:
        return self._pool.allocate(count, after)

    def allocate_next(self, after: int | None) -> int | None:
        return self._pool.allocate_next(after)

    def free(self, slots: SlotArray) -> None:
        self._pool.free(slots)

    @property
    def num_available(self) -> int:
        return self._pool.num_free

    def clear(self) -> None:
        pass

    def usage(self) -> CacheUsage:
        return CacheUsage(self._pool.total, self._pool.num_free, evictable=0, protected=0)

    def check_integrity(self, held_by_requests: Iterable[SlotArray]) -> None:
        _check_one_owner(self._pool, (), held_by_requests)


EMPTY_PREFIX = Prefix(np.empty(0, dtype=np.int64), None)


def _check_one_owner(pool: SlotPool, in_tree: Iterable[SlotArray], in_requests: Iterable[SlotArray]) -> None:
    owned = np.concatenate([pool.free_slots(), *in_tree, *in_requests])
    assert len(owned) == pool.total, f"{pool.total} slots, but {len(owned)} are owned"
    assert len(np.unique(owned)) == pool.total, "a slot has two owners"
    assert pool.num_free == len(pool.free_slots())
