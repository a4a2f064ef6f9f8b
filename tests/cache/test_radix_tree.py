"""The radix tree and the slot pool against naive models, under random operations on a tiny alphabet."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from sglang.srt.cache.pool import SlotArray, SlotPool, runs_of
from sglang.srt.cache.radix_tree import Node, RadixTree, TokenArray
from sglang.srt.cache.slot_runs import SlotRuns


def tokens_of(*values: int) -> TokenArray:
    return np.array(values, dtype=np.int64)


class NaiveTree:
    """What the tree means: for every stored prefix its slot, when it was last used, and how many locks hold it."""

    def __init__(self) -> None:
        self.slots: dict[tuple[str, tuple[int, ...]], int] = {}
        self.used: dict[tuple[str, tuple[int, ...]], int] = {}
        self.locks: dict[tuple[str, tuple[int, ...]], int] = {}
        self.clock = 0

    def match(self, namespace: str, tokens: tuple[int, ...]) -> list[int]:
        found = []
        for length in range(1, len(tokens) + 1):
            key = (namespace, tokens[:length])
            if key not in self.slots:
                break
            found.append(self.slots[key])
        return found

    def insert(self, namespace: str, tokens: tuple[int, ...], slots: list[int]) -> None:
        self.clock += 1
        for length in range(1, len(tokens) + 1):
            key = (namespace, tokens[:length])
            self.slots.setdefault(key, slots[length - 1])
            self.used[key] = self.clock

    def lock(self, namespace: str, tokens: tuple[int, ...]) -> None:
        self.clock += 1
        for length in range(1, len(tokens) + 1):
            key = (namespace, tokens[:length])
            self.used[key] = self.clock
            self.locks[key] = self.locks.get(key, 0) + 1

    def unlock(self, namespace: str, tokens: tuple[int, ...]) -> None:
        for length in range(1, len(tokens) + 1):
            self.locks[namespace, tokens[:length]] -= 1

    def num_locked(self) -> int:
        return sum(self.locks.get(key, 0) > 0 for key in self.slots)

    def drop(self, slot: int) -> tuple[tuple[str, tuple[int, ...]], int]:
        """Remove the prefix stored in `slot`; it must be an unlocked leaf. Returns its key and when it was used."""
        key = next(key for key, stored in self.slots.items() if stored == slot)
        assert not self.locks.get(key, 0), "evicted what was locked"
        continued = [(key[0], (*key[1], token)) in self.slots for token in range(ALPHABET)]
        assert not any(continued), "evicted what others continue"
        del self.slots[key]
        return key, self.used.pop(key)

    def oldest_unlocked_leaf(self) -> int:
        leaves = [
            self.used[key]
            for key in self.slots
            if not self.locks.get(key, 0)
            and not any((key[0], (*key[1], token)) in self.slots for token in range(ALPHABET))
        ]
        return min(leaves)


ALPHABET = 3


@pytest.mark.parametrize("seed", range(8))
def test_random_operations_agree_with_a_naive_model(seed: int) -> None:
    rng = random.Random(seed)
    tree, naive = RadixTree(), NaiveTree()
    held: list[tuple[Node, str, tuple[int, ...]]] = []
    next_slot = 0
    for round_number in range(8000):
        namespace = rng.choice(["", "other"])
        values = tuple(rng.randrange(ALPHABET) for _ in range(rng.randint(0, 12)))
        action = rng.random()
        if action < 0.35:
            slots = list(range(next_slot, next_slot + len(values)))
            next_slot += len(values)
            result = tree.insert(namespace, tokens_of(*values), np.array(slots, dtype=np.int64))
            naive.insert(namespace, values, slots)
            assert result.slots.tolist() == [naive.slots[namespace, values[: i + 1]] for i in range(len(values))]
        elif action < 0.6:
            assert tree.match(namespace, tokens_of(*values)).slots.tolist() == naive.match(namespace, values)
        elif action < 0.75:
            match = tree.match(namespace, tokens_of(*values))
            matched = values[: match.num_tokens]
            held.append((tree.lock(match), namespace, matched))
            naive.lock(namespace, matched)
        elif action < 0.9 and held:
            node, locked_in, locked = held.pop(rng.randrange(len(held)))
            tree.unlock(node)
            naive.unlock(locked_in, locked)
        else:
            count = rng.randint(1, 80)
            evictable = tree.num_evictable_tokens
            dropped = tree.evict(count)
            assert len(dropped) == min(count, evictable)
            check_evicted(naive, dropped)
        assert tree.num_tokens == len(naive.slots)
        assert tree.num_locked_tokens == naive.num_locked()
        if round_number % 50 == 0:
            tree.check_integrity()
    for node, _, _ in held:
        tree.unlock(node)
    tree.evict(tree.num_tokens)
    tree.check_integrity()
    assert tree.num_tokens == 0 and not list(tree.nodes())


def check_evicted(naive: NaiveTree, dropped: SlotArray) -> None:
    """What is least recently used leaves first, from the end of its path backwards."""
    remaining = set(dropped.tolist())
    while remaining:
        oldest = naive.oldest_unlocked_leaf()
        path = [key for key, slot in naive.slots.items() if slot in remaining and naive.used[key] == oldest]
        assert path, "a more recently used leaf went first"
        deepest = max(path, key=lambda key: len(key[1]))
        remaining.remove(naive.slots[deepest])
        naive.drop(naive.slots[deepest])


def test_equal_tokens_in_other_namespaces_never_meet() -> None:
    tree = RadixTree()
    tree.insert("a", tokens_of(1, 2, 3), tokens_of(10, 11, 12))
    assert tree.match("b", tokens_of(1, 2, 3)).num_tokens == 0
    assert tree.match("a", tokens_of(1, 2, 9)).slots.tolist() == [10, 11]


def test_a_lock_holds_exactly_the_match() -> None:
    tree = RadixTree()
    tree.insert("", tokens_of(*range(100)), np.arange(100))
    node = tree.lock(tree.match("", tokens_of(*range(10))))
    assert (tree.num_locked_tokens, tree.num_evictable_tokens) == (10, 90)
    assert len(tree.evict(1000)) == 90
    tree.unlock(node)
    assert len(tree.evict(1000)) == 10


@pytest.mark.parametrize("seed", range(5))
def test_pool_hands_every_slot_to_one_owner(seed: int) -> None:
    rng = random.Random(seed)
    total = rng.choice([1, 17, 500, 3000])
    pool = SlotPool(total)
    owners: list[SlotArray] = []
    for _ in range(3000):
        if rng.random() < 0.55:
            count = rng.randint(0, 40)
            after = int(rng.choice(owners)[-1]) if owners and rng.random() < 0.5 else None
            slots = pool.allocate(count, after)
            if slots is None:
                assert count > pool.num_free
            elif count:
                assert len(slots) == count
                owners.append(slots)
        elif owners:
            slots = owners.pop(rng.randrange(len(owners)))
            kept = rng.randint(0, len(slots))
            pool.free(rng_shuffled(rng, slots[kept:]))
            if kept:
                owners.append(slots[:kept])
        everything = np.concatenate([pool.free_slots(), *owners])
        assert len(everything) == total == len(np.unique(everything))
    for slots in owners:
        pool.free(slots)
    assert pool.num_free == total and pool.free_slots().tolist() == list(range(total))


def rng_shuffled(rng: random.Random, slots: SlotArray) -> SlotArray:
    values = slots.tolist()
    rng.shuffle(values)
    return np.array(values, dtype=np.int64)


def test_sequences_that_grow_side_by_side_stay_in_long_runs() -> None:
    pool = SlotPool(10_000)
    slots = [pool.allocate(200, None) for _ in range(8)]
    sequences = [SlotRuns(first) for first in slots]
    last = [int(first[-1]) for first in slots if first is not None]
    for _ in range(100):
        for index, runs in enumerate(sequences):
            new = pool.allocate_next(after=last[index])
            assert new is not None
            runs.append(new)
            last[index] = new
    assert all(len(runs.as_array()) <= 2 for runs in sequences)


@pytest.mark.parametrize("seed", range(5))
def test_the_next_slot_is_the_one_that_any_allocation_gives(seed: int) -> None:
    """Two pools, one asked for single slots, one for runs of one."""
    rng = random.Random(seed)
    pool, twin = SlotPool(60), SlotPool(60)
    held: list[int] = []
    for _ in range(400):
        if held and rng.random() < 0.45:
            slot = held.pop(rng.randrange(len(held)))
            for one in (pool, twin):
                one.free(np.array([slot], dtype=np.int64))
            continue
        after = rng.choice([None, *held])
        slot_or_none, slots = pool.allocate_next(after), twin.allocate(1, after)
        assert (None if slots is None else slots.tolist()) == (None if slot_or_none is None else [slot_or_none])
        held += [] if slot_or_none is None else [slot_or_none]
        assert pool.free_slots().tolist() == twin.free_slots().tolist()


def test_runs_grow_one_slot_at_a_time() -> None:
    slots = [5, 6, 7, 1, 2, 9, 11, 13, 14, 15, 17, 3]
    runs = SlotRuns(np.array(slots[:2], dtype=np.int64))
    for count, slot in enumerate(slots[2:], 3):
        runs.append(slot)
        covered = [slot for start, length in runs.as_array().tolist() for slot in range(start, start + length)]
        assert covered == slots[:count]
    assert runs.as_array().tolist() == SlotRuns(np.array(slots, dtype=np.int64)).as_array().tolist()


def test_freeing_twice_is_caught() -> None:
    pool = SlotPool(10)
    slots = pool.allocate(4, None)
    assert slots is not None
    pool.free(slots)
    with pytest.raises(AssertionError):
        pool.free(slots)


@pytest.mark.parametrize("values", [[], [3], [1, 2, 3], [5, 6, 1, 2, 9], [3, 2, 1]])
def test_runs_cover_the_slots_in_order(values: list[int]) -> None:
    runs = list(runs_of(np.array(values, dtype=np.int64)))
    assert [slot for start, end in runs for slot in range(start, end)] == values
    assert all(end != start for (_, end), (start, _) in itertools.pairwise(runs))
