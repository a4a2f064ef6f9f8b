"""``/select``: the probability of each choice, over all the ways to spell it, and the choice that follows from them.

The prompt's tokens are given up to the first place where a token may begin that ends in a choice (`spellings`); what
comes after is text, spelled anew together with the choice. The usual spelling of every choice is scored in one step. At
each of its tokens the model also says how likely the other tokens are with which the text could go on. Each of those
begins a branch of known mass, and branches are followed heaviest first, many in a step, until little enough is left.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sglang.srt.errors import InvalidRequestError, RequestFailedError, shown
from sglang.srt.executor.random import uniform
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.select.call import SelectCall
from sglang.srt.select.masses import ChoiceMass, OpenMass
from sglang.srt.select.spellings import Place, Spellings, num_fixed_tokens
from sglang.srt.select.token_trie import Node, TokenTrie
from sglang.srt.tokenizer.manager import TokenizerManager
from sglang.srt.tokenizer.token_index import TokenIndex

MAX_BRANCHES_AT_ONCE = 64
"""Followed in one step. What they find may make others not worth following."""


async def select(manager: TokenizerManager, call: SelectCall) -> dict[str, Any]:
    """``{"decision", "index", "meta_info"}``. Cancelling it aborts what runs.

    Raises InvalidRequestError for what cannot be done, RequestFailedError if the engine fails.
    """
    return await manager.score(call.prompt, partial(_select, manager, call))


async def _select(manager: TokenizerManager, call: SelectCall) -> dict[str, Any]:
    sampling = SamplingParams.parse({"temperature": 0.0, **call.sampling}, {}, manager.info.vocab_size)
    seed = manager.seed(sampling)
    seam = await _find_seam(manager, call)
    search = _Search(manager, call, seam)
    await search.run()
    shares = search.mass.shares()
    if not any(shares):
        raise RequestFailedError("the model gives none of the choices any probability")
    u = uniform(seed, len(seam.token_ids), 0)
    index = decide(shares, 0.0 if sampling.is_greedy else sampling.temperature, u)
    meta_info = {
        "id": call.prompt.rid,
        "prompt_tokens": len(seam.token_ids),
        "completion_tokens": 0,
        "sampling_seed": seed,
        "choice_probabilities": shares,
        **search.meta_info(),
    }
    return {"decision": call.choices[index], "index": index, "meta_info": meta_info}


def decide(shares: Sequence[float], temperature: float, u: float) -> int:
    """Which choice: the likeliest, of equals the first, or with a temperature the one at fraction `u` in [0, 1) of the
    cumulative weights, which are the shares to the power of 1 / temperature.
    """
    best = max(shares)
    if temperature == 0.0:
        return shares.index(best)
    weights = [math.exp(math.log(share / best) / temperature) if share else 0.0 for share in shares]
    left = u * math.fsum(weights)
    for index, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return index
    return max(index for index, weight in enumerate(weights) if weight)


@dataclass(frozen=True)
class _Seam:
    """token_ids: of the prompt, of which the first `num_fixed` are given. texts: what follows those, per choice.
    usual: the model's own spelling of each. index: of the tokens to spell them with.
    """

    index: TokenIndex
    token_ids: list[int]
    num_fixed: int
    texts: list[bytes]
    usual: list[list[int]]


async def _find_seam(manager: TokenizerManager, call: SelectCall) -> _Seam:
    prompt = call.prompt.prompt
    (token_ids,) = await manager.tokenize([prompt])
    if not token_ids:
        raise InvalidRequestError("the prompt is empty: it has no tokens")
    tokenizer = manager.tokenizer
    index = await manager.token_index()
    token_bytes = tokenizer.vocab.token_bytes
    choices = [b"".join(token_bytes[i] for i in ids) for ids in await manager.encode_continuations(call.choices)]
    _check_distinct(call.choices, choices)
    num_text = min(tokenizer.num_text_tokens(prompt, token_ids), len(token_ids) - 1)
    tail = [token_bytes[i] for i in token_ids[len(token_ids) - min(num_text, index.longest) :]] if num_text else []
    num_kept = await asyncio.to_thread(num_fixed_tokens, tail, choices, index)
    num_fixed = len(token_ids) - len(tail) + num_kept
    opened = b"".join(token_bytes[i] for i in token_ids[num_fixed:])
    texts = [opened + choice for choice in choices]
    usual = await manager.encode_continuations([text.decode(errors="replace") for text in texts])
    return _Seam(index, token_ids, num_fixed, texts, usual)


def _check_distinct(choices: Sequence[str], data: Sequence[bytes]) -> None:
    """The model's tokenizer may leave characters out, or take one for another."""
    seen: dict[bytes, str] = {}
    for choice, encoded in zip(choices, data, strict=True):
        if not encoded:
            raise InvalidRequestError(f"the choice {shown(choice)} cannot be scored: it has no tokens")
        if encoded in seen:
            raise InvalidRequestError(
                f"the choices {shown(seen[encoded])} and {shown(choice)} are the same to the model's tokenizer"
            )
        seen[encoded] = choice


