"""Grammars as trees: written in two notations, and followed literally by an Earley recogniser.

Neither writing nor recognising shares anything with the runtime: a tree is both what the server is told in a notation,
and what its answers are held against.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import count

MAX_LITERAL = 5
LETTERS = "abcxyz019 .,-:_é"
SETS = ("a-z", "0-9", "A-F", "xyz", "a-zA-Z0-9", "αβγ", "a-c_")


@dataclass(frozen=True)
class Literal:
    text: str


@dataclass(frozen=True)
class OneOf:
    """A character of a set, written as between the brackets of a regular expression."""

    members: str


@dataclass(frozen=True)
class Sequence:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """high: None is without end."""

    node: Node
    low: int
    high: int | None


@dataclass(frozen=True)
class Reference:
    rule: str


Node = Literal | OneOf | Sequence | Choice | Repeat | Reference
Rules = Mapping[str, Node]


class Writer:
    """Writes rules; ``define`` stands between a rule's name and its body."""

    def __init__(self, define: str, set_quotes: str) -> None:
        self._define = define
        self._before, self._after = set_quotes.split("SET")

    def write(self, rules: Rules) -> str:
        return "\n".join(f"{name}{self._define}{self._alternatives(node)}" for name, node in rules.items()) + "\n"

    def _alternatives(self, node: Node) -> str:
        options = node.options if isinstance(node, Choice) else (node,)
        return " | ".join(map(self._sequence, options))

    def _sequence(self, node: Node) -> str:
        parts = node.parts if isinstance(node, Sequence) else (node,)
        return " ".join(map(self._single, parts))

    def _single(self, node: Node) -> str:
        match node:
            case Literal(text):
                return f'"{text}"'
            case OneOf(members):
                return f"{self._before}{members}{self._after}"
            case Reference(rule):
                return rule
            case Repeat(Repeat() as repeated, low, high):
                return f"({self._single(repeated)})" + _quantifier(low, high)
            case Repeat(repeated, low, high):
                return self._single(repeated) + _quantifier(low, high)
            case _:
                return f"({self._alternatives(node)})"


def _quantifier(low: int, high: int | None) -> str:
    short = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((low, high))
    return short or (f"{{{low},}}" if high is None else f"{{{low},{high}}}")


GBNF = Writer(" ::= ", "[SET]")
LARK = Writer(": ", "/[SET]/")


# --- drawing them -----------------------------------------------------------------------------------------------------


def draw_rules(draw: random.Random, start: str) -> dict[str, Node]:
    """Rules that all come to an end: what refers to itself or to an earlier rule has another way out."""
    names = [start, *(f"part_{chr(ord('a') + number)}" for number in range(draw.randint(0, 4)))]
    rules: dict[str, Node] = {}
    for number, name in enumerate(names):
        body = _node(draw, names[number + 1 :], 3)
        if draw.random() < 0.2:
            within = (Literal(draw.choice("([{<")), Reference(draw.choice(names[: number + 1])), Literal("."))
            body = Choice((Sequence((Literal(draw.choice("!?")), body)), Sequence(within)))
        rules[name] = body
    rules[start] = Sequence((rules[start], Literal(";")))
    return rules


def _node(draw: random.Random, names: list[str], depth: int) -> Node:
    kind = draw.random()
    if depth == 0 or kind < 0.2:
        return _terminal(draw)
    if kind < 0.4 and names:
        return Reference(draw.choice(names))
    if kind < 0.6:
        return Sequence(tuple(_node(draw, names, depth - 1) for _ in range(draw.randint(2, 3))))
    if kind < 0.8:
        return Choice(tuple(_node(draw, names, depth - 1) for _ in range(draw.randint(2, 4))))
    low = draw.choice((0, 0, 1, 1, 2))
    high = draw.choice((None, low + 1, low + 2, low + 3))
    return Repeat(_node(draw, names, depth - 1), low, high)


def _terminal(draw: random.Random) -> Node:
    if draw.random() < 0.5:
        return OneOf(draw.choice(SETS))
    return Literal("".join(draw.choice(LETTERS) for _ in range(draw.randint(1, MAX_LITERAL))))


