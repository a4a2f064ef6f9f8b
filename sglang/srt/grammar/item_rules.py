"""How rules are named whose texts must all be different within one array.

The rules themselves do not say it, as no automaton compares texts. Whoever follows an output finds them by their names,
see `witness.unique_items`.
"""

from __future__ import annotations

import re

RESERVED_NAMES = r"\b\w*__unique_item_\d+\b"
"""A pattern: no other rules may have such names."""

_UNIQUE_ITEM = re.compile(RESERVED_NAMES)


def unique_item(prefix: str, number: int) -> str:
    return f"{prefix}__unique_item_{number}"


def is_unique_item(name: str) -> bool:
    return _UNIQUE_ITEM.search(name) is not None


def has_unique_items(grammar: str) -> bool:
    return _UNIQUE_ITEM.search(grammar) is not None
