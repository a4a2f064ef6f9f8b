"""Follows outputs of a grammar, and says how each can be ended with the fewest bytes.

An output is followed as the stacks of all that may still come (a pushdown automaton whose stacks are shared lists).
What the shortest rest costs is known for every expression and so for every stack; for rules it is a fixed point (Knuth,
"A Generalization of Dijkstra's Algorithm", 1977).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.item_rules import is_unique_item
from sglang.srt.grammar.witness.expressions import Expressions, NotFoundError
from sglang.srt.grammar.witness.lark_reader import IGNORED, UnreadableError, read_lark
from sglang.srt.grammar.witness.nodes import (
    Both,
    Concat,
    Expression,
    Lazy,
    Mark,
    Multiple,
    Ref,
    Repeat,
    Union,
    chain,
    first_sets,
    sample,
)
from sglang.srt.grammar.witness.stack import Position, Stack
from sglang.srt.grammar.witness.utf8 import characters_from, decoded

MAX_STACKS = 128
"""Of one output: ways in which it can be read."""

MAX_REMEMBERED = 20_000
"""Steps, which are taken anew afterwards."""

MAX_PATHS, MAX_PATH = 2_000, 64
"""How many are remembered, and of how many bytes: about those of a token and what is forced after it. A whole text,
followed from the start, does not come again.
"""

WORK, WORK_PER_BYTE = 10_000, 400
"""Derivatives that may be found to follow an output."""

MAX_PARTIAL = 3
"""Bytes that may be missing of a character."""

MAX_OPENED = 500
"""Expressions that may read the next character."""

SHORT = 32
"""Bytes of texts of which it is not looked at whether all of them may be left at once."""

MAX_TEXT = 100_000
"""Bytes of a text that is written. Longer ones are only counted."""

MAX_TEXTS = 2_000_000
"""Characters of the shortest texts of all rules together, which are kept as long as the grammar is."""


class Outputs:
    """Of one grammar. Raises UnreadableError for one that cannot be followed. Belongs to one thread at a time.

    All other methods raise NotFoundError where following or searching comes to a bound.
    most_bytes: no output ever needs more to be ended, also within a character; math.inf if there is no such number, or
    it is not known. has_unique_items: there are rules of items of which no two of an array may be equal.
    """

    def __init__(self, grammar: str) -> None:
        self._make = Expressions()
        self._mark = Mark()
        rules = read_lark(grammar, self._make)
        self._bodies = {name: self._without_left_recursion(name, body) for name, body in rules.bodies.items()}
        self._written = self._bodies if rules.ignored is None else {**self._bodies, IGNORED: rules.ignored}
        self._unique = {name for name in self._bodies if is_unique_item(name)}
        self.has_unique_items = bool(self._unique)
        self._rule_costs: dict[str, float] = {}
        self._rule_texts: dict[str, str] = {}
        self._costs: dict[Expression, float] = {}
        whole = self._make.ref(rules.start)
        try:
            self._find_rule_texts()
            self._check_left_recursion()
            if self._cost(whole) == math.inf:
                raise NotFoundError
            self.most_bytes = self._most_bytes(rules.start)
        except NotFoundError as error:
            raise UnreadableError from error
        self._stacks: dict[tuple[Expression, Stack], Stack] = {}
        self._steps: dict[tuple[Stack, str], tuple[Stack, ...]] = {}
        self._paths: dict[tuple[Position, bytes], Position] = {}
        bottom = Stack(self._make.empty, None, 0)
        first = Stack(whole, bottom, self._cost(whole))
        self.start = Position((first,) if rules.ignored is None else self._without_ignored(first, bottom), b"")

    def _without_ignored(self, first: Stack, bottom: Stack) -> tuple[Stack, ...]:
        """The library ignores nothing before the first terminal."""
        readers = [(top, rest) for top, rest in self._readers(first) if top is not self._bodies[IGNORED]]
        return tuple(dict.fromkeys(bottom if rest is None else self._push(top, rest) for top, rest in readers))

    # --- following

    def follow(self, position: Position, data: bytes | bytearray) -> Position:
        """`data` is what the output goes on with. Where the grammar does not allow it no stack is left."""
        self._make.work_left = WORK + WORK_PER_BYTE * len(data)
        if len(data) > MAX_PATH:
            return self._followed(position, bytes(data))
        key = position, bytes(data)
        found = self._paths.get(key)
        if found is None:
            if len(self._paths) >= MAX_PATHS:
                self._paths.clear()
            found = self._paths[key] = self._followed(*key)
        return found

    def _followed(self, position: Position, data: bytes) -> Position:
        stacks, partial = position
        text, partial = decoded(partial + data)
        for character in text:
            stacks = self._after(stacks, character)
        return Position(stacks, partial)

    def num_bytes_to_end(self, position: Position) -> float:
        """math.inf where the output cannot be ended."""
        if position.partial:
            return len(self.shortest_end(position))
        return min((stack.cost for stack in position.stacks), default=math.inf)

    def shortest_end(self, position: Position) -> bytes:
        """What ends it. Raises NotFoundError if it cannot be ended, or is too long to be written."""
        if position.partial:
            return self._end_within_character(position)
        best = min(position.stacks, key=lambda stack: stack.cost, default=None)
        if best is None or best.cost > MAX_TEXT:
            raise NotFoundError
        text = []
        while best is not None:
            text.append(self._shortest(best.top))
            best = best.rest
        return "".join(text).encode()

    def _end_within_character(self, position: Position) -> bytes:
        """After the cheapest of each kind of characters that this one can be."""
        possible = characters_from(position.partial)
        readers = [reader for stack in position.stacks for reader, _ in self._readers(stack)]
        parts = (cs.intersection(chars, possible) for reader in readers for chars in first_sets(reader))
        ends = []
        for character in {sample(part) for part in parts if part}:
            following = Position(self._after(position.stacks, character), b"")
            if self.num_bytes_to_end(following) < math.inf:
                ends.append(character.encode()[len(position.partial) :] + self.shortest_end(following))
        if not ends:
            raise NotFoundError
        return min(ends, key=lambda end: (len(end), end))

    def after(self, stack: Stack, character: str) -> tuple[Stack, ...]:
        """What may still come after it, in each of the ways in which it can be read. `character` is a whole one."""
        self._make.work_left = WORK
        return self._step(stack, character)

    def next_character(self, stack: Stack) -> str:
        """The first one of a shortest end; nothing at the end. Raises NotFoundError where there is none."""
        if stack.cost == math.inf:
            raise NotFoundError
        left: Stack | None = stack
        while left is not None:
            character = self._first_of_shortest(left.top)
            if character:
                return character
            left = left.rest
        return ""

    def characters(self, position: Position, others: str) -> list[str]:
        """Some with which the output may go on: one of each kind, and of `others` those that can."""
        possible = characters_from(position.partial) if position.partial else cs.ANY
        readers = dict.fromkeys(reader for stack in position.stacks for reader, _ in self._readers(stack))
        firsts = dict.fromkeys(chars for reader in readers for chars in first_sets(reader))
        sets = dict.fromkeys(cs.intersection(chars, possible) for chars in firsts)
        kinds = [character for reader in readers for character in self._make.first_samples(reader)]
        found = dict.fromkeys([*map(sample, filter(None, sets)), *kinds, *others])
        return [one for one in found if any(cs.contains(chars, one) for chars in sets)]

    def _after(self, stacks: Iterable[Stack], character: str) -> tuple[Stack, ...]:
        found: dict[Stack, None] = {}
        for stack in stacks:
            found.update(dict.fromkeys(self._step(stack, character)))
        if len(found) > MAX_STACKS:
            raise NotFoundError
        return tuple(found)

    def _step(self, stack: Stack, character: str) -> tuple[Stack, ...]:
        found = self._steps.get((stack, character))
        if found is None:
            if len(self._steps) >= MAX_REMEMBERED:
                self._steps.clear()
                self._stacks.clear()
            after = ((self._make.derivative(top, character), rest) for top, rest in self._readers(stack))
            following = (self._push(top, rest) for top, rest in after if rest is not None and self._is_possible(top))
            found = self._steps[stack, character] = tuple(dict.fromkeys(following))
        return found

    def _readers(self, stack: Stack) -> Iterator[tuple[Expression, Stack | None]]:
        """The regular expressions that may read the next character, and what comes after each."""
        seen: set[tuple[Expression, Stack | None]] = set()
        left: list[tuple[Expression, Stack | None]] = [(stack.top, stack.rest)]
        while left:
            top, rest = found = left.pop()
            if found in seen:
                continue
            if len(seen) >= MAX_OPENED:
                raise NotFoundError
            seen.add(found)
            if top.is_regular:
                yield found
                if top.is_nullable and rest is not None:
                    left.append((rest.top, rest.rest))
            elif rest is not None:
                left += self._opened(top, rest)

    def _opened(self, top: Expression, rest: Stack) -> Iterator[tuple[Expression, Stack | None]]:
        match top:
            case Ref():
                yield self._bodies[top.name], self._push(self._mark, rest) if top.name in self._unique else rest
            case Concat():
                yield top.head, self._push(top.tail, rest)
            case Union():
                yield from ((option, rest) for option in top.options)
            case Repeat():
                yield top.body, self._push(top.after_one(self._make), rest)
                if top.low == 0:
                    yield rest.top, rest.rest

    def _push(self, top: Expression, rest: Stack) -> Stack:
        if top is self._make.empty:
            return rest
        found = self._stacks.get((top, rest))
        if found is None:
            num_marks = rest.num_marks + isinstance(top, Mark)
            found = self._stacks[top, rest] = Stack(top, rest, self._cost(top) + rest.cost, num_marks)
        return found

    def _is_possible(self, top: Expression) -> bool:
        return top is not self._make.nothing

    # --- the shortest texts

    def _cost(self, expression: Expression) -> float:
        """math.inf also where the search for an end is too long: then other ways are looked for."""
        if expression.is_regular:
            return self._make.cost_or_never(expression)
        found = self._costs.get(expression)
        if found is None:
            if len(self._costs) >= MAX_REMEMBERED:
                self._costs.clear()
            found = self._costs[expression] = self._cost_by_rules(expression)
        return found

    def _cost_by_rules(self, expression: Expression) -> float:
        match expression:
            case Ref():
                return self._rule_costs.get(expression.name, math.inf)
            case Concat():
                return sum(map(self._cost, chain(expression)))
            case Union():
                return min(map(self._cost, expression.options))
            case Repeat():
                return self._cost(expression.body) * expression.low if expression.low else 0
        raise AssertionError(f"{expression} is regular")

    def _shortest(self, expression: Expression) -> str:
        if expression.is_regular:
            return self._make.shortest(expression)
        match expression:
            case Ref():
                return self._text_of_rule(expression.name)
            case Concat():
                return "".join(map(self._shortest, chain(expression)))
            case Union():
                return self._shortest(min(expression.options, key=self._cost))
            case Repeat():
                return self._shortest(expression.body) * expression.low if expression.low else ""
        raise AssertionError(f"{expression} is regular")

    def _first_of_shortest(self, expression: Expression) -> str:
        if expression.is_regular:
            return self._make.shortest(expression)[:1]
        match expression:
            case Ref():
                return self._text_of_rule(expression.name)[:1]
            case Concat():
                return next(filter(None, map(self._first_of_shortest, chain(expression))), "")
            case Union():
                return self._first_of_shortest(min(expression.options, key=self._cost))
            case Repeat():
                return self._first_of_shortest(expression.body) if expression.low else ""
        raise AssertionError(f"{expression} is regular")

    def _find_rule_texts(self) -> None:
        """Those that need no other rule first; of a schema what uses others is written before them, so few rounds are
        enough. Elsewhere there may be as many rounds as rules, so each looks only at what uses a rule that got cheaper.
        """
        users = defaultdict(set)
        for name, body in self._bodies.items():
            for used in references(body):
                users[used].add(name)
        places = {name: place for place, name in enumerate(self._bodies)}
        left, num_characters = set(self._bodies), 0
        while left:
            names, left = sorted(left, key=lambda name: -places[name]), set()
            for name in names:
                body = self._written[name]
                cost = self._cost(body)
                if cost < self._rule_costs.get(name, math.inf):
                    self._rule_costs[name] = cost
                    if cost <= MAX_TEXT:
                        num_characters -= len(self._rule_texts.get(name, ""))
                        self._rule_texts[name] = self._shortest(body)
                        num_characters += len(self._rule_texts[name])
                    if num_characters > MAX_TEXTS:
                        raise NotFoundError
                    left |= users[name]
                self._costs.clear()

    def _text_of_rule(self, name: str) -> str:
        text = self._rule_texts.get(name)
        if text is None:
            raise NotFoundError
        return text

    def _most_bytes(self, start: str) -> float:
        """Of what is left of a rule wherever an output may be in it. No bound is known for rules within themselves."""
        graph = {name: set(references(body)) for name, body in self._bodies.items()}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError:
            return math.inf
        most: dict[str, float] = {}
        for name in order:
            most[name] = self._most_left(self._written[name], most)
        return most[start] + MAX_PARTIAL

    def _most_left(self, expression: Expression, of_rules: dict[str, float]) -> float:
        found, cost = 0.0, 0.0
        for part in reversed(list(chain(expression))):
            found = max(found, self._most_left_of_part(part, of_rules) + cost)
            cost += self._cost(part)
        return found

    def _most_left_of_part(self, part: Expression, of_rules: dict[str, float]) -> float:
        match part:
            case Ref():
                return of_rules[part.name]
            case Union():
                return max((self._most_left(option, of_rules) for option in part.options), default=0)
            case Repeat():
                again = self._cost(part.body) * (part.low - 1) if part.low > 1 else 0
                return self._most_left(part.body, of_rules) + again
            case Lazy():
                return self._most_left(part.body, of_rules)
        return part.longest if part.longest <= SHORT else min(part.longest, self._most_cost(part))

    def _most_cost(self, part: Expression) -> float:
        if not isinstance(part, Both) or any(isinstance(one, Multiple) for one in part.parts):  # too many remainders
            return math.inf
        try:
            return self._make.most_cost(part)
        except NotFoundError:
            return math.inf

    # --- left recursion

    def _without_left_recursion(self, name: str, body: Expression) -> Expression:
        """``a: a x | y`` is ``y x*``."""
        options = body.options if isinstance(body, Union) else (body,)
        more = [one.tail for one in options if isinstance(one, Concat) and _is_ref(one.head, name)]
        if not more:
            return body
        begins = [one for one in options if not _is_ref(next(chain(one)), name)]
        return self._make.concat([self._make.union(begins), self._make.repeat(self._make.union(more), 0, None)])

    def _check_left_recursion(self) -> None:
        """Rules that begin with each other would be opened without end."""
        graph = {name: set(self._first_rules(body)) for name, body in self._bodies.items()}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            raise UnreadableError from error

    def _first_rules(self, expression: Expression) -> Iterator[str]:
        for part in chain(expression):
            match part:
                case Ref():
                    yield part.name
                case Union():
                    for option in part.options:
                        yield from self._first_rules(option)
                case Repeat():
                    yield from self._first_rules(part.body)
            if self._cost(part) > 0:
                return


def references(expression: Expression) -> Iterator[str]:
    """The rules that it names."""
    for part in chain(expression):
        match part:
            case Ref():
                yield part.name
            case Union():
                for option in part.options:
                    yield from references(option)
            case Repeat():
                yield from references(part.body)


def _is_ref(expression: Expression, name: str) -> bool:
    return isinstance(expression, Ref) and expression.name == name
