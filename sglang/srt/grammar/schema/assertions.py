"""The keywords that speak of values of one type: the shapes that meet them, and the shapes that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any

from sglang.srt.grammar.schema.document import Document, Node
from sglang.srt.grammar.schema.ecma_regex import conditions_for, conditions_in_python
from sglang.srt.grammar.schema.formats import INTEGER_RANGES, format_texts, format_type
from sglang.srt.grammar.schema.keywords import is_number
from sglang.srt.grammar.schema.numbers import Numbers
from sglang.srt.grammar.schema.shapes import (
    ALL,
    ANYTHING,
    Arrays,
    Branch,
    Branches,
    Contains,
    Evaluated,
    Kind,
    Objects,
    Presence,
    Scalars,
    Selector,
    Shape,
    Slot,
    State,
    anything,
)
from sglang.srt.grammar.schema.strings import Conditions, Strings, denials

_PATTERN = "json_schema's pattern at {}"

_MOST = 2**31 - 1
"""Characters of a text, items or properties: no output has as many."""


class Assertion:
    """What one keyword of a schema says. The methods are those of the keyword's name."""

    def __init__(self, document: Document, node: Node, keyword: str) -> None:
        self._document = document
        self._node = node
        self._keyword = keyword
        self._value: Any = node.schema[keyword]

    def branches(self, positive: bool, kind: Kind) -> Branches:
        """The ways in which a value of this type meets the keyword, or does not."""
        kinds, method = _KEYWORDS[self._keyword]
        if kind not in kinds or (method is Assertion.format and kind != format_type(self._value)):
            return anything(kind) if positive else ()
        return tuple(method(self, positive))

    def _yes_or_no(self, positive: bool, yes: Shape, *no: Shape) -> Iterable[Branch]:
        return map(Branch, [yes] if positive else no)

    def _refused(self, shape: Shape) -> Branch:
        return Branch(
            shape, refusals=(f"json_schema has {self._keyword!r} at {self._node.place}, where it is negated",)
        )

    def _state(self, *steps: str, positive: bool = True) -> State:
        return frozenset([(self._document.child(self._node, self._keyword, *steps), positive)])

    def _at_least(self, positive: bool, between: Callable[[int, int | None], Shape]) -> Iterable[Branch]:
        """between: what has from so many on up to so many."""
        low = int(self._value)
        if positive:
            return [Branch(between(low, None))] if low < _MOST else []
        return [Branch(between(0, low - 1 if low < _MOST else None))] if low else []

    def _at_most(self, positive: bool, between: Callable[[int, int | None], Shape]) -> Iterable[Branch]:
        high = int(self._value)
        if positive:
            return [Branch(between(0, high if high < _MOST else None))]
        return [Branch(between(high + 1, None))] if high < _MOST else []

    # --- numbers

    def minimum(self, positive: bool) -> Iterable[Branch]:
        return self._from(self._node.schema.get("exclusiveMinimum") is True, positive)

    def maximum(self, positive: bool) -> Iterable[Branch]:
        return self._up_to(self._node.schema.get("exclusiveMaximum") is True, positive)

    def exclusive_minimum(self, positive: bool) -> Iterable[Branch]:
        return self._yes_or_no(positive, Numbers()) if isinstance(self._value, bool) else self._from(True, positive)

    def exclusive_maximum(self, positive: bool) -> Iterable[Branch]:
        return self._yes_or_no(positive, Numbers()) if isinstance(self._value, bool) else self._up_to(True, positive)

    def _from(self, is_open: bool, positive: bool) -> Iterable[Branch]:
        bound = Fraction(self._value)
        below = Numbers(high=bound, is_high_open=not is_open)
        return self._yes_or_no(positive, Numbers(low=bound, is_low_open=is_open), below)

    def _up_to(self, is_open: bool, positive: bool) -> Iterable[Branch]:
        bound = Fraction(self._value)
        above = Numbers(low=bound, is_low_open=not is_open)
        return self._yes_or_no(positive, Numbers(high=bound, is_high_open=is_open), above)

    def multiple_of(self, positive: bool) -> Iterable[Branch]:
        multiple = Fraction(self._value)
        if positive:
            return [Branch(Numbers(multiple=multiple).simplified())]
        others = Numbers(avoided=frozenset([multiple]))
        if multiple.denominator > 1:
            return [Branch(others)]
        among_whole = others.meet(Numbers(whole=True))
        return map(Branch, [Numbers(whole=False), *([among_whole] if among_whole else [])])

    # --- strings

    def min_length(self, positive: bool) -> Iterable[Branch]:
        return self._at_least(positive, _strings)

    def max_length(self, positive: bool) -> Iterable[Branch]:
        return self._at_most(positive, _strings)

    def pattern(self, positive: bool) -> Iterable[Branch]:
        found = conditions_for(_PATTERN.format(self._node.place), self._value)
        in_python = conditions_in_python(self._value, positive)
        if positive:
            return [Branch(Strings(None, found, preferred=in_python))]
        is_told = len(in_python) == 1 and in_python != found
        denied = tuple((pattern, not wanted) for pattern, wanted in in_python) if is_told else ()
        return [Branch(replace(denial, preferred=denied)) for denial in denials(found)]

    def format(self, positive: bool) -> Iterable[Branch]:
        if self._value in INTEGER_RANGES:
            low, high = map(Fraction, INTEGER_RANGES[self._value])
            others = (Numbers(whole=False), Numbers(high=low, is_high_open=True), Numbers(low=high, is_low_open=True))
            return self._yes_or_no(positive, Numbers(low, high, whole=True), *others)
        found = format_texts(self._value)
        if positive:
            required, chosen, preferred = (
                tuple((pattern, True) for pattern in patterns)
                for patterns in (found.required, found.chosen, found.preferred)
            )
            return [Branch(Strings(None, required, chosen=chosen, preferred=preferred))]
        required = tuple((pattern, True) for pattern in found.required)
        if found.chosen:
            return [Branch(Strings(None, chosen=denial.conditions)) for denial in denials(required)]
        return map(Branch, denials(required))

    # --- arrays

    def prefix_items(self, positive: bool) -> Iterable[Branch]:
        states = [self._state(str(place), positive=positive) for place in range(len(self._value))]
        if positive:
            yield Branch(Arrays(tuple(states)), Evaluated(num_items=len(states)))
        else:
            for place, state in enumerate(states):
                yield Branch(Arrays((*[ANYTHING] * place, state), low=place + 1))

    def items(self, positive: bool) -> Iterable[Branch]:
        if isinstance(self._value, list):
            return self.prefix_items(positive)
        return self._items_from(len(self._node.schema.get("prefixItems", [])), positive)

    def additional_items(self, positive: bool) -> Iterable[Branch]:
        before = self._node.schema.get("items")
        if not isinstance(before, list):
            return self._yes_or_no(positive, Arrays())
        return self._items_from(len(before), positive)

    def _items_from(self, start: int, positive: bool) -> Iterable[Branch]:
        if positive:
            return [Branch(Arrays((ANYTHING,) * start, self._state()), Evaluated(all_items=True))]
        (demand,) = self._state(positive=False)
        return [Branch(Arrays(low=start + 1, contains=(Contains(demand, 1, None, start),)))]

    def min_items(self, positive: bool) -> Iterable[Branch]:
        return self._at_least(positive, _arrays)

    def max_items(self, positive: bool) -> Iterable[Branch]:
        return self._at_most(positive, _arrays)

    def contains(self, positive: bool) -> Iterable[Branch]:
        low, high = int(self._node.schema.get("minContains", 1)), self._node.schema.get("maxContains")
        high = None if high is None else int(high)
        (demand,) = self._state()
        evaluated = () if self._document.is_legacy else (demand[0],)
        if positive:
            if high is None or low <= high:
                yield Branch(Arrays(low=low, contains=(Contains(demand, low, high),)), Evaluated(items=evaluated))
            return
        if low:
            yield Branch(Arrays(contains=(Contains(demand, 0, low - 1),)))
        if high is not None:
            yield Branch(Arrays(low=high + 1, contains=(Contains(demand, high + 1, None),)))

    def unique_items(self, positive: bool) -> Iterable[Branch]:
        if not self._value:
            return self._yes_or_no(positive, Arrays())
        return [Branch(Arrays(is_unique=True)) if positive else self._refused(Arrays(low=2))]

    # --- objects

    def properties(self, positive: bool) -> Iterable[Branch]:
        presence = Presence.OPTIONAL if positive else Presence.REQUIRED
        slots = [(name, Slot(self._state(name, positive=positive), presence, True)) for name in self._value]
        if positive:
            yield Branch(Objects(tuple(slots), declares=True), Evaluated(frozenset(self._value)))
        else:
            yield from (Branch(Objects((slot,))) for slot in slots)

    def pattern_properties(self, positive: bool) -> Iterable[Branch]:
        patterns = _patterns(self._node)
        rules = [(Selector(pattern), self._state(source, positive=positive)) for source, pattern in patterns.items()]
        if positive:
            yield Branch(Objects(rules=tuple(rules), is_open=True), Evaluated(patterns=tuple(patterns.values())))
        else:
            yield from (Branch(Objects(witnesses=(rule,), is_open=True)) for rule in rules)

    def additional_properties(self, positive: bool) -> Iterable[Branch]:
        names, patterns = frozenset(self._node.schema.get("properties", ())), _patterns(self._node).values()
        rule = (Selector(names=names, others=tuple(patterns)), self._state(positive=positive))
        if positive:
            return [Branch(Objects(rules=(rule,), is_open=True), Evaluated(all_properties=True))]
        return [Branch(Objects(witnesses=(rule,), is_open=True))]

    def property_names(self, positive: bool) -> Iterable[Branch]:
        if positive:
            return [Branch(Objects(keys=self._state(), is_open=True))]
        ((key, _),) = self._state()
        return [Branch(Objects(witnesses=((Selector(key=key), ANYTHING),), is_open=True))]

    def required(self, positive: bool) -> Iterable[Branch]:
        if positive:
            return [Branch(present(*self._value))]
        return [Branch(absent(name)) for name in dict.fromkeys(self._value)]

    def min_properties(self, positive: bool) -> Iterable[Branch]:
        return self._at_least(positive, _objects)

    def max_properties(self, positive: bool) -> Iterable[Branch]:
        return self._at_most(positive, _objects)


