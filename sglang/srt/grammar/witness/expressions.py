"""Expressions that are read one character at a time, each step leaving the expression of what may still follow.

Every one of them knows how short what is left of it can be. Equal expressions are the same object, so they can be
compared and remembered by identity; they belong to the `Expressions` that made them.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.charset import CharSet
from sglang.srt.grammar.witness.nodes import (
    Both,
    Chars,
    Concat,
    Expression,
    Lazy,
    Multiple,
    Not,
    Ref,
    Repeat,
    Union,
    chain,
    first_sets,
    sample,
)

MAX_SEARCHED = 250
"""Expressions looked at to find the shortest text of one that is an intersection or a complement."""

WORK_AT_FIRST = 50_000
"""Derivatives that may be found while a grammar is made ready."""

MAX_EXPLORED = 100
"""Expressions looked at to find what may be left of one."""

MANY_OPTIONS = 16
"""From so many on it is looked at which begin with the same."""

MAX_FACTORED = 40
"""How often what begins with the same is parted again."""

MAX_REMEMBERED = 20_000
"""Expressions, and derivatives of them. Then all is forgotten, and found anew where it is needed again."""


class NotFoundError(Exception):
    """A search came to its bound."""


class HopelessError(NotFoundError):
    """It would again, whatever is known: it is the same for everybody who asks."""


class Expressions:
    """Makes expressions, and remembers what it found out about them. Belongs to one thread at a time.

    work_left: how many derivatives may still be found; whoever asks sets it.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Expression] = {}
        self._derivatives: dict[tuple[Expression, str], Expression] = {}
        self._ways: dict[Expression, tuple[float, str, Expression | None]] = {}
        self._samples: dict[Expression, list[str]] = {}
        self._hopeless: set[Expression] = set()
        self.work_left = WORK_AT_FIRST
        self.nothing = self._make(Union, ())
        self.empty = self._make(Repeat, self.nothing, 0, 0)
        self._character = self.chars(cs.ANY)
        self._anything = self.repeat(self._character, 0, None)

    # --- making

    def chars(self, chars: CharSet) -> Expression:
        return self._make(Chars, chars) if chars else self.nothing

    def literal(self, text: str) -> Expression:
        return self.concat(self.chars(cs.single(character)) for character in text)

    def concat(self, parts: Iterable[Expression]) -> Expression:
        whole = self.empty
        for part in reversed(list(parts)):
            whole = self.then(part, whole)
        return whole

    def union(self, options: Iterable[Expression]) -> Expression:
        flat = (inner for option in options for inner in (option.options if isinstance(option, Union) else (option,)))
        distinct = tuple(dict.fromkeys(option for option in flat if option is not self.nothing))
        if len(distinct) >= MANY_OPTIONS:
            distinct = tuple(self._factored(distinct, 0))
        return distinct[0] if len(distinct) == 1 else self._make(Union, distinct)

    def _factored(self, options: Iterable[Expression], depth: int) -> Iterator[Expression]:
        """Those that begin with the same character are one: of thousands of texts few are left after the next."""
        by_head: dict[Expression, list[Expression]] = {}
        for option in options:
            by_head.setdefault(_head(option), []).append(option)
        for group in by_head.values():
            yield self._joined(group, depth) if len(group) > 1 else group[0]

    def _joined(self, group: list[Expression], depth: int) -> Expression:
        """Of options that all begin with the same character."""
        prefix: list[Expression] = []
        while isinstance(head := _head(group[0]), Chars) and all(_head(one) is head for one in group):
            prefix.append(head)
            group = [one.tail if isinstance(one, Concat) else self.empty for one in group]
        rest = self._factored(group, depth + 1) if depth < MAX_FACTORED else group
        return self.concat([*prefix, self._make(Union, tuple(rest))])

    def repeat(self, body: Expression, low: int, high: int | None) -> Expression:
        if high == 0 or body is self.empty or (body is self.nothing and low == 0):
            return self.empty
        return body if body is self.nothing or (low, high) == (1, 1) else self._make(Repeat, body, low, high)

    def both(self, parts: Iterable[Expression]) -> Expression:
        """Regular expressions only, as for `negation`, `lazy` and `multiple`."""
        distinct = tuple(dict.fromkeys(part for part in parts if part is not self._anything))
        if self.nothing in distinct:
            return self.nothing
        if not distinct:
            return self._anything
        return distinct[0] if len(distinct) == 1 else self._make(Both, distinct)

    def negation(self, body: Expression) -> Expression:
        return self._anything if body is self.nothing else self._make(Not, body)

    def lazy(self, body: Expression) -> Expression:
        return self.empty if body.is_nullable else self._make(Lazy, body)

    def multiple(self, unit: int, scale: int, remainder: int = 0, place: int | None = None) -> Expression:
        return self._make(Multiple, unit, scale, remainder, place)

    def ref(self, name: str) -> Expression:
        return self._make(Ref, name)

    def _make(self, kind: Callable[..., Expression], *parts: Any) -> Expression:
        key = (kind, *parts)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MAX_REMEMBERED:
                self._forget()
            found = self._known[key] = kind(*parts)
        return found

    def _forget(self) -> None:
        """From now on equal expressions may be two objects, which costs time and changes nothing else."""
        self._known = {
            (Union, ()): self.nothing,
            (Repeat, self.nothing, 0, 0): self.empty,
            (Repeat, self._character, 0, None): self._anything,
        }
        self._derivatives.clear()
        self._ways.clear()
        self._samples.clear()
        self._hopeless.clear()

    def then(self, head: Expression, tail: Expression) -> Expression:
        if head is self.nothing or tail is self.nothing:
            return self.nothing
        if head is self.empty:
            return tail
        if tail is self.empty:
            return head
        if not isinstance(head, Concat):
            return self._make(Concat, head, tail)
        for part in reversed(list(chain(head))):
            tail = self._make(Concat, part, tail)
        return tail

    # --- reading

    def derivative(self, expression: Expression, character: str) -> Expression:
        """What may follow `character`. `expression` is regular. Raises NotFoundError when no work is left: each that is
        not remembered takes one piece of it.
        """
        key = (expression, character)
        found = self._derivatives.get(key)
        if found is None:
            self.work_left -= 1
            if self.work_left < 0:
                raise NotFoundError
            if len(self._derivatives) >= MAX_REMEMBERED:
                self._forget()
            found = self._derivatives[key] = expression.derive(self, character)
        return found

    # --- the shortest text

    def cost(self, expression: Expression) -> float:
        """Of a regular expression. Raises NotFoundError if that takes too long a search."""
        if expression.cost is None:
            expression.cost = self._cost(expression)
        return expression.cost

    def cost_or_never(self, expression: Expression) -> float:
        """math.inf also where the search is too long."""
        try:
            return self.cost(expression)
        except HopelessError:
            return math.inf

    def most_cost(self, expression: Expression) -> float:
        """Of all that may be left of it while it is read. Raises NotFoundError if that is too much to look at."""
        most = 0.0
        found = dict.fromkeys([expression])
        left = [expression]
        while left:
            one = left.pop()
            cost = self.cost(one)
            if cost == math.inf:  # nothing leads there
                continue
            most = max(most, cost)
            following = (self.derivative(one, character) for character in self.first_samples(one))
            new = [after for after in following if after is not self.nothing and after not in found]
            found.update(dict.fromkeys(new))
            left += new
            if len(found) > MAX_EXPLORED:
                raise NotFoundError
        return most

    def shortest(self, expression: Expression) -> str:
        """A text of that cost, always the same. `expression` is regular, and has a text."""
        text: list[str] = []
        while isinstance(expression, Concat):
            text.append(self.shortest(expression.head))
            expression = expression.tail
        match expression:
            case Chars():
                text.append(expression.sample)
            case Union():
                text.append(self.shortest(min(expression.options, key=self.cost_or_never)))
            case Repeat():
                text.append("" if expression.is_nullable else self.shortest(expression.body) * expression.low)
            case Lazy():
                text.append(self.shortest(expression.body))
            case Both() | Not() | Multiple():
                text.append(self._along_the_way(expression))
        return "".join(text)

    def _cost(self, expression: Expression) -> float:
        match expression:
            case Concat():
                return sum(map(self.cost, chain(expression)))
            case Union():
                return self._cost_of_best(expression.options)
            case Repeat():
                return self.cost(expression.body) * expression.low
            case Lazy():
                return self.cost(expression.body)
        if expression not in self._ways:
            self._search(expression)
        return self._ways[expression][0]

    def _cost_of_best(self, options: Sequence[Expression]) -> float:
        """Of those of which it is found."""
        try:
            return min(map(self.cost, options))
        except HopelessError:
            least = min(map(self.cost_or_never, options))
            if least == math.inf:
                raise
            return least

    def _along_the_way(self, expression: Expression | None) -> str:
        text: list[str] = []
        while expression is not None:
            if not isinstance(expression, (Both, Not, Multiple)):
                return "".join(text) + self.shortest(expression)
            if expression not in self._ways:
                self._search(expression)
            _, character, expression = self._ways[expression]
            text.append(character)
        return "".join(text)

    def _search(self, start: Expression) -> None:
        """A* over derivatives, `_at_least` saying how far it still is, of equally good ones the furthest first; what
        lies on the way found is remembered.
        """
        if start in self._hopeless:
            raise HopelessError
        if self._is_as_short_as_a_part(start):
            return
        came_from: dict[Expression, tuple[Expression, str]] = {}
        costs: dict[Expression, float] = {start: 0}
        order = itertools.count()
        heap = [(_at_least(start), 0.0, next(order), start)]
        num_searched = 0
        while heap:
            _, negative_cost, _, expression = heapq.heappop(heap)
            cost = -negative_cost
            if cost > costs[expression]:
                continue
            num_searched += 1
            if expression.is_nullable:
                self._remember(start, expression, cost, costs, came_from)
                return
            if num_searched > MAX_SEARCHED:
                self._hopeless.add(start)
                raise HopelessError
            for character in self.first_samples(expression):
                following = self.derivative(expression, character)
                total = cost + len(character.encode())
                if following is not self.nothing and total < costs.get(following, math.inf):
                    costs[following] = total
                    came_from[following] = (expression, character)
                    heapq.heappush(heap, (total + _at_least(following), -total, next(order), following))
        self._ways[start] = (math.inf, "", None)

    def _is_as_short_as_a_part(self, start: Expression) -> bool:
        """Whether the longest of what its parts need at least matches all of them. Then that is remembered; it mostly
        does where a complement takes away few texts.
        """
        parts = start.parts if isinstance(start, Both) else ()
        longest = max((part for part in parts if part.cost), key=_at_least, default=None)
        if longest is None or not _at_least(longest) <= MAX_SEARCHED:
            return False
        ways: list[tuple[Expression, str, Expression]] = []
        place = start
        for character in self.shortest(longest):
            before, place = place, self.derivative(place, character)
            ways.append((before, character, place))
        if not place.is_nullable:
            return False
        self._ways.setdefault(place, (0, "", None))
        for before, character, after in reversed(ways):
            self._ways[before] = (self._ways[after][0] + len(character.encode()), character, after)
        return True

    def _remember(
        self,
        start: Expression,
        end: Expression,
        total: float,
        costs: dict[Expression, float],
        came_from: dict[Expression, tuple[Expression, str]],
    ) -> None:
        self._ways.setdefault(end, (0, "", None))
        place = end
        while place is not start:
            before, character = came_from[place]
            self._ways[before] = (total - costs[before], character, place)
            place = before

    def first_samples(self, expression: Expression) -> list[str]:
        """One character for each way in which it can begin; all others do as one of these does, or cannot begin it."""
        found = self._samples.get(expression)
        if found is None:
            blocks: list[CharSet] = [cs.ANY]
            for chars in dict.fromkeys(first_sets(expression)):
                parts = [(cs.intersection(block, chars), cs.difference(block, chars)) for block in blocks]
                blocks = [part for pair in parts for part in pair if part]
            found = self._samples[expression] = [sample(block) for block in blocks]
        return found


def _at_least(expression: Expression) -> float:
    """Bytes that every text of it has. Never more than the shortest: so the first way to be found is the shortest, if
    what is reached anew by a shorter way is looked at again.
    """
    if isinstance(expression, Both):
        return max(map(_at_least, expression.parts))
    return expression.cost or 0


def _head(option: Expression) -> Expression:
    """The character that it begins with, if that is one; itself if it begins with anything else."""
    return option.head if isinstance(option, Concat) and isinstance(option.head, Chars) else option
