"""Objects: their properties in the order in which they are written, those without a name last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.schema.machine import Item, Machine, build_machine
from sglang.srt.grammar.schema.shapes import ANYTHING, Objects, Presence, Rule, Selector, Slot, State
from sglang.srt.grammar.schema.solver import Solver
from sglang.srt.grammar.schema.strings import Conditions, Strings, denials

MAX_NAME_KINDS = 64
"""Into which the patterns for the names of one object cut its properties."""

MAX_PROPERTIES = 2_000
"""Of one object."""

MAX_NAME_CHECKS = 20_000
"""Names of one object, each held against all patterns."""

MAX_WAYS = 4_000
"""Of one object: choices of the properties that have to be there because one of several has to."""


_Way = tuple[dict[str, Slot], tuple[Item, ...] | None]
"""Properties with a name, and the others of which one has to be there."""


@dataclass(frozen=True)
class Record:
    """properties: in order, and whether they have to be there. extras: any number of others, by their names.
    last: one of them has to be there, behind the others: a name that is written twice counts with its last value.
    """

    properties: tuple[tuple[Item, bool], ...]
    extras: tuple[Item, ...]
    last: tuple[Item, ...] | None = None
    low: int = 0
    high: int | None = None

    @property
    def states(self) -> set[State]:
        return {item.state for item in (*(item for item, _ in self.properties), *self.extras, *(self.last or ()))}

    def within(self, is_productive: dict[State, bool]) -> Record | None:
        """Without properties that cannot be; None if one of them has to be there."""
        if any(required and not is_productive[item.state] for item, required in self.properties):
            return None
        last = None if self.last is None else tuple(item for item in self.last if is_productive[item.state])
        found = replace(
            self,
            properties=tuple((item, required) for item, required in self.properties if is_productive[item.state]),
            extras=tuple(item for item in self.extras if is_productive[item.state]),
            last=last,
        )
        fits = self.high is None or found.num_required <= self.high
        has_enough = bool(found.extras or found.last) or len(found.properties) >= self.low
        return None if last == () or not fits or not has_enough else found

    @property
    def num_required(self) -> int:
        return sum(required for _, required in self.properties) + (self.last is not None)

    @property
    def num_extras(self) -> tuple[int, int | None] | None:
        """How many properties without a name there may be; None if that depends on which of the others are there. Of
        two it is not known whether they are different ones.
        """
        if self.last is not None or not all(required for _, required in self.properties):
            return None
        return int(self.low > len(self.properties)), None if self.high is None else self.high - len(self.properties)

    @property
    def is_counted(self) -> bool:
        """Whether its bounds say more than what has to be there says by itself, and more than: at least one. Where
        nothing that has a name may be missing it is told how many others there may be.
        """
        if self.num_extras is not None:
            return self.low > self.num_required + 1
        has_others = bool(self.extras) or self.last is not None
        most = None if has_others else len(self.properties)
        is_bounded = self.high is not None and (most is None or most > self.high)
        return is_bounded or self.low > max(self.num_required, 1)


def settle_object(solver: Solver, shape: Objects, place: str, closes: bool) -> list[Record]:
    """The objects of the shape, in alternatives. closes: an object that names its properties has no others, unless
    something is said of others, and then only those that are spoken of.

    Raises InvalidRequestError for what cannot be enforced.
    """
    key_sets = _key_sets(solver, shape.keys)
    slots = _slots(shape, key_sets, place)
    if slots is None:
        return []
    if len(slots) > MAX_PROPERTIES:
        raise InvalidRequestError(f"json_schema has {len(slots)} properties at {place}; at most {MAX_PROPERTIES}")
    free = [keys for keys in key_sets if keys.texts is None]
    own = {name: _unless_only_denied(slot) for name, slot in slots.items()}
    is_enough = sum(slot.presence is not Presence.FORBIDDEN for slot in own.values()) >= shape.low
    is_closed = closes and shape.declares and not shape.is_open and is_enough
    if is_closed:
        slots = own
    extras = [] if is_closed else _extras(solver, shape, _without(free, slots), place, closes)
    return [_record(shape, slots, extras, last) for slots, last in _ways(solver, shape, slots, extras, place)]


def _unless_only_denied(slot: Slot) -> Slot:
    """One of which it is only said what it is not, as one kind of objects says of those of another, is another's."""
    is_denied = bool(slot.state) and not any(is_positive for _, is_positive in slot.state)
    return Slot(slot.state, Presence.FORBIDDEN) if is_denied and slot.presence is Presence.OPTIONAL else slot