def _strings(low: int, high: int | None) -> Shape:
    return Strings(shortest=low, longest=high)


def _arrays(low: int, high: int | None) -> Shape:
    return Arrays(low=low, high=high)


def _objects(low: int, high: int | None) -> Shape:
    return Objects(low=low, high=high)


def present(*names: str) -> Objects:
    return Objects(tuple((name, Slot(ANYTHING, Presence.REQUIRED)) for name in dict.fromkeys(names)))


def absent(name: str) -> Objects:
    return Objects(((name, Slot(ANYTHING, Presence.FORBIDDEN)),))


def _patterns(node: Node) -> dict[str, Conditions]:
    place = _PATTERN.format(f"{node.place}/patternProperties")
    return {source: conditions_for(place, source) for source in node.schema.get("patternProperties", ())}


_Method = Callable[[Assertion, bool], Iterable[Branch]]
_KEYWORDS: dict[str, tuple[tuple[Kind, ...], _Method]] = {
    "minimum": (("number",), Assertion.minimum),
    "maximum": (("number",), Assertion.maximum),
    "exclusiveMinimum": (("number",), Assertion.exclusive_minimum),
    "exclusiveMaximum": (("number",), Assertion.exclusive_maximum),
    "multipleOf": (("number",), Assertion.multiple_of),
    "minLength": (("string",), Assertion.min_length),
    "maxLength": (("string",), Assertion.max_length),
    "pattern": (("string",), Assertion.pattern),
    "format": (("string", "number"), Assertion.format),
    "contentEncoding": (("string",), Assertion.format),
    "prefixItems": (("array",), Assertion.prefix_items),
    "items": (("array",), Assertion.items),
    "additionalItems": (("array",), Assertion.additional_items),
    "minItems": (("array",), Assertion.min_items),
    "maxItems": (("array",), Assertion.max_items),
    "contains": (("array",), Assertion.contains),
    "uniqueItems": (("array",), Assertion.unique_items),
    "properties": (("object",), Assertion.properties),
    "patternProperties": (("object",), Assertion.pattern_properties),
    "additionalProperties": (("object",), Assertion.additional_properties),
    "propertyNames": (("object",), Assertion.property_names),
    "required": (("object",), Assertion.required),
    "minProperties": (("object",), Assertion.min_properties),
    "maxProperties": (("object",), Assertion.max_properties),
}
ASSERTIONS = frozenset(_KEYWORDS)


