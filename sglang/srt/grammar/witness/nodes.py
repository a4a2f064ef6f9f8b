"""What expressions are made of, and what is left of each when a character has been read.

These are derivatives (Brzozowski, "Derivatives of Regular Expressions", 1964): they follow intersections and
complements as easily as anything else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Protocol

from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.charset import CharSet

_NICE = cs.charset([(ord("a"), ord("z")), (ord("0"), ord("9")), (ord("A"), ord("Z"))])
_ASCII = cs.charset([(0x20, 0x7E)])


class Maker(Protocol):
    """Makes expressions; equal ones are the same object."""

    empty: Expression
    nothing: Expression

    def derivative(self, expression: Expression, character: str) -> Expression: ...
    def then(self, head: Expression, tail: Expression) -> Expression: ...
    def union(self, options: Iterable[Expression]) -> Expression: ...
    def repeat(self, body: Expression, low: int, high: int | None) -> Expression: ...
    def both(self, parts: Iterable[Expression]) -> Expression: ...
    def negation(self, body: Expression) -> Expression: ...
    def lazy(self, body: Expression) -> Expression: ...
    def multiple(self, unit: int, scale: int, remainder: int = 0, place: int | None = None) -> Expression: ...


class Expression:
    """An abstract class, though no `abc.ABC`: of which kind one is is what is asked most, and that takes those long.

    cost: how many bytes of UTF-8 its shortest text has, math.inf if there is none; None where that takes a search,
    or the rules that it refers to. longest: how many its longest has at most.
    """

    __slots__ = ("cost", "is_nullable", "is_regular", "longest")

    def __init__(self, cost: float | None, is_nullable: bool, longest: float, is_regular: bool = True) -> None:
        self.cost = cost
        self.is_nullable = is_nullable
        self.longest = longest
        self.is_regular = is_regular

    def derive(self, make: Maker, character: str) -> Expression:
        """See `Expressions.derivative`."""
        raise NotImplementedError


class Chars(Expression):
    __slots__ = ("chars", "sample")

    def __init__(self, chars: CharSet) -> None:
        self.chars = chars
        self.sample = sample(chars)
        super().__init__(len(self.sample.encode()), False, len(chr(chars[-1][1]).encode()))

    def derive(self, make: Maker, character: str) -> Expression:
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

    def derive(self, make: Maker, character: str) -> Expression:
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

    def derive(self, make: Maker, character: str) -> Expression:
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

    def derive(self, make: Maker, character: str) -> Expression:
        return make.then(make.derivative(self.body, character), self.after_one(make))

    def after_one(self, make: Maker) -> Expression:
        return make.repeat(self.body, max(self.low - 1, 0), None if self.high is None else self.high - 1)


class Both(Expression):
    __slots__ = ("parts",)

    def __init__(self, parts: tuple[Expression, ...]) -> None:
        self.parts = parts
        super().__init__(None, all(part.is_nullable for part in parts), min(part.longest for part in parts))

    def derive(self, make: Maker, character: str) -> Expression:
        return make.both(make.derivative(part, character) for part in self.parts)


class Not(Expression):
    __slots__ = ("body",)

    def __init__(self, body: Expression) -> None:
        self.body = body
        super().__init__(None, not body.is_nullable, math.inf)

    def derive(self, make: Maker, character: str) -> Expression:
        return make.negation(make.derivative(self.body, character))


class Lazy(Expression):
    """What the body matches of which no shorter beginning matches it too."""

    __slots__ = ("body",)

    def __init__(self, body: Expression) -> None:
        self.body = body
        super().__init__(body.cost, body.is_nullable, body.longest)

    def derive(self, make: Maker, character: str) -> Expression:
        return make.lazy(make.derivative(self.body, character))


class Multiple(Expression):
    """Digits, perhaps with a sign, whose value times 10**scale is a multiple of `unit`. Behind a point stand `scale` of
    them, or fewer if those that are left could make up more than one multiple: so the library writes them.

    remainder: of the digits read. place: how many stood behind the point; None before it.
    """

    __slots__ = ("place", "remainder", "scale", "unit")

    def __init__(self, unit: int, scale: int, remainder: int = 0, place: int | None = None) -> None:
        self.unit = unit
        self.scale = scale
        self.remainder = remainder
        self.place = place
        left = 10 ** (scale - (place or 0))
        is_nullable = remainder * left % unit == 0 and (place in (None, scale) or left > unit)
        super().__init__(None if scale else _num_digits_missing(remainder, unit), is_nullable, math.inf)

    def derive(self, make: Maker, character: str) -> Expression:
        if character == "-":
            return self
        if character == "." and self.place is None:
            return make.multiple(self.unit, self.scale, self.remainder, 0)
        if not (character.isascii() and character.isdigit()) or self.place == self.scale:
            return make.nothing
        remainder = (self.remainder * 10 + int(character)) % self.unit
        return make.multiple(self.unit, self.scale, remainder, None if self.place is None else self.place + 1)


def _num_digits_missing(remainder: int, unit: int) -> int:
    """How many digits have to follow, at least, so that the whole is a multiple of `unit`."""
    power = 1
    while -remainder * power % unit >= power:
        power *= 10
    return len(str(power)) - 1


class Ref(Expression):
    """What a rule matches."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(None, False, math.inf, is_regular=False)

    def derive(self, make: Maker, character: str) -> Expression:
        raise AssertionError(f"derivatives are of regular expressions, and the rule {self.name} may be none")


class Mark(Expression):
    """Nothing but the empty text. Lies in a stack under what is read above it."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(0, True, 0)

    def derive(self, make: Maker, character: str) -> Expression:
        return make.nothing


def is_same(one: object, other: object) -> bool:
    """Whether they are expressions that are made of the same; they need not be one object, see `Expressions`."""
    left = [(one, other)]
    while left:
        one, other = left.pop()
        if one is other:
            continue
        if isinstance(one, Expression) and type(one) is type(other):
            left += [(getattr(one, name), getattr(other, name)) for name in one.__slots__]
        elif isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
            left += zip(one, other, strict=True)
        elif one != other:
            return False
    return True


def sample(chars: CharSet) -> str:
    """The one to show: a letter or a digit if there is one."""
    for wanted in (_NICE, _ASCII):
        for low, high in wanted:
            for first, last in chars:
                if max(first, low) <= min(last, high):
                    return chr(max(first, low))
    return chr(chars[0][0])


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
