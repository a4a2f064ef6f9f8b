"""What a model says after the nodes of a trie of tokens, each computed once.

The nodes asked about are covered by as few requests as possible, one for each path that no other goes on from, all sent
at once. The engine shares their common beginnings in the step that computes them, and whichever request computes a
token answers for it. What was in the cache before gets no answer that way: every node left out is then asked about
alone, as the last token of a request, which is always computed. What was answered once is remembered. What takes long
runs in worker threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from sglang.srt.messages import TOKEN_BYTES
from sglang.srt.tokenizer.manager import ScoredPrefix, TokenizerManager


class Node:
    """The tokens from the root to here, after the trie's base."""

    __slots__ = ("_children", "depth", "key", "parent", "token_id")

    def __init__(self, key: bytes, parent: Node | None = None, token_id: int = -1) -> None:
        """key: stands for all the tokens up to this one, and for the namespace of their keys and values."""
        self.key = key
        self.parent = parent
        self.token_id = token_id
        self.depth: int = 0 if parent is None else parent.depth + 1
        self._children: dict[int, Node] = {}

    def child(self, token_id: int) -> Node:
        if token_id not in self._children:
            key = _digest(self.key, token_id.to_bytes(TOKEN_BYTES, "little"))
            self._children[token_id] = Node(key, self, token_id)
        return self._children[token_id]

    def descend(self, token_ids: Sequence[int]) -> Node:
        node = self
        for token_id in token_ids:
            node = node.child(token_id)
        return node

    def path(self) -> list[Node]:
        """The nodes below the root down to this one."""
        path, node = [], self
        while node.parent is not None:
            path.append(node)
            node = node.parent
        return path[::-1]


Candidates = Mapping[Node, Sequence[int]]
_Asking = tuple[list[Node], ScoredPrefix]
"""A path, and the request that computes it."""


class TokenTrie:
    """base: the tokens before the root. Without any, nothing can be asked about the root.

    num_rows: how many tokens the engine has computed for it. cached_tokens: how many of the base it found in the cache,
    of which the last is computed all the same. num_nodes: how many below the root its answers needed. num_remembered:
    how many of those had been asked before, and did not have to be computed.
    """

    def __init__(self, manager: TokenizerManager, base: Sequence[int], rid: str, namespace: str) -> None:
        self.root = Node(_digest(namespace.encode(), b"\0", *(i.to_bytes(TOKEN_BYTES, "little") for i in base)))
        self.num_rows = 0
        self.num_remembered = 0
        self.cached_tokens = len(base)
        self._manager = manager
        self._base = list(base)
        self._rid = rid
        self._namespace = namespace
        self._num_rounds = 0
        self._nodes: set[Node] = set()

    @property
    def num_nodes(self) -> int:
        return len(self._nodes)

    def can_ask(self, node: Node) -> bool:
        """Whether any token stands before what comes after `node`."""
        return bool(self._base) or node is not self.root

    async def logprobs(self, candidates: Candidates) -> dict[Node, list[float]]:
        """Natural-log probabilities of each node's candidates as the token after it. Raises as `compute`."""
        known = await asyncio.to_thread(self._recall, candidates)
        asked = {node: ids for node, ids in candidates.items() if node not in known}
        found = await self._ask(asked)
        await asyncio.to_thread(self._remember, asked, found)
        self._nodes.update(await asyncio.to_thread(_all_below_root, candidates))
        self.num_remembered += sum(node is not self.root for node in known)
        return known | found

    def _recall(self, candidates: Candidates) -> dict[Node, list[float]]:
        memory = self._manager.score_memory
        return {node: logprobs for node, ids in candidates.items() if (logprobs := memory.get(node.key, ids))}

    def _remember(self, asked: Candidates, found: Mapping[Node, list[float]]) -> None:
        for node, ids in asked.items():
            self._manager.score_memory.put(node.key, ids, found[node])

    async def _ask(self, candidates: Candidates) -> dict[Node, list[float]]:
        found = await self._compute(await asyncio.to_thread(self._covering, candidates))
        left = {node: ids for node, ids in candidates.items() if node not in found}
        return found | await self._compute([self._asking(node.path(), [list(ids)]) for node, ids in left.items()])

    def _covering(self, candidates: Candidates) -> list[_Asking]:
        paths = (node.path() for node in _ends(candidates))
        return [self._asking(path, _along(path, candidates)) for path in paths]

    def _asking(self, path: list[Node], ids: list[list[int]]) -> _Asking:
        return path, ScoredPrefix([*self._base, *(node.token_id for node in path)], ids)

    async def _compute(self, asked: Sequence[_Asking]) -> dict[Node, list[float]]:
        if not asked:
            return {}
        rid = f"{self._rid}_{self._num_rounds}"
        self._num_rounds += 1
        found: dict[Node, list[float]] = {}
        completions = await self._manager.compute([prefix for _, prefix in asked], rid, self._namespace)
        for (path, _), completion in zip(asked, completions, strict=True):
            self.num_rows += completion.request.num_prompt_tokens - completion.cached_tokens
            self.cached_tokens = min(self.cached_tokens, completion.cached_tokens)
            for answer in completion.candidate_logprobs:
                depth = answer.position - len(self._base) + 1
                found[path[depth - 1] if depth else self.root] = answer.logprobs
        return found


def _digest(*parts: bytes) -> bytes:
    return blake2b(b"".join(parts), digest_size=16).digest()


def _ends(candidates: Candidates) -> list[Node]:
    """The root, if it is there, and the nodes that no other one lies below."""
    inner: set[Node] = set()
    for node in candidates:
        above = node.parent
        while above is not None and above not in inner:
            inner.add(above)
            above = above.parent
    return [node for node in candidates if node not in inner or node.parent is None]


def _all_below_root(candidates: Candidates) -> set[Node]:
    """These nodes, and all on the way to them."""
    return {node for end in _ends(candidates) for node in end.path()}


def _along(path: Sequence[Node], candidates: Candidates) -> list[list[int]]:
    """The candidates after each node of a path; of the empty one, after the root."""
    if not path:
        return [list(ids) for node, ids in candidates.items() if node.parent is None]
    return [list(candidates.get(node, ())) for node in path]
