"""All the states of a schema, and the values of each that can be finished."""

from __future__ import annotations

from dataclasses import replace

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.schema.arrays import settle_array
from sglang.srt.grammar.schema.document import Document
from sglang.srt.grammar.schema.keywords import without_notes
from sglang.srt.grammar.schema.machine import Machine
from sglang.srt.grammar.schema.numbers import Numbers
from sglang.srt.grammar.schema.objects import Record, counted, settle_object
from sglang.srt.grammar.schema.shapes import KINDS, Arrays, Branch, Objects, Scalars, State
from sglang.srt.grammar.schema.solver import Solver
from sglang.srt.grammar.schema.strings import Strings

MAX_STATES = 4_000
"""Different schemas, or sets of schemas that one value has to meet."""

Settled = Scalars | Numbers | Strings | Arrays | Machine | Record


class Plan:
    """values: for each state that is used what its values are, each of them possible; `root` comes first.

    Raises InvalidRequestError for a schema that nothing meets, that is too large, or that cannot be enforced.
    """

    def __init__(self, document: Document, closes: bool) -> None:
        """closes: values are those that one wants, not all that are valid: objects have the properties that something
        speaks of, texts of a format and numbers can be read by programs.
        """
        self._solver = Solver(document)
        self._closes = closes
        self._refusals: dict[Settled, tuple[str, ...]] = {}
        self.root: State = frozenset([(document.root, True)])
        self._settled = self._all_states()
        self._is_productive = self._find_productive()
        self.values = self._used()

    def _all_states(self) -> dict[State, list[Settled]]:
        found: dict[State, list[Settled]] = {}
        left = [self.root]
        while left:
            state = left.pop()
            if state in found:
                continue
            if len(found) >= MAX_STATES:
                raise InvalidRequestError(
                    f"json_schema needs more than {MAX_STATES} different schemas for its values, one of them at "
                    f"{place(state)}"
                )
            found[state] = self._settle(state)
            left += [inner for settled in found[state] for inner in sorted(_states(settled), key=place, reverse=True)]
        return found

    def _settle(self, state: State) -> list[Settled]:
        found: dict[Settled, None] = {}
        for kind in KINDS:
            for branch in self._solver.branches(state, kind):
                for settled in self._of_branch(branch, place(state)):
                    found[settled] = None
                    if branch.refusals:
                        self._refusals[settled] = branch.refusals
        return list(found)

    def _of_branch(self, branch: Branch, where: str) -> list[Settled]:
        shape = branch.shape
        if isinstance(shape, Arrays):
            return [settle_array(self._solver, shape, where)]
        if isinstance(shape, Objects):
            records = settle_object(self._solver, shape, where, self._closes)
            return [counted(record, where) if record.is_counted else record for record in records]
        if isinstance(shape, Strings) and not self._closes:
            return [replace(shape, preferred=())]
        if isinstance(shape, Numbers):
            return [replace(shape, is_brief=self._closes)]
        return [shape]

    def _find_productive(self) -> dict[State, bool]:
        """From those that need no other on. What is used is found later than what uses it, so few rounds are enough."""
        is_productive = dict.fromkeys(self._settled, False)
        grows = True
        while grows:
            grows = False
            for state, settled in reversed(self._settled.items()):
                if not is_productive[state] and any(_within(one, is_productive) is not None for one in settled):
                    is_productive[state] = grows = True
        return is_productive

    def _used(self) -> dict[State, list[Settled]]:
        if not self._is_productive[self.root]:
            raise InvalidRequestError(f"json_schema cannot be satisfied: nothing is valid at {self._culprit()}")
        found: dict[State, list[Settled]] = {}
        left = [self.root]
        while left:
            state = left.pop()
            if state not in found:
                kept = [one for one in self._settled[state] if _within(one, self._is_productive) is not None]
                for one in kept:
                    if one in self._refusals:
                        raise InvalidRequestError(f"{self._refusals[one][0]}, which cannot be enforced")
                trimmed = (_within(one, self._is_productive) for one in kept)
                found[state] = list(dict.fromkeys(one for one in trimmed if one is not None))
                left += [inner for one in found[state] for inner in sorted(_states(one), key=place, reverse=True)]
        return found

    def _culprit(self) -> str:
        """The deepest place on one way to what makes it impossible."""
        state, seen = self.root, {self.root}
        while True:
            needed = (
                inner for one in self._settled.get(state, ()) for inner in sorted(_states(one), key=place)
                if not self._is_productive[inner] and inner not in seen
            )  # fmt: skip
            inner = next(needed, None) or self._void_property(state) or self._void_target(state)
            if inner is None or inner in seen:
                return place(state)
            seen.add(inner)
            state = inner

    def _void_property(self, state: State) -> State | None:
        """A required property for which nothing was looked for in the state, as nothing can be of use."""
        for node, is_positive in sorted(state, key=lambda demand: demand[0].place):
            schema = node.schema if is_positive and isinstance(node.schema, dict) else {}
            for name in filter(schema.get("properties", {}).__contains__, schema.get("required", ())):
                inner: State = frozenset([(self._solver.document.child(node, "properties", name), True)])
                if self._solver.is_void(inner):
                    return inner
        return None

    def _void_target(self, state: State) -> State | None:
        """What a reference refers to, if that is to blame and not what stands beside the reference."""
        for node, is_positive in sorted(state, key=lambda demand: demand[0].place):
            schema = node.schema if is_positive and isinstance(node.schema, dict) else {}
            keywords = without_notes(schema)
            for keyword in keywords & {"$ref", "$dynamicRef"}:
                inner: State = frozenset([(self._solver.document.target(node, keyword), True)])
                if self._solver.is_void(inner) or (len(state) == 1 and keywords == {keyword}):
                    return inner
        return None


def place(state: State) -> str:
    """The places of the schemas, first of those that have to be met."""
    demands = sorted(state, key=lambda demand: (not demand[1], demand[0].place))
    return " and ".join(node.place if positive else f"not {node.place}" for node, positive in demands[:3]) or "#"


def _states(settled: Settled) -> set[State]:
    if isinstance(settled, (Machine, Record)):
        return settled.states
    if isinstance(settled, Arrays):
        is_prefix_only = settled.high is not None and settled.high <= len(settled.prefix)
        return set(settled.prefix[: settled.high] if is_prefix_only else (*settled.prefix, settled.rest))
    return set()


def _within(settled: Settled, is_productive: dict[State, bool]) -> Settled | None:
    """What is left of it without states that cannot be; None if that is nothing."""
    if isinstance(settled, Machine):
        machine = settled.within(is_productive.__getitem__)
        return None if machine.is_empty else machine
    if isinstance(settled, Record):
        return settled.within(is_productive)
    if isinstance(settled, Strings):
        return None if settled.generates_nothing else settled
    if isinstance(settled, Arrays):
        return _items_within(settled, is_productive)
    return settled


def _items_within(shape: Arrays, is_productive: dict[State, bool]) -> Arrays | None:
    """Arrays end before the first item that cannot be."""
    end = min(len(shape.prefix) + 1, len(shape.prefix) + 1 if shape.high is None else shape.high)
    impossible = next((at for at in range(end) if not is_productive[shape.item(at)]), None)
    if impossible is None:
        return shape
    if impossible < shape.low:
        return None
    return Arrays(shape.prefix[:impossible], low=shape.low, high=impossible, is_unique=shape.is_unique)
