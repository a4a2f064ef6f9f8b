"""The keywords that combine schemas of one and the same value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import combinations
from typing import Any

from sglang.srt.grammar.schema.assertions import absent, present, type_branches, value_branches
from sglang.srt.grammar.schema.document import Node
from sglang.srt.grammar.schema.shapes import Branch, Branches, Demand, Expander, Kind, Objects, anything, joined
from sglang.srt.grammar.schema.strings import Strings


class Applicator:
    """One keyword of a schema, for values of one type. The methods are those of the keyword's name; they give the ways
    in which a value meets the keyword, or does not.
    """

    def __init__(self, expander: Expander, node: Node, keyword: str, kind: Kind) -> None:
        self._expander = expander
        self._node = node
        self._keyword = keyword
        self._kind = kind
        self._value: Any = node.schema[keyword]

    def branches(self, positive: bool) -> Branches:
        return _KEYWORDS[self._keyword](self, positive)

    def _child(self, *steps: str) -> Node:
        return self._expander.document.child(self._node, *steps)

    def _expand(self, node: Node, positive: bool) -> Branches:
        return self._expander.expand((node, positive), self._kind)

    def _all(self, demands: Iterable[Demand]) -> Branches:
        return self._every([self._expander.expand(demand, self._kind) for demand in demands])

    def _every(self, found: Iterable[Branches]) -> Branches:
        return reduce(self._expander.product, found, anything(self._kind))

    @property
    def _parts(self) -> list[Node]:
        return [self._child(self._keyword, str(index)) for index in range(len(self._value))]

    def type(self, positive: bool) -> Branches:
        return type_branches(self._value, positive, self._kind)

    def const(self, positive: bool) -> Branches:
        return value_branches(self._expander.document, self._node, "const", self._value, positive, self._kind)

    def enum(self, positive: bool) -> Branches:
        if self._kind == "string":
            texts = tuple(dict.fromkeys(value for value in self._value if isinstance(value, str)))
            shape = Strings(texts) if positive else Strings(excluded=frozenset(texts))
            return (Branch(shape),) if texts or not positive else ()
        found = [
            value_branches(self._expander.document, self._node, f"enum {index}", value, positive, self._kind)
            for index, value in enumerate(self._value)
        ]
        return _union(found) if positive else self._every(found)

    def all_of(self, positive: bool) -> Branches:
        if positive:
            return self._all((part, True) for part in self._parts)
        return _union(self._expand(part, False) for part in self._parts)

    def any_of(self, positive: bool) -> Branches:
        parts = self._parts
        if not positive:
            return self._all((part, False) for part in parts)
        if not self._expander.document.tracks_evaluation:
            return _union(self._expand(part, True) for part in parts)
        count = len(parts)
        chosen = (set(some) for size in range(1, count + 1) for some in combinations(range(count), size))
        return _union(self._all((part, index in some) for index, part in enumerate(parts)) for some in chosen)

    def one_of(self, positive: bool) -> Branches:
        parts = self._parts
        met = [self._expand(part, True) for part in parts]
        if positive:
            return _union(self._only(index, parts, met) for index in range(len(parts)))
        both = (self._expander.product(one, other) for one, other in combinations(met, 2))
        return _union([self._all((part, False) for part in parts), *both])

    def _only(self, index: int, parts: Sequence[Node], met: Sequence[Branches]) -> Branches:
        """Of one part and no other. What cannot be met along with it need not be denied."""
        found = met[index]
        for other, part in enumerate(parts):
            if other != index and self._expander.product(met[index], met[other]):
                found = self._expander.product(found, self._expand(part, False))
        return found

    def negation(self, positive: bool) -> Branches:
        found = self._expand(self._child("not"), not positive)
        return tuple(Branch(branch.shape, refusals=branch.refusals) for branch in found)

    def if_then_else(self, positive: bool) -> Branches:
        schema = self._node.schema
        ways = []
        for holds, keyword in ((True, "then"), (False, "else")):
            condition = self._expand(self._child("if"), holds)
            if keyword in schema:
                ways.append(self._expander.product(condition, self._expand(self._child(keyword), positive)))
            elif positive:
                ways.append(condition)
        return _union(ways)

    def reference(self, positive: bool) -> Branches:
        return self._expand(self._expander.document.target(self._node, self._keyword), positive)

    def dependencies(self, positive: bool) -> Branches:
        """Each name brings other names, or a schema, with it."""
        if self._kind != "object":
            return anything(self._kind) if positive else ()
        ways = []
        for name, wanted in self._value.items():
            there = (Branch(present(name)),)
            if positive:
                with_it = self._expander.product(there, self._wanted(name, wanted, True))
                ways.append((Branch(absent(name)), *with_it))
            else:
                ways.append(self._expander.product(there, self._wanted(name, wanted, False)))
        return self._every(ways) if positive else _union(ways)

    def _wanted(self, name: str, wanted: Any, positive: bool) -> Branches:
        if not isinstance(wanted, list):
            return self._expand(self._child(self._keyword, name), positive)
        shapes: list[Objects] = [present(*wanted)] if positive else [absent(other) for other in dict.fromkeys(wanted)]
        return tuple(map(Branch, shapes))


def _union(found: Iterable[Branches]) -> Branches:
    return joined(branch for branches in found for branch in branches)


_KEYWORDS: dict[str, Callable[[Applicator, bool], Branches]] = {
    "type": Applicator.type,
    "const": Applicator.const,
    "enum": Applicator.enum,
    "allOf": Applicator.all_of,
    "anyOf": Applicator.any_of,
    "oneOf": Applicator.one_of,
    "not": Applicator.negation,
    "if": Applicator.if_then_else,
    "$ref": Applicator.reference,
    "$dynamicRef": Applicator.reference,
    "dependencies": Applicator.dependencies,
    "dependentRequired": Applicator.dependencies,
    "dependentSchemas": Applicator.dependencies,
}
APPLICATORS = frozenset(_KEYWORDS)
