"""``/score_choices``: the tokens of each choice after a prompt, tokenized together with it, and how likely each is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.select.call import ScoreCall
from sglang.srt.select.token_trie import Node, TokenTrie
from sglang.srt.tokenizer.call import Prompt
from sglang.srt.tokenizer.manager import TokenizerManager
from sglang.srt.tokenizer.seams import Segments

TokenRow = tuple[float | None, int, str]
"""Natural-log probability, id and text. None: no token stands before it."""


async def score_choices(manager: TokenizerManager, call: ScoreCall) -> dict[str, Any]:
    """``{"input_token_logprobs", "unconditional_token_logprobs", "meta_info"}``, the first two with rows per choice.

    The tokens that a prompt with a choice shares with the prompt alone are the prompt's; the rest are the choice's,
    also one that began in the prompt. Cancelling it aborts what runs. Raises InvalidRequestError, RequestFailedError.
    """
    return await manager.score(call.prompt, partial(_score_choices, manager, call))


async def _score_choices(manager: TokenizerManager, call: ScoreCall) -> dict[str, Any]:
    prompt, rid, namespace = call.prompt.prompt, call.prompt.rid, call.prompt.namespace
    (alone,) = await manager.tokenize([prompt])
    if not alone:
        raise InvalidRequestError("the prompt is empty: it has no tokens")
    whole = await manager.tokenize([_with_choice(prompt, choice) for choice in call.choices])
    shared = [_num_shared(ids, alone) for ids in whole]
    starts = [max(number, 1) for number in shared]  # nothing stands before the first token of all
    for choice, ids, start in zip(call.choices, whole, starts, strict=True):
        _check_scorable(choice, len(ids) - start)
    base = alone[: min(shared)]
    trie = TokenTrie(manager, base, rid, namespace)
    work = [_score(manager, trie, [ids[len(base) :] for ids in whole], [start - len(base) for start in starts])]
    if call.unconditional:
        apart = TokenTrie(manager, (), f"{rid}_apart", namespace)
        own = [ids[start:] for ids, start in zip(whole, starts, strict=True)]
        work.append(_score(manager, apart, own, [0] * len(own)))
    rows, *unconditional = await asyncio.gather(*work)
    meta_info = {
        "id": rid,
        "prompt_tokens": len(alone),
        "cached_tokens": trie.cached_tokens,
        "completion_tokens": 0,
        "trie_nodes": trie.num_nodes,
        "cached_nodes": trie.num_remembered,
        "select_rows": trie.num_rows,
    }
    scores = {"input_token_logprobs": rows, "meta_info": meta_info}
    return {**scores, "unconditional_token_logprobs": unconditional[0]} if unconditional else scores


def _with_choice(prompt: Prompt, choice: str) -> Prompt:
    if isinstance(prompt, str):
        return prompt + choice
    return Segments((*prompt.pieces, choice) if isinstance(prompt, Segments) else (tuple(prompt), choice))


def _num_shared(ids: Sequence[int], others: Sequence[int]) -> int:
    return next((index for index, pair in enumerate(zip(ids, others, strict=False)) if pair[0] != pair[1]), len(others))


def _check_scorable(choice: str, num_tokens: int) -> None:
    if num_tokens <= 0:
        raise InvalidRequestError(
            f"the choice {shown(choice)} cannot be scored: it adds no token that comes after another one; "
            "the prompt before it should be longer than a token"
        )


async def _score(
    manager: TokenizerManager, trie: TokenTrie, sequences: Sequence[Sequence[int]], starts: Sequence[int]
) -> list[list[TokenRow]]:
    """Rows for the tokens of each sequence from its start on. sequences: what follows the base of `trie`."""
    asked: dict[Node, dict[int, int]] = {}  # the place of each token among the node's candidates
    steps = []
    for ids, start in zip(sequences, starts, strict=True):
        node = trie.root.descend(ids[:start])
        for token_id in ids[start:]:
            if trie.can_ask(node):
                places = asked.setdefault(node, {})
                places.setdefault(token_id, len(places))
            node = node.child(token_id)
        steps.append(node.path()[start:])
    logprobs = await trie.logprobs({node: list(places) for node, places in asked.items()})

    def row(node: Node) -> TokenRow:
        before, token_id = node.parent, node.token_id
        found = logprobs[before][asked[before][token_id]] if before in asked else None
        return found, token_id, manager.decode_token([token_id])

    return [[row(node) for node in path] for path in steps]