def type_branches(names: str | list[str], positive: bool, kind: Kind) -> Branches:
    """Of the keyword ``type``."""
    listed = [names] if isinstance(names, str) else names
    is_whole_only = kind == "number" and "integer" in listed and "number" not in listed
    if is_whole_only:
        return (Branch(Numbers(whole=positive)),)
    return anything(kind) if (kind in listed) == positive else ()


def value_branches(document: Document, node: Node, name: str, value: Any, positive: bool, kind: Kind) -> Branches:
    """The ways to be, or not to be, one value. `name`: a step of a pointer that only this value of the node has."""
    if kind != _kind_of(value):
        return () if positive else anything(kind)
    if is_number(value):
        number = Fraction(value)
        return tuple(map(Branch, [Numbers(number, number)] if positive else Numbers().without(number)))
    if isinstance(value, str):
        return (Branch(Strings((value,)) if positive else Strings(excluded=frozenset([value]))),)
    if isinstance(value, list):
        return _array_branches(document, node, name, value, positive)
    if isinstance(value, dict):
        return _object_branches(document, node, name, value, positive)
    text = {None: "null", True: "true", False: "false"}[value]
    left = (text,) if positive else tuple(other for other in _scalars(kind) if other != text)
    return (Branch(Scalars(left)),) if left else ()