def example(node: Node, rules: Rules) -> str:
    """The text of taking the first of several ways, as seldom as is allowed but once; this comes to an end where the
    first way of no rule leads back to it.
    """
    match node:
        case Literal(text):
            return text
        case OneOf(members):
            return members[0]
        case Reference(rule):
            return example(rules[rule], rules)
        case Sequence(parts):
            return "".join(example(part, rules) for part in parts)
        case Choice(options):
            return example(options[0], rules)
        case Repeat(repeated, low, _):
            return example(repeated, rules) * max(low, 1)


# --- recognising texts ------------------------------------------------------------------------------------------------

Symbol = str | re.Pattern[str]
"""The name of a rule, or a character."""


@dataclass(frozen=True)
class Item:
    """Of a rule, the symbols still to come, and where in the text it began."""

    rule: str
    rest: tuple[Symbol, ...]
    start: int


class Recogniser:
    """Whether a text follows rules, by Earley's method: no order of rules or choices matters to it."""

    def __init__(self, rules: Rules, start: str) -> None:
        self._start = start
        self._productions: dict[str, list[tuple[Symbol, ...]]] = defaultdict(list)
        self._numbers = count()
        for name, node in rules.items():
            self._productions[name].append(self._symbols(node))
        self._empty = self._rules_of_nothing()

    def accepts(self, text: str) -> bool:
        first = [Item(self._start, symbols, 0) for symbols in self._productions[self._start]]
        columns = reduce(self._read, text, [self._closed(first, [])])
        return any(item.rule == self._start and not item.rest and item.start == 0 for item in columns[-1])

    def _symbols(self, node: Node) -> tuple[Symbol, ...]:
        match node:
            case Literal(text):
                return tuple(re.compile(re.escape(character)) for character in text)
            case OneOf(members):
                return (re.compile(f"[{members}]"),)
            case Reference(rule):
                return (rule,)
            case Sequence(parts):
                return tuple(symbol for part in parts for symbol in self._symbols(part))
            case Choice(options):
                return (self._new_rule(*map(self._symbols, options)),)
            case Repeat(repeated, low, high):
                return self._repeated(self._symbols(repeated), low, high)

    def _repeated(self, symbols: tuple[Symbol, ...], low: int, high: int | None) -> tuple[Symbol, ...]:
        if high is None:
            again = self._new_rule(())
            self._productions[again].append((again, *symbols))
            return (*symbols * low, again)
        return (*symbols * low, *(self._new_rule((), symbols) for _ in range(high - low)))

    def _new_rule(self, *bodies: tuple[Symbol, ...]) -> str:
        name = f"of a node: {next(self._numbers)}"
        self._productions[name] = list(bodies)
        return name

    def _rules_of_nothing(self) -> set[str]:
        """Those that the empty text follows."""
        found: set[str] = set()
        while True:
            more = {
                name for name, bodies in self._productions.items() if any(found.issuperset(body) for body in bodies)
            }
            if more == found:
                return found
            found = more

    def _read(self, columns: list[dict[Item, None]], character: str) -> list[dict[Item, None]]:
        moved = [
            Item(item.rule, item.rest[1:], item.start)
            for item in columns[-1]
            if item.rest and isinstance(item.rest[0], re.Pattern) and item.rest[0].fullmatch(character)
        ]
        columns.append(self._closed(moved, columns))
        return columns

    def _closed(self, items: list[Item], columns: list[dict[Item, None]]) -> dict[Item, None]:
        """The column that these items begin, after the `columns` before it."""
        column = dict.fromkeys(items)
        here, waiting = len(columns), list(items)
        while waiting:
            for item in self._following(waiting.pop(), columns, column, here):
                if item not in column:
                    column[item] = None
                    waiting.append(item)
        return column

    def _following(
        self, item: Item, columns: list[dict[Item, None]], column: dict[Item, None], here: int
    ) -> list[Item]:
        if not item.rest:
            before = column if item.start == here else columns[item.start]
            return [
                Item(outer.rule, outer.rest[1:], outer.start)
                for outer in before
                if outer.rest and outer.rest[0] == item.rule
            ]
        symbol = item.rest[0]
        if isinstance(symbol, re.Pattern):
            return []
        begun = [Item(symbol, body, here) for body in self._productions[symbol]]
        return [*begun, Item(item.rule, item.rest[1:], item.start)] if symbol in self._empty else begun
