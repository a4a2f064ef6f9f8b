"""The sets of values that schemas are turned into: of one JSON type each, the values that meet all of its fields.

What lies inside arrays and objects is named by states: a state is a set of schemas, each to be met or not to be met.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal, NamedTuple, Protocol

from sglang.srt.grammar.schema.document import Document, Node
from sglang.srt.grammar.schema.numbers import Numbers
from sglang.srt.grammar.schema.strings import Conditions, Strings, denials, hold

Kind = Literal["null", "boolean", "number", "string", "array", "object"]
KINDS: tuple[Kind, ...] = ("object", "array", "string", "number", "boolean", "null")

Demand = tuple[Node, bool]
"""A schema, and whether it has to be met."""
State = frozenset[Demand]
ANYTHING: State = frozenset()


@dataclass(frozen=True)
class Scalars:
    """null, or truth values, as JSON."""

    texts: tuple[str, ...]

    def meet(self, other: Scalars) -> Scalars | None:
        left = tuple(text for text in self.texts if text in other.texts)
        return Scalars(left) if left else None


@dataclass(frozen=True)
class Contains:
    """Of the items from place `start` on, `low` to `high` meet the demand."""

    demand: Demand
    low: int
    high: int | None
    start: int = 0


@dataclass(frozen=True)
class Arrays:
    prefix: tuple[State, ...] = ()
    rest: State = ANYTHING
    low: int = 0
    high: int | None = None
    contains: tuple[Contains, ...] = ()
    is_unique: bool = False

    def item(self, place: int) -> State:
        return self.prefix[place] if place < len(self.prefix) else self.rest

    def meet(self, other: Arrays) -> Arrays | None:
        length = max(len(self.prefix), len(other.prefix))
        bounds = [bound for bound in (self.high, other.high) if bound is not None]
        met = Arrays(
            tuple(self.item(place) | other.item(place) for place in range(length)),
            self.rest | other.rest,
            max(self.low, other.low),
            min(bounds, default=None),
            tuple(dict.fromkeys((*self.contains, *other.contains))),
            self.is_unique or other.is_unique,
        )
        return None if met.high is not None and met.low > met.high else met


class Presence(Enum):
    OPTIONAL = 0
    REQUIRED = 1
    FORBIDDEN = 2


class Slot(NamedTuple):
    """What a property of a certain name has to be like. is_declared: by ``properties``, which sets the order."""

    state: State
    presence: Presence
    is_declared: bool = False

    def meet(self, other: Slot) -> Slot | None:
        presences = {self.presence, other.presence} - {Presence.OPTIONAL}
        if len(presences) > 1:
            return None
        presence = next(iter(presences), Presence.OPTIONAL)
        return Slot(self.state | other.state, presence, self.is_declared or other.is_declared)


@dataclass(frozen=True)
class Selector:
    """Properties of whose names `pattern` holds, which are none of `names`, of which none of `others` holds, and which
    are not like `key`.
    """

    pattern: Conditions = ()
    names: frozenset[str] = frozenset()
    others: tuple[Conditions, ...] = ()
    key: Node | None = None

    def has(self, name: str) -> bool:
        """`key` aside."""
        return (
            name not in self.names
            and hold(self.pattern, name)
            and not any(hold(pattern, name) for pattern in self.others)
        )

    @property
    def texts(self) -> list[Strings]:
        """The names that it selects, in alternatives. `key` aside."""
        found = [Strings(None, self.pattern, self.names)]
        for pattern in self.others:
            found = [met for one in found for denial in denials(pattern) if (met := one.meet(denial)) is not None]
        return found


Rule = tuple[Selector, State]


@dataclass(frozen=True)
class Objects:
    """slots: properties that are spoken of by name, in the order in which they are written. rules: what the selected
    properties are like, named ones too. keys: what all names are like. witnesses: for each a property is selected.

    declares: it has ``properties``. is_open: something speaks of properties without a name.
    """

    slots: tuple[tuple[str, Slot], ...] = ()
    rules: tuple[Rule, ...] = ()
    keys: State = ANYTHING
    low: int = 0
    high: int | None = None
    witnesses: tuple[Rule, ...] = ()
    declares: bool = False
    is_open: bool = False

    def meet(self, other: Objects) -> Objects | None:
        slots: dict[str, Slot] = dict(self.slots)
        for name, slot in other.slots:
            met_slot = slot.meet(slots[name]) if name in slots else slot
            if met_slot is None:
                return None
            if met_slot.is_declared and not slots.get(name, slot).is_declared:
                slots.pop(name, None)  # its place is where it is declared
            slots[name] = met_slot
        bounds = [bound for bound in (self.high, other.high) if bound is not None]
        met = Objects(
            tuple(sorted(slots.items(), key=lambda item: not item[1].is_declared)),
            tuple(dict.fromkeys((*self.rules, *other.rules))),
            self.keys | other.keys,
            max(self.low, other.low),
            min(bounds, default=None),
            tuple(dict.fromkeys((*self.witnesses, *other.witnesses))),
            self.declares or other.declares,
            self.is_open or other.is_open,
        )
        num_required = sum(slot.presence is Presence.REQUIRED for slot in slots.values())
        return None if met.high is not None and max(met.low, num_required) > met.high else met

    def state_of(self, name: str, slot: Slot) -> State:
        """Of a property, with what the rules say of it."""
        return slot.state.union(*(state for selector, state in self.rules if selector.has(name)))


Shape = Scalars | Numbers | Strings | Arrays | Objects
ALL: Mapping[Kind, Shape] = {
    "null": Scalars(("null",)),
    "boolean": Scalars(("true", "false")),
    "number": Numbers(),
    "string": Strings(),
    "array": Arrays(),
    "object": Objects(),
}


@dataclass(frozen=True)
class Evaluated:
    """What the schemas that were met have looked at: ``unevaluatedProperties`` and ``unevaluatedItems`` speak of what
    is left.
    """

    names: frozenset[str] = frozenset()
    patterns: tuple[Conditions, ...] = ()
    all_properties: bool = False
    num_items: int = 0
    items: tuple[Node, ...] = ()
    all_items: bool = False

    def join(self, other: Evaluated) -> Evaluated:
        return Evaluated(
            self.names | other.names,
            tuple(dict.fromkeys((*self.patterns, *other.patterns))),
            self.all_properties or other.all_properties,
            max(self.num_items, other.num_items),
            tuple(dict.fromkeys((*self.items, *other.items))),
            self.all_items or other.all_items,
        )


@dataclass(frozen=True)
class Branch:
    """One of the ways in which a schema can be met. refusals: why its shape is not all there is to it."""

    shape: Shape
    evaluated: Evaluated = field(default_factory=Evaluated)
    refusals: tuple[str, ...] = ()


Branches = tuple[Branch, ...]


def joined(found: Iterable[Branch]) -> Branches:
    """The same ways, in fewer: objects that lack a property, and those that have it and are alike in all else, are
    objects that may have it. Else what a schema denies doubles the ways for each schema of which that is true.
    """
    ways = dict.fromkeys(found)
    lacking = {key: way for way in ways for key in _all_else(way, Presence.FORBIDDEN)}
    if not lacking:
        return tuple(ways)
    becomes: dict[Branch, Branch | None] = {}  # None: part of another
    for way in ways:
        for name, else_hash in () if way in becomes else _all_else(way, Presence.REQUIRED):
            other = lacking.get((name, else_hash))
            if other is not None and other not in becomes and _without(way, name) == _without(other, name):
                becomes[way], becomes[other] = _optionally(way, name), None
                break
    return tuple(dict.fromkeys(one for way in ways if (one := becomes.get(way, way)) is not None))


def _all_else(way: Branch, presence: Presence) -> Iterator[tuple[str, int]]:
    """The properties that have the presence, each with a hash of all else that is said: a sum, of which that of the
    property is left out.
    """
    if isinstance(way.shape, Objects) and any(slot.presence is presence for _, slot in way.shape.slots):
        hashes = list(map(hash, way.shape.slots))
        whole = sum(hashes) + hash(replace(way, shape=replace(way.shape, slots=())))
        for (name, slot), own in zip(way.shape.slots, hashes, strict=True):
            if slot.presence is presence:
                yield name, whole - own


def _without(way: Branch, name: str) -> Branch:
    assert isinstance(way.shape, Objects)
    return replace(way, shape=replace(way.shape, slots=tuple(item for item in way.shape.slots if item[0] != name)))


def _optionally(way: Branch, name: str) -> Branch:
    """The same, but that `name` need not be there."""
    assert isinstance(way.shape, Objects)
    slots = tuple(
        (one, slot._replace(presence=Presence.OPTIONAL) if one == name else slot) for one, slot in way.shape.slots
    )
    return replace(way, shape=replace(way.shape, slots=slots))


def anything(kind: Kind) -> Branches:
    return (Branch(ALL[kind]),)


class Expander(Protocol):
    """What the keywords need to know of each other."""

    document: Document

    def expand(self, demand: Demand, kind: Kind) -> Branches: ...

    def product(self, one: Branches, other: Branches) -> Branches:
        """The ways to meet both."""

    def is_void(self, state: State) -> bool:
        """Sure if True."""
