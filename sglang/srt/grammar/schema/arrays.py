"""Arrays: what their items are like, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations, product
from math import comb

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.schema.machine import Item, Machine, build_machine
from sglang.srt.grammar.schema.numbers import Numbers, decimal_text
from sglang.srt.grammar.schema.shapes import ANYTHING, KINDS, Arrays, Contains, Scalars, State
from sglang.srt.grammar.schema.solver import Solver
from sglang.srt.grammar.schema.strings import Strings

MAX_TOLD_APART = 8
"""Items of an array that are compared with each other to see that no two can be equal."""

MAX_UNIQUE = 64
"""Values of the items of such an array that are listed."""

MAX_SELECTIONS = 256
"""Of values that may have been used so far in an array in which no two may be equal: all those of 8 values, or of 22
values at most 2. Where there may be more, whoever follows the output compares the items.
"""

MAX_OPTIONAL_ITEMS = 60
"""Items of their own kind that an array may end before."""

_INSTEAD = "without 'uniqueItems' a list can be had, which may repeat items"


def settle_array(solver: Solver, shape: Arrays, place: str) -> Arrays | Machine:
    """The same without items that have to be contained: as an array, or else as a machine. Unique are the items only
    of an array, and only where it takes comparing them.

    Raises InvalidRequestError for unique items among which some have to be contained, and for what takes too much
    counting.
    """
    if len(shape.prefix) - shape.low > MAX_OPTIONAL_ITEMS:
        raise InvalidRequestError(
            f"json_schema has {len(shape.prefix) - shape.low} different items at {place} that may be there or not; at "
            f"most {MAX_OPTIONAL_ITEMS} are supported"
        )
    contains = tuple(one for one in shape.contains if one.low or one.high is not None)
    if shape.is_unique and not _cannot_repeat(solver, shape):
        if contains:
            raise InvalidRequestError(
                f"json_schema has 'uniqueItems' with 'contains' at {place}, which cannot be enforced; {_INSTEAD}"
            )
        return _unique(solver, shape, place)
    if contains:
        return _counted(shape, contains, place)
    return Arrays(shape.prefix[: shape.high], shape.rest, shape.low, shape.high)


def _cannot_repeat(solver: Solver, shape: Arrays) -> bool:
    """Because items of different places are never equal."""
    high = shape.high
    if high is None and solver.is_void(shape.rest):
        high = len(shape.prefix)
    if high is None or high > MAX_TOLD_APART:
        return False
    states = [shape.item(place) for place in range(high)]
    return all(solver.is_void(one | other) for one, other in combinations(states, 2))


def _unique(solver: Solver, shape: Arrays, place: str) -> Arrays | Machine:
    """Of few values that are listed, like those of an enum, a machine knows which are there already: at most 8 values,
    or more where there are few items.
    """
    kinds = [_values(solver, state) for state in (*shape.prefix, shape.rest)]
    if None in kinds:
        return Arrays(shape.prefix[: shape.high], shape.rest, shape.low, shape.high, is_unique=True)
    values = list(dict.fromkeys(value for found in kinds for value in found or ()))
    high = len(values) if shape.high is None else min(shape.high, len(values))
    if shape.low <= high and (len(values) > MAX_UNIQUE or _num_selections(len(values), high) >= MAX_SELECTIONS):
        return Arrays(shape.prefix[:high], shape.rest, shape.low, high, is_unique=True)
    if shape.low > high:
        return build_machine(False, 0, lambda count: (), lambda count: False, f"unique items at {place}")

    full = frozenset(values)

    def steps(used: frozenset[str]) -> Iterator[tuple[Item, frozenset[str]]]:
        if len(used) < high:
            for value in kinds[min(len(used), len(shape.prefix))] or ():
                if value not in used:
                    yield Item(text=value), used | {value} if len(used) + 1 < high else full

    return build_machine(
        False, frozenset[str](), steps, lambda used: len(used) >= shape.low, f"unique items at {place}"
    )


def _num_selections(num_values: int, high: int) -> int:
    """Of fewer than `high` of them."""
    return sum(comb(num_values, count) for count in range(high))


def _values(solver: Solver, state: State) -> list[str] | None:
    """As JSON; None if they are too many, or not to be listed."""
    values: list[str] = []
    for branch in (branch for kind in KINDS for branch in solver.branches(state, kind)):
        shape = branch.shape
        if branch.refusals:
            return None
        if isinstance(shape, Scalars):
            values += shape.texts
        elif isinstance(shape, Numbers) and (numbers := shape.members(MAX_UNIQUE)) is not None:
            values += map(decimal_text, map(Fraction, numbers))
        elif isinstance(shape, Strings) and shape.texts is not None:
            values += (json.dumps(text, ensure_ascii=False) for text in shape.generated_texts)
        else:
            return None
    return list(dict.fromkeys(values))


def _counted(shape: Arrays, contains: tuple[Contains, ...], place: str) -> Machine:
    """Counts the items, as far as their number matters, and those of each kind that has to be contained."""
    last = max(shape.low, shape.high or 0, len(shape.prefix), *(one.start for one in contains))
    limits = [one.low if one.high is None else max(one.low, one.high) for one in contains]

    def steps(count: tuple[int, ...]) -> Iterator[tuple[Item, tuple[int, ...]]]:
        at, *found = count
        if shape.high is not None and at >= shape.high:
            return
        for marks in product((False, True), repeat=len(contains)):
            if any(mark and at < one.start for one, mark in zip(contains, marks, strict=True)):
                continue
            after = [number + mark for number, mark in zip(found, marks, strict=True)]
            if any(one.high is not None and number > one.high for one, number in zip(contains, after, strict=True)):
                continue
            state = shape.item(at).union(*(_said(one, mark, at) for one, mark in zip(contains, marks, strict=True)))
            yield Item(state), (min(at + 1, last), *map(min, after, limits))

    def accepts(count: tuple[int, ...]) -> bool:
        return count[0] >= shape.low and all(number >= one.low for one, number in zip(contains, count[1:], strict=True))

    return build_machine(False, (0, *[0] * len(contains)), steps, accepts, f"items at {place}")


def _said(one: Contains, mark: bool, at: int) -> State:
    """Of an item that counts as such, or does not. Where more of them do no harm, one that does not may be one too."""
    demand, positive = one.demand
    if mark:
        return frozenset([one.demand])
    return ANYTHING if one.high is None or at < one.start else frozenset([(demand, not positive)])
