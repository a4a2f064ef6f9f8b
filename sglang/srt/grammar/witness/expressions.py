"""Expressions that are read one character at a time, each step leaving the expression of what may still follow.

These are derivatives (Brzozowski, "Derivatives of Regular Expressions", 1964): they follow intersections and
complements as easily as anything else, and every one of them knows how short what is left of it can be. Equal
expressions are the same object, so they can be compared and remembered by identity; they belong to the `Expressions`
that made them.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.charset import CharSet

MAX_SEARCHED = 250
"""Expressions looked at to find the shortest text of one that is an intersection or a complement."""

WORK_AT_FIRST = 50_000
"""Derivatives that may be found while a grammar is made ready."""

MAX_EXPLORED = 100
"""Expressions looked at to find what may be left of one."""

MAX_REMEMBERED = 20_000
"""Expressions, and derivatives of them. Then all is forgotten, and found anew where it is needed again."""

_NICE = cs.charset([(ord("a"), ord("z")), (ord("0"), ord("9")), (ord("A"), ord("Z"))])
_ASCII = cs.charset([(0x20, 0x7E)])


class NotFoundError(Exception):
    """A search came to its bound."""


class Expression:
    """cost: how many bytes of UTF-8 its shortest text has, math.inf if there is none; None where that takes a search,
    or the rules that it refers to. longest: how many its longest has at most.
    """

    __slots__ = ("cost", "is_nullable", "is_regular", "longest")

    def __init__(self, cost: float | None, is_nullable: bool, longest: float, is_regular: bool = True) -> None:
        self.cost = cost
        self.is_nullable = is_nullable
        self.longest = longest
        self.is_regular = is_regular

    def derive(self, make: Expressions, character: str) -> Expression:
        """See `Expressions.derivative`."""
        raise NotImplementedError


class Chars(Expression):
    __slots__ = ("chars", "sample")

    def __init__(self, chars: CharSet) -> None:
        self.chars = chars
        self.sample = sample(chars)
        super().__init__(len(self.sample.encode()), False, len(chr(chars[-1][1]).encode()))

    def derive(self, make: Expressions, character: str) -> Expression:
        return make.empty if cs.contains(self.chars, character) else make.nothing


class Concat(Expression):
    __slots__ = ("head", "tail")

    def __init__(self, head: Expression, tail: Expression) -> None:
        self.head = head
        self.tail = tail
        super().__init__(
            None if head.cost is None or tail.cost is None else head.cost + tail.cost,
            head.is_nullable and tail.is_nullable,
            head.longest + tail.longest,
            head.is_regular and tail.is_regular,
        )

    def derive(self, make: Expressions, character: str) -> Expression:
        options = []
        rest: Expression = self
        while isinstance(rest, Concat):
            options.append(make.then(make.derivative(rest.head, character), rest.tail))
            if not rest.head.is_nullable:
                return make.union(options)
            rest = rest.tail
        return make.union([*options, make.derivative(rest, character)])


class Union(Expression):
    __slots__ = ("options",)

    def __init__(self, options: tuple[Expression, ...]) -> None:
        self.options = options
        costs = [option.cost for option in options if option.cost is not None]
        super().__init__(
            min(costs, default=math.inf) if len(costs) == len(options) else None,
            any(option.is_nullable for option in options),
            max((option.longest for option in options), default=0),
            all(option.is_regular for option in options),
        )

    def derive(self, make: Expressions, character: str) -> Expression:
        return make.union(make.derivative(option, character) for option in self.options)


class Repeat(Expression):
    """high: None is without limit."""

    __slots__ = ("body", "high", "low")

    def __init__(self, body: Expression, low: int, high: int | None) -> None:
        self.body = body
        self.low = low
        self.high = high
        is_nullable = low == 0 or body.is_nullable
        cost = 0 if is_nullable else None if body.cost is None else body.cost * low
        super().__init__(cost, is_nullable, math.inf if high is None else body.longest * high, body.is_regular)

    def derive(self, make: Expressions, character: str) -> Expression:
        return make.then(make.derivative(self.body, character), self.after_one(make))

    def after_one(self, make: Expressions) -> Expression:
        return make.repeat(self.body, max(self.low - 1, 0), None if self.high is None else self.high - 1)


class Both(Expression):
    __slots__ = ("parts",)

    def __init__(self, parts: tuple[Expression, ...]) -> None:
        self.parts = parts
        super().__init__(None, all(part.is_nullable for part in parts), min(part.longest for part in parts))

    def derive(self, make: Expressions, character: str) -> Expression:
        return make.both(make.derivative(part, character) for part in self.parts)


class Not(Expression):
    __slots__ = ("body",)

    def __init__(self, body: Expression) -> None:
        self.body = body
        super().__init__(None, not body.is_nullable, math.inf)

    def derive(self, make: Expressions, character: str) -> Expression:
        return make.negation(make.derivative(self.body, character))


class Lazy(Expression):
    """What the body matches of which no shorter beginning matches it too."""

    __slots__ = ("body",)

    def __init__(self, body: Expression) -> None:
        self.body = body
        super().__init__(body.cost, body.is_nullable, body.longest)

    def derive(self, make: Expressions, character: str) -> Expression:
        return make.lazy(make.derivative(self.body, character))


class Multiple(Expression):
    """Digits, perhaps with a sign, whose value times 10**scale is a multiple of `unit`; behind a point stand exactly
    `scale` of them. So the library writes them.

    remainder: of the digits read. place: how many stood behind the point; None before it.
    """

    __slots__ = ("place", "remainder", "scale", "unit")

    def __init__(self, unit: int, scale: int, remainder: int = 0, place: int | None = None) -> None:
        self.unit = unit
        self.scale = scale
        self.remainder = remainder
        self.place = place
        is_nullable = place in (None, scale) and remainder * 10 ** (scale - (place or 0)) % unit == 0
        super().__init__(None, is_nullable, math.inf)

    def derive(self, make: Expressions, character: str) -> Expression:
        if character == "-":
            return self
        if character == "." and self.place is None:
            return make.multiple(self.unit, self.scale, self.remainder, 0)
        if not (character.isascii() and character.isdigit()) or self.place == self.scale:
            return make.nothing
        remainder = (self.remainder * 10 + int(character)) % self.unit
        return make.multiple(self.unit, self.scale, remainder, None if self.place is None else self.place + 1)


class Ref(Expression):
    """What a rule matches."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(None, False, math.inf, is_regular=False)