_Following = Mapping[Node, Mapping[int, Place]]
"""Of some nodes: the tokens that go on from there, and where each leads."""


@dataclass(frozen=True, slots=True, eq=False)
class _Branch:
    node: Node
    place: Place
    open: OpenMass


class _Search:
    """What takes long runs in worker threads, one after the other: others are served meanwhile."""

    def __init__(self, manager: TokenizerManager, call: SelectCall, seam: _Seam) -> None:
        self.mass = ChoiceMass(len(seam.texts))
        self._call = call
        self._seam = seam
        self._spellings = Spellings(seam.texts, seam.index)
        base = seam.token_ids[: seam.num_fixed]
        self._trie = TokenTrie(manager, base, call.prompt.rid, call.prompt.namespace)
        self._max_depth = manager.max_prompt_tokens - len(base)
        start = self._spellings.start
        root = _Branch(self._trie.root, start, OpenMass(0.0, None, self._spellings.texts_beyond(start)))
        self._branches: dict[Node, _Branch] = {root.node: root}

    async def run(self) -> None:
        await self._follow(await asyncio.to_thread(self._usual_nodes))
        num_usual = self._trie.num_nodes
        while chosen := await asyncio.to_thread(self._choose, self._call.max_rows - (self._trie.num_nodes - num_usual)):
            await self._follow({branch.node: branch.place for branch in chosen})

    def meta_info(self) -> dict[str, Any]:
        trie = self._trie
        opened = [branch.open for branch in self._branches.values()]
        return {
            "choice_bounds": self.mass.bounds(opened),
            "choice_logprobs": self.mass.logprobs(),
            "unexplored_mass": self.mass.unexplored(opened),
            "respelled_tokens": len(self._seam.token_ids) - self._seam.num_fixed,
            "cached_tokens": trie.cached_tokens,
            "trie_nodes": trie.num_nodes,
            "cached_nodes": trie.num_remembered,
            "select_rows": trie.num_rows,
        }

    def _usual_nodes(self) -> dict[Node, Place]:
        """Those on the usual spellings, up to the last token of each, which is no node: nothing is asked after it."""
        nodes = {self._trie.root: self._spellings.start}
        for token_ids in self._seam.usual:
            node, place = self._trie.root, self._spellings.start
            for token_id in token_ids:
                following = self._spellings.next_tokens(place).get(token_id)
                if following is None or not self._spellings.texts_beyond(following):
                    break
                node, place = node.child(token_id), following
                nodes[node] = place
        return nodes

    def _choose(self, max_branches: int) -> list[_Branch]:
        """The heaviest branches, as many as it takes to leave little enough; none if that is so already."""
        branches = sorted(self._branches.values(), key=lambda branch: -branch.open.logprob)
        needed = self.mass.num_to_follow([branch.open for branch in branches], self._call.max_unexplored_mass)
        fitting = [branch for branch in branches[:needed] if branch.node.depth <= self._max_depth]
        return fitting[: min(max_branches, MAX_BRANCHES_AT_ONCE)]

    async def _follow(self, nodes: dict[Node, Place]) -> None:
        """Learn what comes after these nodes, each of which is the end of a branch or lies beyond one of them."""
        tokens = await asyncio.to_thread(self._following, nodes)
        logprobs = await self._trie.logprobs({node: list(following) for node, following in tokens.items()})
        await asyncio.to_thread(self._branch_out, nodes, tokens, logprobs)

    def _following(self, nodes: dict[Node, Place]) -> _Following:
        found = {node: self._spellings.next_tokens(place) for node, place in nodes.items()}
        return {node: following for node, following in found.items() if following}

    def _branch_out(self, nodes: Iterable[Node], tokens: _Following, logprobs: Mapping[Node, list[float]]) -> None:
        for node in nodes:  # from the root outwards
            branch = self._branches.pop(node, None)
            if branch is None:  # what leads here has no probability
                continue
            for (token_id, place), logprob in zip(tokens.get(node, {}).items(), logprobs.get(node, ()), strict=True):
                if logprob > -math.inf:
                    self._grow(branch, token_id, branch.open.logprob + logprob, place)

    def _grow(self, branch: _Branch, token_id: int, logprob: float, place: Place) -> None:
        complete = self._spellings.complete(place)
        if complete is not None:
            self.mass.add(complete, logprob, branch.open.complete)
        else:
            complete = branch.open.complete
        if ahead := self._spellings.texts_beyond(place):
            node = branch.node.child(token_id)
            self._branches[node] = _Branch(node, place, OpenMass(logprob, complete, ahead))