def _kind_of(value: Any) -> Kind:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if is_number(value):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _scalars(kind: Kind) -> tuple[str, ...]:
    shape = ALL[kind]
    return shape.texts if isinstance(shape, Scalars) else ()


def _array_branches(document: Document, node: Node, name: str, value: list[Any], positive: bool) -> Branches:
    states: list[State] = [
        frozenset([(document.made(node, {"const": inner}, name, str(place)), positive)])
        for place, inner in enumerate(value)
    ]
    length = len(value)
    if positive:
        return (Branch(Arrays(tuple(states), low=length, high=length)),)
    others = [Arrays(low=length + 1), *([Arrays(high=length - 1)] if length else [])]
    for place, state in enumerate(states):
        others.append(Arrays((*[ANYTHING] * place, state), low=length, high=length))
    return tuple(map(Branch, others))


def _object_branches(document: Document, node: Node, name: str, value: dict[str, Any], positive: bool) -> Branches:
    slots = [
        (key, Slot(frozenset([(document.made(node, {"const": inner}, name, key), positive)]), Presence.REQUIRED))
        for key, inner in value.items()
    ]
    others = Selector(names=frozenset(value))
    if positive:
        nothing: State = frozenset([(document.made(node, False, "none"), True)])
        return (Branch(Objects(tuple(slots), rules=((others, nothing),), is_open=True)),)
    found = [Objects((slot,)) for slot in slots]
    found += map(absent, value)
    return tuple(map(Branch, [*found, Objects(witnesses=((others, ANYTHING),), is_open=True)]))
