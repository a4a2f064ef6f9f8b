"""From schemas to the shapes of the values that meet them."""

from __future__ import annotations

from functools import reduce
from typing import Any

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.schema.applicators import APPLICATORS, Applicator
from sglang.srt.grammar.schema.assertions import ASSERTIONS, Assertion
from sglang.srt.grammar.schema.document import Document, Node
from sglang.srt.grammar.schema.numbers import Numbers
from sglang.srt.grammar.schema.shapes import (
    ALL,
    ANYTHING,
    KINDS,
    Arrays,
    Branch,
    Branches,
    Contains,
    Demand,
    Evaluated,
    Kind,
    Objects,
    Presence,
    Scalars,
    Selector,
    Shape,
    State,
    anything,
    joined,
)
from sglang.srt.grammar.schema.strings import Strings

MAX_BRANCHES = 256
"""Ways in which one value can meet its schemas."""

MAX_PRODUCTS = 50_000
"""Pairs of ways that are laid over each other, for one schema."""

MAX_CANDIDATES = 500_000
"""Properties that are looked at, for one schema, where one of several has to be there."""

MAX_LEVELS = 80
"""Of schemas that combine others, for one value: each is looked at in a call of its own."""

_MAX_LOOKAHEAD = 3
"""How many levels below a value are looked at to see that nothing can meet its schemas."""


class _EntersItselfError(Exception):
    """What is asked for is being found out."""