def sample(chars: CharSet) -> str:
    """The one to show: a letter or a digit if there is one."""
    for wanted in (_NICE, _ASCII):
        for low, high in wanted:
            for first, last in chars:
                if max(first, low) <= min(last, high):
                    return chr(max(first, low))
    return chr(chars[0][0])


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
        return distinct[0] if len(distinct) == 1 else self._make(Union, distinct)

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
        if isinstance(head, Concat):
            return self.concat([*chain(head), tail])
        return head if tail is self.empty else self._make(Concat, head, tail)

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
                text.append(self.shortest(min(expression.options, key=self.cost)))
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
                return min(map(self.cost, expression.options))
            case Repeat():
                return self.cost(expression.body) * expression.low
            case Lazy():
                return self.cost(expression.body)
        if expression not in self._ways:
            self._search(expression)
        return self._ways[expression][0]

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
        """Dijkstra's algorithm over derivatives; what lies on the way found is remembered with it."""
        if start in self._hopeless:
            raise NotFoundError
        came_from: dict[Expression, tuple[Expression, str]] = {}
        costs: dict[Expression, float] = {start: 0}
        order = itertools.count()
        heap = [(0.0, next(order), start)]
        done: set[Expression] = set()
        while heap:
            cost, _, expression = heapq.heappop(heap)
            if expression in done:
                continue
            done.add(expression)
            if expression.is_nullable:
                self._remember(start, expression, cost, costs, came_from)
                return
            if len(done) > MAX_SEARCHED:
                self._hopeless.add(start)
                raise NotFoundError
            for character in self.first_samples(expression):
                following = self.derivative(expression, character)
                total = cost + len(character.encode())
                if following is not self.nothing and total < costs.get(following, math.inf):
                    costs[following] = total
                    came_from[following] = (expression, character)
                    heapq.heappush(heap, (total, next(order), following))
        self._ways[start] = (math.inf, "", None)

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


def first_sets(expression: Expression) -> Iterator[CharSet]:
    """The sets that a text of a regular expression may begin with."""
    while isinstance(expression, Concat):
        yield from first_sets(expression.head)
        if not expression.head.is_nullable:
            return
        expression = expression.tail
    match expression:
        case Chars():
            yield expression.chars
        case Union():
            for option in expression.options:
                yield from first_sets(option)
        case Both():
            for part in expression.parts:
                yield from first_sets(part)
        case Repeat() | Not() | Lazy():
            yield from first_sets(expression.body)
        case Multiple():
            yield from (cs.single(character) for character in "0123456789-.")


def chain(expression: Expression) -> Iterator[Expression]:
    """What it consists of, one after the other."""
    while isinstance(expression, Concat):
        yield expression.head
        expression = expression.tail
    yield expression