def _ways(solver: Solver, shape: Objects, slots: dict[str, Slot], extras: list[Item], place: str) -> list[_Way]:
    """The ways in which all witnesses find a property. One that a way has found already adds nothing to it."""
    found: list[_Way] = [(slots, None)]
    for witness in shape.witnesses:
        selected = _selected_names(solver, witness[0])
        ways: dict[tuple[frozenset[tuple[str, Slot]], tuple[Item, ...] | None], _Way] = {}
        for way in found:
            solver.count_candidates(len(slots), place)
            for more in _with_witness(solver, way, extras, selected, witness[1], place):
                solver.count_candidates(len(slots), place)
                ways.setdefault((frozenset(more[0].items()), more[1]), more)
                if len(ways) > MAX_WAYS:
                    raise InvalidRequestError(
                        f"json_schema demands at {place} one of several properties, in more than {MAX_WAYS} "
                        "combinations"
                    )
        found = list(ways.values())
    return found


def _selected_names(solver: Solver, selector: Selector) -> list[Strings]:
    return selector.texts if selector.key is None else _key_sets(solver, frozenset([(selector.key, False)]))


def _key_sets(solver: Solver, keys: State) -> list[Strings]:
    found = []
    for branch in solver.branches(keys, "string"):
        if branch.refusals:
            raise InvalidRequestError(f"{branch.refusals[0]}, which cannot be enforced")
        if isinstance(branch.shape, Strings):
            found.append(branch.shape)
    return found


def _slots(shape: Objects, key_sets: list[Strings], place: str) -> dict[str, Slot] | None:
    """All names that are spoken of, with all that is said of them. None if one that has to be there cannot be."""
    slots = dict(shape.slots)
    rules = [*shape.rules, *shape.witnesses]
    spoken_of = [name for selector, _ in rules for name in sorted(selector.names)]
    listed = [text for keys in key_sets if keys.texts is not None for text in keys.texts]
    for name in (*spoken_of, *listed):
        slots.setdefault(name, Slot(ANYTHING, Presence.OPTIONAL))
    if len(slots) * len(rules) > MAX_NAME_CHECKS:
        raise InvalidRequestError(
            f"json_schema has {len(slots)} properties beside {len(rules)} patterns at {place}; at most "
            f"{MAX_NAME_CHECKS} pairs of them are looked at"
        )
    for name, slot in slots.items():
        if not any(keys.generates(name) for keys in key_sets):
            if slot.presence is Presence.REQUIRED:
                return None
            slots[name] = Slot(slot.state, Presence.FORBIDDEN)
        else:
            slots[name] = Slot(shape.state_of(name, slot), slot.presence)
    return slots


def _without(key_sets: list[Strings], slots: dict[str, Slot]) -> list[Strings]:
    names = Strings(excluded=frozenset(slots))
    return [met for keys in key_sets if (met := keys.meet(names)) is not None]


def _extras(solver: Solver, shape: Objects, key_sets: list[Strings], place: str, closes: bool) -> list[Item]:
    """Kinds of names by the patterns that they match, each with what its properties are like. closes: where patterns
    are all that speaks of names, and one of them lets properties be, a name matches one.
    """
    rules = [rule for rule in shape.rules if rule[1] != ANYTHING]
    patterns = dict.fromkeys(one for selector, _ in rules for one in (selector.pattern, *selector.others) if one)
    cells: list[tuple[Strings, frozenset[Conditions]]] = [(keys, frozenset()) for keys in key_sets]
    for pattern in patterns:
        cells = [part for keys, matched in cells for part in _parts(keys, matched, pattern)]
        if len(cells) > MAX_NAME_KINDS:
            raise InvalidRequestError(
                f"json_schema has patterns at {place} that tell more than {MAX_NAME_KINDS} kinds of names apart"
            )
    items = [(Item(_state(rules, matched), keys), matched) for keys, matched in cells]
    possible = [(item, matched) for item, matched in items if not solver.is_void(item.state)]
    spoken_of = [item for item, matched in possible if matched]
    has_patterns_only = (
        shape.keys == ANYTHING and not shape.witnesses and all(selector.pattern for selector, _ in shape.rules)
    )
    return spoken_of if closes and has_patterns_only and spoken_of else [item for item, _ in possible]


