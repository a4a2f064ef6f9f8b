"""A radix tree from token sequences to the slots that hold their keys and values.

The tree knows 64-bit integers, slots and reference counts; it never hears of requests or tensors. Every edge holds a
run of tokens and as many slots. Walking down costs one dictionary lookup and one array comparison per edge, so a lookup
costs the length of the match, however many sequences are stored. Separate namespaces have separate roots: equal
tokens under different names never meet.

A node is *locked* while a request reads its slots; locking a node locks the path to its root. Only leaves that nobody
locks are evicted, least recently used first, and only as much of a leaf's tail as is needed.

After: "SGLang: Efficient Execution of Structured Language Model Programs" (arXiv 2312.07104), section 3.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sglang.srt.cache.pool import SlotArray

TokenArray = npt.NDArray[np.int64]

_EMPTY: SlotArray = np.empty(0, dtype=np.int64)


class Node:
    """The edge into one point of the tree. `tokens` and `slots` have equal length, and only a root's are empty."""

    __slots__ = ("children", "in_heap", "last_used", "locks", "namespace", "parent", "slots", "tokens")

    def __init__(self, namespace: str, parent: Node | None, tokens: TokenArray, slots: SlotArray) -> None:
        self.namespace = namespace
        self.parent = parent
        self.tokens = tokens
        self.slots = slots
        self.children: dict[int, Node] = {}
        self.locks = 0
        self.last_used = 0
        self.in_heap = False

    @property
    def is_evictable(self) -> bool:
        return self.locks == 0 and not self.children and self.parent is not None


@dataclass(frozen=True, slots=True)
class Match:
    """The longest stored prefix of some tokens: its slots in token order, and where in the tree it ends.

    Valid until the next change of the tree; lock it to keep the slots beyond that.
    """

    slots: SlotArray
    node: Node
    node_length: int  # how many of the node's own tokens belong to the match

    @property
    def num_tokens(self) -> int:
        return len(self.slots)


