"""Where a regular expression looks around, and how the same is said without: by several expressions at once.

Only where that does not depend on how the text is divided: ahead of the beginning and behind the end lies the whole
text, and what must not begin at any of its characters must not be in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sglang.srt.grammar.python_regex import END_ANCHORS, START_ANCHORS

Tree = list[Any]
"""Of Python's own parser."""

_AHEAD, _BEHIND = 1, -1
_OF_ONE_CHARACTER = ("LITERAL", "NOT_LITERAL", "IN", "ANY")


def without_lookaround(tree: Sequence[Any]) -> list[tuple[Tree, bool]]:
    """Expressions that are found in a text, marked True, or are not found in it, if and only if the one in `tree` is
    found in it. Lookarounds at other places stay in them.
    """
    items = _ungrouped(tree)
    found: list[tuple[Tree, bool]] = []
    if items and _is_anchor(items[0], START_ANCHORS):
        start = items[0]
        while (ahead := _lookaround(items[1:2], _AHEAD)) is not None:
            found.append(([start, *ahead[0]], ahead[1]))
            del items[1]
    if items and _is_anchor(items[-1], END_ANCHORS):
        end = items[-1]
        while (behind := _lookaround(items[-2:-1], _BEHIND)) is not None:
            found.append(([*behind[0], end], behind[1]))
            del items[-2]
    if (parted := _parted(items)) is not None:
        items, absent = parted
        found.append((absent, False))
    return [(items, True), *found]


def _ungrouped(tree: Sequence[Any]) -> Tree:
    """Groups that are neither repeated nor optional, and set no flags, do not matter."""
    items: Tree = []
    for kind, value in tree:
        if str(kind) == "SUBPATTERN" and value[1:3] == (0, 0):
            items += _ungrouped(value[3])
        else:
            items.append((kind, value))
    return items


def _is_anchor(item: Any, anchors: tuple[Any, ...]) -> bool:
    return str(item[0]) == "AT" and item[1] in anchors


def _lookaround(items: Tree, direction: int) -> tuple[Tree, bool] | None:
    """What is looked for, and whether it has to be there; None if the item is no lookaround in this direction."""
    if not items or str(items[0][0]) not in ("ASSERT", "ASSERT_NOT") or items[0][1][0] != direction:
        return None
    kind, (_, body) = items[0]
    return list(body), str(kind) == "ASSERT"


def _parted(items: Tree) -> tuple[Tree, Tree] | None:
    """Of ``^((?!absent)c)*$``: the same without looking, and what must be nowhere in it. None for all other items."""
    if len(items) != 3 or not _is_anchor(items[0], START_ANCHORS) or not _is_anchor(items[2], END_ANCHORS):
        return None
    start, (kind, value), end = items
    if str(kind) not in ("MAX_REPEAT", "MIN_REPEAT"):
        return None
    low, high, body = value
    each = _ungrouped(body)
    absent = _lookaround(each[:1], _AHEAD)
    if len(each) != 2 or str(each[1][0]) not in _OF_ONE_CHARACTER or absent is None or absent[1]:
        return None
    can_be_empty = each[0][1][1].getwidth()[0] == 0
    return None if can_be_empty else ([start, (kind, (low, high, each[1:])), end], absent[0])