class Solver:
    """Belongs to one document. A value meets a state if one of the branches of its type says so; each branch is exact
    but for its refusals.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self._expanded: dict[tuple[Demand, Kind], Branches] = {}
        self._states: dict[tuple[State, Kind], Branches] = {}
        self._void: dict[State, bool] = {}
        self._entered: list[tuple[Demand, Kind]] = []
        self._entered_here = 0  # where in _entered the demands on the value at hand begin
        self._lookahead = 0
        self._num_products = 0
        self._num_candidates = 0

    def branches(self, state: State, kind: Kind) -> Branches:
        """The ways in which a value of this type can meet all that the state demands."""
        key = (state, kind)
        if key not in self._states:
            demands = sorted(state, key=lambda demand: (demand[0].place, demand[0].scope, demand[1]))
            found = [self.expand(demand, kind) for demand in demands]
            self._states[key] = reduce(self.product, found, anything(kind))
        return self._states[key]

    def expand(self, demand: Demand, kind: Kind) -> Branches:
        key = (demand, kind)
        if key in self._expanded:
            return self._expanded[key]
        if key in self._entered[: self._entered_here]:
            raise _EntersItselfError
        if key in self._entered:
            raise InvalidRequestError(f"json_schema at {demand[0].place} refers to itself without end")
        if len(self._entered) >= MAX_LEVELS:
            raise InvalidRequestError(
                f"json_schema has more than {MAX_LEVELS} levels of schemas and references for one value at "
                f"{demand[0].place}"
            )
        self._entered.append(key)
        try:
            self._expanded[key] = self._ways(*demand, kind)
        finally:
            self._entered.pop()
        return self._expanded[key]

    def product(self, one: Branches, other: Branches) -> Branches:
        self._num_products += len(one) * len(other)
        if self._num_products > MAX_PRODUCTS:
            raise self._too_many(f"more than {MAX_PRODUCTS} combinations of alternatives")
        found: dict[Branch, None] = {}
        for a in one:
            for b in other:
                shape = self._meet(a.shape, b.shape)
                if shape is not None:
                    refusals = tuple(dict.fromkeys((*a.refusals, *b.refusals)))
                    found[Branch(shape, a.evaluated.join(b.evaluated), refusals)] = None
        if len(found) > max(MAX_BRANCHES, len(one), len(other)):
            raise self._too_many(f"{len(found)} alternatives for one value; at most {MAX_BRANCHES} are supported")
        return tuple(found)

    def is_void(self, state: State) -> bool:
        if state in self._void or not state:
            return self._void.get(state, False)
        if self._lookahead >= _MAX_LOOKAHEAD:
            return False
        outer, self._entered_here = self._entered_here, len(self._entered)
        self._lookahead += 1
        try:
            self._void[state] = not any(self.branches(state, kind) for kind in KINDS)
        except _EntersItselfError:
            return False
        finally:
            self._entered_here = outer
            self._lookahead -= 1
        return self._void[state]

    def count_candidates(self, count: int, place: str) -> None:
        """Raises InvalidRequestError where all that were counted are too many."""
        self._num_candidates += count
        if self._num_candidates > MAX_CANDIDATES:
            raise InvalidRequestError(
                f"json_schema demands one of several properties too often, here at {place}: more than "
                f"{MAX_CANDIDATES} were looked at"
            )

    def _too_many(self, what: str) -> InvalidRequestError:
        place = self._entered[-1][0][0].place if self._entered else "#"
        return InvalidRequestError(f"json_schema has {what} at {place}")

    def _ways(self, node: Node, positive: bool, kind: Kind) -> Branches:
        schema = node.schema
        if isinstance(schema, bool):
            return anything(kind) if schema == positive else ()
        keywords = ["$ref"] if self.document.refs_replace and "$ref" in schema else _own_properties_first(schema)
        found = [
            self._keyword(node, keyword, positive, kind)
            for keyword in keywords
            if keyword in APPLICATORS or keyword in ASSERTIONS
        ]
        if positive:
            branches = reduce(self.product, found, anything(kind))
        else:
            branches = joined(branch for way in found for branch in way)
        if "unevaluatedProperties" in schema and kind == "object":
            branches = self._unevaluated(node, "unevaluatedProperties", branches, positive, kind)
        if "unevaluatedItems" in schema and kind == "array":
            branches = self._unevaluated(node, "unevaluatedItems", branches, positive, kind)
        return branches

    def _keyword(self, node: Node, keyword: str, positive: bool, kind: Kind) -> Branches:
        if keyword in ASSERTIONS:
            found = Assertion(self.document, node, keyword).branches(positive, kind)
        else:
            found = Applicator(self, node, keyword, kind).branches(positive)
        if self.document.tracks_evaluation and positive:
            return found
        return tuple(dict.fromkeys(Branch(branch.shape, refusals=branch.refusals) for branch in found))

    def _unevaluated(self, node: Node, keyword: str, branches: Branches, positive: bool, kind: Kind) -> Branches:
        """To meet the keyword, depending on what has been evaluated; or to meet the others and not this one."""
        rest = self.document.child(node, keyword)
        found = list(branches) if not positive else []
        met = branches if positive else self._others(node, kind)
        for branch in met:
            extra = self._rest(node, rest, branch.evaluated, positive, kind)
            found += self.product((branch,), extra)
        return tuple(dict.fromkeys(found))

    def _others(self, node: Node, kind: Kind) -> Branches:
        schema = {key: value for key, value in node.schema.items() if not key.startswith("unevaluated")}
        return self._ways(Node(node.place, node.scope, schema, node.base), True, kind)

    def _rest(self, node: Node, rest: Node, evaluated: Evaluated, positive: bool, kind: Kind) -> Branches:
        state: State = frozenset([(rest, positive)])
        if kind == "object":
            if evaluated.all_properties:
                return (Branch(ALL[kind], Evaluated(all_properties=True)),) if positive else ()
            selector = Selector(names=evaluated.names, others=evaluated.patterns)
            if positive:
                return (Branch(Objects(rules=((selector, state),), is_open=True), Evaluated(all_properties=True)),)
            return (Branch(Objects(witnesses=((selector, state),), is_open=True)),)
        if evaluated.all_items:
            return (Branch(ALL[kind], Evaluated(all_items=True)),) if positive else ()
        if evaluated.items:
            names = [inner.place for inner in evaluated.items]
            rest = self.document.made(node, {"anyOf": [*evaluated.items, rest]}, "rest", *names)
            state = frozenset([(rest, positive)])
        start = evaluated.num_items
        if positive:
            return (Branch(Arrays((ANYTHING,) * start, state), Evaluated(all_items=True)),)
        return (Branch(Arrays(low=start + 1, contains=(Contains((rest, False), 1, None, start),))),)

    def _meet(self, one: Shape, other: Shape) -> Shape | None:
        if one == other or other in _WHOLE:
            return one
        if one in _WHOLE:
            return other
        met: Shape | None
        match one, other:
            case Arrays(), Arrays():
                met = one.meet(other)
                return None if met is None or self._lacks_items(met) else met
            case Objects(), Objects():
                met = one.meet(other)
                return None if met is None or self._lacks_properties(met) else met
            case (Scalars(), Scalars()) | (Numbers(), Numbers()) | (Strings(), Strings()):
                met = one.meet(other)  # type: ignore[arg-type]  # of one type, which a pattern of pairs does not show
                return met
        raise AssertionError(f"{one} and {other} are of different types")

    def _lacks_items(self, shape: Arrays) -> bool:
        return any(self.is_void(shape.item(place)) for place in range(min(shape.low, len(shape.prefix) + 1)))

    def _lacks_properties(self, shape: Objects) -> bool:
        return any(
            slot.presence is Presence.REQUIRED and self.is_void(shape.state_of(name, slot))
            for name, slot in shape.slots
        )


def _own_properties_first(schema: dict[str, Any]) -> list[str]:
    """They come first in what is written."""
    return sorted(schema, key=lambda keyword: keyword != "properties")


_WHOLE = frozenset(ALL.values())
