"""A plan written as a grammar of llguidance.

White space follows every token but the last; so there is one piece of it between two, and none around the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.item_rules import unique_item
from sglang.srt.grammar.lark import TerminalWriter
from sglang.srt.grammar.lexemes import not_empty
from sglang.srt.grammar.limits import LARGEST_MULTIPLE, MAX_MULTIPLE
from sglang.srt.grammar.pattern import EMPTY_TEXT, Pattern, concat, is_nullable, literal, union
from sglang.srt.grammar.schema.machine import Item, Machine
from sglang.srt.grammar.schema.multiples import MAX_LISTED, are_told_by_last_digits, texts_by_multiples
from sglang.srt.grammar.schema.numbers import Numbers, decimal_text, is_read_exactly, json_of_multiples, texts_of
from sglang.srt.grammar.schema.objects import Record
from sglang.srt.grammar.schema.plan import Plan, Settled, place
from sglang.srt.grammar.schema.shapes import Arrays, Scalars, State
from sglang.srt.grammar.schema.strings import Strings

MAX_GRAMMAR_BYTES = 2_000_000

MAX_RULES = 1_000
"""For arrays and objects. The library follows them by calling itself, on a stack that has an end."""

MAX_NESTING = 8
"""Of parentheses, one within another, where alternatives begin with the same. What is deeper is a rule of its own."""

_Parts = tuple[str, ...]
"""Parts of a rule that follow each other."""

_Part = tuple[_Parts, bool]
"""Of an object, and whether it has to be there."""

_STRUCTURES = (Arrays, Machine, Record)
_JSON_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[\[\]{},:]|[^\[\]{},:"]+')


def grammar_of(plan: Plan, name: str, whitespace: Pattern = EMPTY_TEXT) -> str:
    """`name` is that of the rule for the whole; all other names begin with it. whitespace: between any two tokens.

    Raises InvalidRequestError for numbers that cannot be written, and for a grammar that is too long."""
    return _Writer(plan, name, whitespace).text()


class _Writer:
    def __init__(self, plan: Plan, name: str, whitespace: Pattern) -> None:
        self._plan = plan
        self._name = name
        self._whitespace = whitespace
        self._patterns = TerminalWriter(f"{name.upper()}_")
        self._names = {state: f"{name}_value_{number}" for number, state in enumerate(plan.values)}
        self._terminals: dict[str, str] = {}
        self._literals: dict[tuple[str, ...], str] = {}
        self._unique_items: dict[str, str] = {}  # the rule of each value that is an item of an array without equal ones
        self._rules: list[str] = []
        self._num_rules = 0
        self._counted: dict[str, str] = {}  # the rules of those that the library counts
        self._left: list[tuple[str, list[_Parts]]] = []  # rules to be written, and their alternatives
        self._space = self._optional(whitespace)
        self._comma = self._spaced('","')
        self._colon = concat([whitespace, literal(":")])

    def text(self) -> str:
        for state, values in self._plan.values.items():
            if not any(isinstance(value, _STRUCTURES) for value in values):
                self._names[state] = self._simple(state, values)
        for state, values in self._plan.values.items():
            if any(isinstance(value, _STRUCTURES) for value in values):
                self._rules.append(f"{self._names[state]}: {self._alternatives(state, values)}")
                while self._left:
                    name, alternatives = self._left.pop()
                    self._rules.append(f"{name}: {' | '.join(self._factored(alternatives, MAX_NESTING))}")
        if len(self._rules) > MAX_RULES:
            raise InvalidRequestError(
                f"json_schema takes {len(self._rules)} rules for its arrays and objects; at most {MAX_RULES} are "
                "supported"
            )
        lines = [f"{self._name}: {self._names[self._plan.root]}", *self._rules]
        lines += [f"{name}: {body}" for body, name in self._terminals.items()]
        text = "\n".join([*lines, *self._patterns.definitions]) + "\n"
        if len(text) > MAX_GRAMMAR_BYTES:
            raise InvalidRequestError(
                f"json_schema takes a grammar of {len(text)} bytes; at most {MAX_GRAMMAR_BYTES} are supported"
            )
        return text

    def _simple(self, state: State, values: list[Settled]) -> str:
        """Numbers, texts and scalars stand where they are used."""
        text = self._alternatives(state, values)
        return f"({text})" if "|" in text else text

    def _alternatives(self, state: State, values: list[Settled]) -> str:
        structures = dict.fromkeys(self._structure(value) for value in values if isinstance(value, _STRUCTURES))
        options = self._factored(list(structures))
        texts = [value for value in values if isinstance(value, Strings)]
        if texts:
            options.append(self._terminal(" | ".join(f"({one.terminal(self._patterns)})" for one in texts)))
        numbers = [value for value in values if isinstance(value, Numbers)]
        counted = [one for one in numbers if one.is_counted and not are_told_by_last_digits(one)]
        options += [self._multiples(one, place(state)) for one in counted]
        if plain := [one for one in numbers if one not in counted]:
            options.append(self._terminal(" | ".join(self._number(one, place(state)) for one in plain)))
        scalars = [text for value in values if isinstance(value, Scalars) for text in value.texts]
        if scalars:
            options.append(self._literal(*dict.fromkeys(scalars)))
        return " | ".join(dict.fromkeys(options))

    def _terminal(self, body: str) -> str:
        return self._terminals.setdefault(body, f"{self._name.upper()}_TEXT_{len(self._terminals)}")

    def _literal(self, *texts: str) -> str:
        """Values, as JSON without white space."""
        if texts not in self._literals:
            self._literals[texts] = self._terminal(self._patterns.write(union(map(self._with_whitespace, texts))))
        return self._literals[texts]

    def _with_whitespace(self, text: str) -> Pattern:
        tokens = [literal(token) for token in _JSON_TOKEN.findall(text)]
        return concat([tokens[0], *(part for token in tokens[1:] for part in (self._whitespace, token))])

    def _optional(self, pattern: Pattern) -> str:
        """As a lexeme, which must not be empty; nothing where that is all it matches."""
        if pattern == EMPTY_TEXT:
            return ""
        if is_nullable(pattern):
            return f"{self._terminal(self._patterns.write(not_empty(pattern)))}?"
        return self._terminal(self._patterns.write(pattern))

    def _spaced(self, text: str) -> str:
        return f"{text} {self._space}" if self._space else text

    def _rule(self, body: str) -> str:
        name = self._next_name()
        self._rules.append(f"{name}: {body}")
        return name

    def _next_name(self) -> str:
        self._num_rules += 1
        return f"{self._name}_part_{self._num_rules}"

    # --- numbers

    def _number(self, numbers: Numbers, where: str) -> str:
        texts = texts_by_multiples(numbers) if numbers.avoided or numbers.multiple else texts_of(numbers)
        if texts is None:
            raise InvalidRequestError(
                f"json_schema has multipleOf negated at {where}, which cannot be enforced but for divisors of powers "
                f"of ten, and among at most {MAX_LISTED} numbers"
            )
        alternatives = [
            " & ".join(f"{'' if wanted else '~'}({self._patterns.write(pattern)})" for pattern, wanted in conditions)
            for conditions in texts
        ]
        return " | ".join(f"({one})" for one in alternatives)

    def _multiples(self, numbers: Numbers, where: str) -> str:
        multiple = numbers.multiple
        units = int(str(multiple.numerator * 10**400 // multiple.denominator).rstrip("0")) if multiple else 0
        if units > MAX_MULTIPLE:
            raise InvalidRequestError(
                f"json_schema has multipleOf at {where}: the numbers come together to multiples of {units}, counted "
                f"without decimal point and zeros at the end; at most {MAX_MULTIPLE} is supported"
            )
        if multiple and multiple > LARGEST_MULTIPLE:
            raise InvalidRequestError(
                f"json_schema has multipleOf at {where}: the numbers come together to multiples of {multiple}; at most "
                f"{LARGEST_MULTIPLE} is supported"
            )
        if multiple and not is_read_exactly(multiple):
            raise InvalidRequestError(
                f"json_schema has multipleOf at {where}: multiples of {decimal_text(multiple)} cannot be told from "
                "those of a number close by"
            )
        schema = json_of_multiples(numbers)
        if schema is None:
            raise InvalidRequestError(
                f"json_schema has multipleOf at {where}, which cannot be enforced with bounds of more than 15 digits"
            )
        if schema not in self._counted:
            self._counted[schema] = self._rule(f"%json {schema}")
        return self._counted[schema]

    # --- arrays and objects

    def _structure(self, value: Arrays | Machine | Record) -> _Parts:
        if isinstance(value, Arrays):
            return (self._array(value),)
        if isinstance(value, Record):
            return tuple(self._object(value))
        begin, end = ('"{"', '"}"') if value.is_object else ('"["', '"]"')
        return (self._spaced(begin), self._machine(value), end)

    def _factored(self, alternatives: list[_Parts], depth: int = 0) -> list[str]:
        """What they begin with together is written once: an output is read in one way until they differ. None of them
        is the beginning of another.
        """
        by_head: dict[str, list[_Parts]] = {}
        for one in alternatives:
            by_head.setdefault(one[0], []).append(one)
        return [self._group(group, depth) for group in by_head.values()]

    def _group(self, group: list[_Parts], depth: int) -> str:
        """Of alternatives that begin with the same."""
        if len(group) == 1:
            return " ".join(group[0])
        size = next(size for size, parts in enumerate(zip(*group, strict=False)) if len(set(parts)) > 1)
        rests = [one[size:] for one in group]
        if depth < MAX_NESTING:
            rest = f"({' | '.join(self._factored(rests, depth + 1))})"
        else:
            rest = self._next_name()
            self._left.append((rest, rests))
        return " ".join([*group[0][:size], rest])

    def _array(self, shape: Arrays) -> str:
        count = len(shape.prefix)
        tail = ""
        if shape.high is None or shape.high > count:
            low, high = max(shape.low - count, 0), None if shape.high is None else shape.high - count
            tail = self._repeated(self._item_of(shape, count), low, high, is_first=not count)
        for at in reversed(range(count)):
            before = f"{self._comma} " if at else ""
            tail = f"{before}{self._item_of(shape, at)} {tail}"
            tail = tail if at < shape.low else f"({tail})?"
        begin = self._spaced('"["')
        return f'{begin} {tail} "]"'

    def _item_of(self, shape: Arrays, at: int) -> str:
        if not shape.is_unique:
            return self._element(shape.item(at))
        name = self._names[shape.item(at)]
        if name not in self._unique_items:
            self._unique_items[name] = unique_item(self._name, len(self._unique_items))
            self._rules.append(f"{self._unique_items[name]}: {name}")
        return self._spaced(self._unique_items[name])

    def _element(self, state: State) -> str:
        return self._spaced(self._names[state])

    def _repeated(self, item: str, low: int, high: int | None, is_first: bool) -> str:
        if is_first:
            rest = "" if high == 1 else self._repeated(item, max(low - 1, 0), None if high is None else high - 1, False)
            return f"{item} {rest}" if low else f"({item} {rest})?"
        return f"({self._comma} {item}){{{low},{'' if high is None else high}}}"

    def _item(self, item: Item) -> str:
        return " ".join(self._key_and_value(item))

    def _key_and_value(self, item: Item) -> _Parts:
        if item.text is not None:
            return (self._spaced(self._literal(item.text)),)
        value = self._element(item.state)
        if item.key is None:
            return (value,)
        return self._spaced(self._terminal(item.key.terminal(self._patterns, self._colon))), value

    def _object(self, record: Record) -> Iterator[str]:
        parts = [(self._key_and_value(item), required) for item, required in record.properties]
        extra = " | ".join(self._item(item) for item in record.extras)
        if record.last is not None:
            last = " | ".join(self._item(item) for item in record.last)
            parts.append(((f"(({extra}) {self._comma})* ({last})" if extra else f"({last})",), True))
        elif extra:
            low, high = record.num_extras or (0, None)
            if high != 0:
                parts.append(((self._repeated(f"({extra})", 1, high, is_first=True),), low > 0))
        yield self._spaced('"{"')
        first = next((place for place, (_, required) in enumerate(parts) if required), None)
        if first is not None:
            yield from (f"({' '.join(part)} {self._comma})?" for part, _ in parts[:first])
            yield from parts[first][0]
            yield from self._following(parts[first + 1 :])
        elif parts:
            some = self._some_of(parts)
            yield f"({some})" if record.low else f"({some})?"
        yield '"}"'

    def _following(self, parts: Iterable[_Part]) -> Iterator[str]:
        for part, required in parts:
            if required:
                yield from (self._comma, *part)
            else:
                yield f"({self._comma} {' '.join(part)})?"

    def _some_of(self, parts: list[_Part]) -> str:
        """At least one of parts that need not be there. Halved, so that it is written once for each level and no
        deeper.
        """
        if len(parts) == 1:
            return " ".join(parts[0][0])
        middle = len(parts) // 2
        first, then = self._some_of(parts[:middle]), " ".join(self._following(parts[middle:]))
        return f"({first}) {then} | {self._some_of(parts[middle:])}"

    def _machine(self, machine: Machine) -> str:
        """One rule a state; what leads back to the same state is repeated in place."""
        names = [self._next_name() for _ in machine.edges]
        for number, edges in enumerate(machine.edges):
            loops = [self._item(item) for item, to in edges if to == number]
            exits = [f"{self._comma} {self._item(item)} {names[to]}" for item, to in edges if to != number]
            again = f"({self._comma} ({' | '.join(loops)}))* " if loops else ""
            options = ['""', *exits] if machine.accepting[number] else exits
            self._rules.append(f"{names[number]}: {again}({' | '.join(options)})")
        starts = [f"{self._item(item)} {names[to]}" for item, to in machine.edges[0]]
        options = ['""', *starts] if machine.accepting[0] else starts
        return f"({' | '.join(options)})"