class RadixTree:
    """Not thread-safe. Counts are in tokens, which is the same as slots."""

    def __init__(self) -> None:
        self._roots: dict[str, Node] = {}
        self._clock = 0
        self._heap: list[tuple[int, int, Node]] = []  # (last_used when pushed, tie-break, candidate for eviction)
        self._pushes = 0
        self.num_tokens = 0
        self.num_locked_tokens = 0

    @property
    def num_evictable_tokens(self) -> int:
        return self.num_tokens - self.num_locked_tokens

    def match(self, namespace: str, tokens: TokenArray) -> Match:
        """The longest stored prefix of `tokens`. Changes nothing; looking is not using, `lock` is."""
        node = self._roots.get(namespace) or Node(namespace, None, _EMPTY, _EMPTY)
        pieces: list[SlotArray] = []
        length = 0
        for child, length in self._descend(node, tokens):
            pieces.append(child.slots[:length])
            node = child
        return Match(np.concatenate(pieces) if pieces else _EMPTY, node, length)

    def match_length(self, namespace: str, tokens: TokenArray) -> int:
        """How many tokens `match` would find."""
        root = self._roots.get(namespace)
        return 0 if root is None else sum(length for _, length in self._descend(root, tokens))

    def insert(self, namespace: str, tokens: TokenArray, slots: SlotArray) -> Match:
        """Store `tokens` with `slots` (equal lengths). Returns what holds all of them now.

        Where a prefix is stored already, its slots stay and are in the result; the caller keeps its own for that part.
        The tree owns the slots past that prefix from now on.
        """
        assert len(tokens) == len(slots)
        if not len(tokens):
            return self.match(namespace, tokens)
        node = self._roots.get(namespace)
        if node is None:
            node = self._roots[namespace] = Node(namespace, None, _EMPTY, _EMPTY)
        pieces: list[SlotArray] = []
        tick, stored = self._tick(), 0
        for child, length in self._descend(node, tokens):
            node = child if length == len(child.tokens) else self._split(child, length)
            node.last_used = tick
            pieces.append(node.slots)
            stored += length
        if stored < len(tokens):
            node = self._append(node, tokens[stored:].copy(), slots[stored:].copy(), tick)
            pieces.append(node.slots)
        return Match(np.concatenate(pieces), node, len(node.tokens))

    def lock(self, match: Match) -> Node:
        """Use exactly the matched tokens, and keep them from eviction until the returned node is unlocked."""
        node, tick = match.node, self._tick()
        if match.node_length < len(node.tokens):
            node = self._split(node, match.node_length)
        at: Node | None = node
        while at is not None:
            at.last_used = tick
            if at.locks == 0:
                self.num_locked_tokens += len(at.tokens)
            at.locks += 1
            at = at.parent
        return node

    def unlock(self, node: Node) -> None:
        at: Node | None = node
        while at is not None:
            assert at.locks > 0, "unlocked more often than locked"
            at.locks -= 1
            if at.locks == 0:
                self.num_locked_tokens -= len(at.tokens)
                self._offer(at)
            at = at.parent

    def evict(self, count: int) -> SlotArray:
        """Drop up to `count` tokens from unlocked leaves, least recently used first. Returns the slots dropped."""
        dropped: list[SlotArray] = []
        while count > 0 and self._heap:
            pushed_at, _, leaf = heapq.heappop(self._heap)
            leaf.in_heap = False
            if not leaf.is_evictable:
                continue
            if leaf.last_used != pushed_at:  # used since it was offered: it waits its new turn
                self._offer(leaf)
                continue
            dropped.append(self._drop_tail(leaf, min(count, len(leaf.tokens))))
            count -= len(dropped[-1])
        return np.concatenate(dropped) if dropped else _EMPTY

    def nodes(self) -> Iterator[Node]:
        """Every node but the roots, parents first."""
        stack = list(self._roots.values())
        while stack:
            node = stack.pop()
            if node.parent is not None:
                yield node
            stack.extend(node.children.values())

    def check_integrity(self) -> None:
        """Raise AssertionError unless structure, counts, locks and the eviction heap agree."""
        total = locked = 0
        for node in self.nodes():
            parent = node.parent
            assert parent is not None and len(node.tokens) == len(node.slots) > 0
            assert parent.children[int(node.tokens[0])] is node and parent.namespace == node.namespace
            assert parent.locks >= node.locks
            assert parent.parent is None or parent.last_used >= node.last_used
            assert node.in_heap or not node.is_evictable, "an evictable leaf nobody will find"
            total += len(node.tokens)
            locked += len(node.tokens) if node.locks else 0
        assert (total, locked) == (self.num_tokens, self.num_locked_tokens)
        assert all(root.children or root.locks for root in self._roots.values()), "an empty namespace was kept"

    @staticmethod
    def _descend(node: Node, tokens: TokenArray) -> Iterator[tuple[Node, int]]:
        """Walk from `node` along `tokens`: each child entered, with how many of its tokens agree (at least one).

        The caller may split the child it was given: the walk ends after a partial agreement.
        """
        at, end = 0, len(tokens)
        while at < end and (child := node.children.get(int(tokens[at]))) is not None:
            length = _common_prefix(child.tokens, tokens[at:])
            is_whole = length == len(child.tokens)
            yield child, length
            if not is_whole:
                return
            node, at = child, at + length

    def _split(self, node: Node, length: int) -> Node:
        """Cut `node` after `length` tokens: a new parent takes the head. Returns the head. Locks count for both."""
        parent = node.parent
        assert parent is not None and 0 < length < len(node.tokens)
        head = Node(node.namespace, parent, node.tokens[:length], node.slots[:length])
        head.locks, head.last_used = node.locks, node.last_used
        parent.children[int(head.tokens[0])] = head
        node.tokens, node.slots, node.parent = node.tokens[length:], node.slots[length:], head
        head.children[int(node.tokens[0])] = node
        return head

    def _append(self, parent: Node, tokens: TokenArray, slots: SlotArray, tick: int) -> Node:
        leaf = Node(parent.namespace, parent, tokens, slots)
        leaf.last_used = tick
        parent.children[int(tokens[0])] = leaf
        self.num_tokens += len(tokens)
        self._offer(leaf)
        return leaf

    def _drop_tail(self, leaf: Node, count: int) -> SlotArray:
        kept = len(leaf.tokens) - count
        dropped = leaf.slots[kept:]
        self.num_tokens -= count
        if kept:
            leaf.tokens, leaf.slots = leaf.tokens[:kept], leaf.slots[:kept]
            self._offer(leaf)
            return dropped
        parent = leaf.parent
        assert parent is not None
        del parent.children[int(leaf.tokens[0])]
        leaf.parent = None
        self._offer(parent)
        return dropped

    def _offer(self, node: Node) -> None:
        """Make an evictable leaf a candidate; drop a root that holds nothing."""
        if node.is_evictable and not node.in_heap:
            self._pushes += 1
            node.in_heap = True
            heapq.heappush(self._heap, (node.last_used, self._pushes, node))
        elif not node.children and not node.locks and self._roots.get(node.namespace) is node:
            del self._roots[node.namespace]

    def _tick(self) -> int:
        self._clock += 1
        return self._clock


def _common_prefix(left: TokenArray, right: TokenArray) -> int:
    length = min(len(left), len(right))
    differs = left[:length] != right[:length]
    first = int(differs.argmax()) if length else 0
    return first if length and differs[first] else length