def _parts(
    keys: Strings, matched: frozenset[Conditions], pattern: Conditions
) -> Iterator[tuple[Strings, frozenset[Conditions]]]:
    """Of `keys`, of which all of `matched` hold, those of which the pattern holds too, and the others.

    Most patterns of one object tell kinds of names apart, and then nothing more has to be asked or said.
    """
    if any(_are_disjoint(pattern, other) for other in matched):
        yield keys, matched
        return
    telling = tuple(
        (one, wanted) for one, wanted in keys.conditions if wanted or not _are_disjoint(pattern, ((one, True),))
    )
    if (matching := replace(keys, conditions=telling).meet(Strings(None, pattern))) is not None:
        yield matching, matched | {pattern}
    for denial in denials(pattern):
        if (others := keys.meet(denial)) is not None:
            yield others, matched


def _are_disjoint(one: Conditions, other: Conditions) -> bool:
    """Sure if True."""
    return Strings(None, (*one, *other)).is_empty


def _state(rules: list[Rule], matched: frozenset[Conditions]) -> State:
    return ANYTHING.union(*(state for selector, state in rules if _selects(selector, matched)))


def _selects(selector: Selector, matched: frozenset[Conditions]) -> bool:
    return (not selector.pattern or selector.pattern in matched) and matched.isdisjoint(selector.others)


def _with_witness(
    solver: Solver, way: _Way, extras: list[Item], selected: list[Strings], state: State, place: str
) -> Iterator[_Way]:
    """The ways for a selected property to be there that meets the state: one of those with a name, or another."""
    slots, last = way
    named = [
        (name, slot)
        for name, slot in slots.items()
        if slot.presence is not Presence.FORBIDDEN and any(texts.has(name) for texts in selected)
    ]
    if any(slot.presence is Presence.REQUIRED and slot.state >= state for _, slot in named):
        yield way
        return
    for name, slot in named:
        needed = slot.state | state
        if not solver.is_void(needed):
            yield slots | {name: Slot(needed, Presence.REQUIRED)}, last
    items = tuple(
        Item(item.state | state, met)
        for item in extras
        for texts in selected
        if item.key is not None and (met := item.key.meet(texts)) is not None
    )
    items = tuple(item for item in items if not solver.is_void(item.state))
    if items and last is not None:
        raise InvalidRequestError(
            f"json_schema demands at {place} several properties without saying their names, which cannot be enforced"
        )
    if items:
        yield slots, items


def _record(shape: Objects, slots: dict[str, Slot], extras: list[Item], last: tuple[Item, ...] | None) -> Record:
    properties = tuple(
        (Item(slot.state, Strings((name,))), slot.presence is Presence.REQUIRED)
        for name, slot in slots.items()
        if slot.presence is not Presence.FORBIDDEN
    )
    return Record(properties, tuple(extras), last, shape.low, shape.high)


def counted(record: Record, place: str) -> Machine:
    """Counts properties. Of those without a name, which may come twice, only one is sure to be a different one."""
    has_others = bool(record.extras) or record.last is not None
    if has_others and record.low > record.num_required + 1:
        raise InvalidRequestError(
            f"json_schema has minProperties={record.low} at {place}, which cannot be enforced beyond the required ones "
            "and one other where other properties than those with a name may be there"
        )
    if record.last is not None:
        raise InvalidRequestError(
            f"json_schema counts properties at {place} and demands one without saying its name, which cannot be "
            "enforced"
        )
    count = len(record.properties)
    enough = max(record.low, record.high or 0)

    def lacks(place: int) -> bool:
        return any(required for _, required in record.properties[place:])

    def steps(at: tuple[int, int, int]) -> Iterator[tuple[Item, tuple[int, int, int]]]:
        """From the property that is next, how many names there are, and how many properties."""
        place, names, total = at
        if record.high is not None and total >= record.high:
            return
        for index in range(place, count):
            item, required = record.properties[index]
            yield item, (index + 1, min(names + 1, enough), min(total + 1, enough))
            if required:
                return
        is_first = place <= count  # nothing that has to be there is left: the loop has come to its end
        for item in record.extras:
            yield item, (count + 1, min(names + is_first, enough), min(total + 1, enough))

    def accepts(at: tuple[int, int, int]) -> bool:
        return at[1] >= record.low and not lacks(at[0])

    return build_machine(True, (0, 0, 0), steps, accepts, f"properties at {place}")
