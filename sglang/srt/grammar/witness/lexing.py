"""Whether a grammar means the same to the library, which reads lexemes, as to `Outputs`, which reads characters.

The library reads a lexeme as far as any lexeme allowed at that place goes on, and never comes back. So it may refuse
what the rules allow, and what it allows next may depend on how the text was cut into lexemes. `is_told_by_position`
finds grammars of which neither is true. The argument:

1. If no lexeme, read beside another one to its end, could go on with what may follow that one (`find_overruns`), then
   the library cuts every text as the rules do, for each way in which they do: the lexeme that it reads is alive to its
   end, and nothing is alive after it. So it accepts exactly the texts of the rules.
2. If moreover every rule and every lexeme has a text, then whatever the library has read so far is the beginning of
   an output, and it lets through exactly the bytes with which an output may go on.
3. Then all that the library says of a text (the bytes it forces, whether it may end, and where no bytes are forced the
   tokens it allows) follows from the set of its possible ends. Texts with equal positions have the same.
4. The library also limits its work for one mask, which in an ambiguous grammar grows with the text. Grammars in which
   it may (`_has_many_ways`) are left to it: there a mask that is known would pass over the limit.

A lexeme is looked at as a regular expression that matches at least as much; it can only seem to overrun more often.
Of its text only such notation is read as `TerminalWriter` writes: there Python's regular expressions mean what Rust's
do.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar import pattern as patterns
from sglang.srt.grammar.automaton import Automaton, build, positions
from sglang.srt.grammar.overruns import Neighbours, find_overruns
from sglang.srt.grammar.pattern import Pattern, num_positions
from sglang.srt.grammar.recursive import without_dead_ends
from sglang.srt.grammar.witness.expressions import Expressions, NotFoundError
from sglang.srt.grammar.witness.lark_reader import LarkReader, Token, UnreadableError
from sglang.srt.grammar.witness.nodes import Both, Chars, Concat, Expression, Not, Ref, Repeat, Union, chain

MAX_POSITIONS = 4_000
"""Of the lexemes of a grammar together, counted as they are looked at: tens of milliseconds."""

MAX_CHARACTERS = 65_536
"""Of a grammar that is looked at. Larger ones mostly have larger lexemes, and reading them takes tenths of a second."""

_PLAIN = {
    "text": re.compile(r'"[^"\\]*"'),
    "regex": re.compile(r"/(?:[A-Za-z0-9]|\\x\{[0-9a-f]+\}|\[(?:[A-Za-z0-9-]|\\x\{[0-9a-f]+\})+\])+/"),
}
_ANY_TEXT = patterns.repeat(patterns.chars(cs.ANY), 0, None)


def is_told_by_position(grammar: str) -> bool:
    """Whether texts of equal `Position` are the same to the library, but for the tokens that it cuts forced bytes into.
    False also where that is not found out.
    """
    if len(grammar) > MAX_CHARACTERS:
        return False
    expressions = Expressions()
    try:
        reader = _LexemeReader(grammar, expressions)
        start, bodies, _ = reader.rules()
        rules = {name: _rule(body) for name, body in bodies.items()}
        is_productive = all(expressions.cost(lexeme) < math.inf for lexeme in reader.lexemes.values())
        if not is_productive or len(without_dead_ends(rules)) < len(rules):
            return False
        if any(lexeme.is_nullable for lexeme in reader.lexemes.values()):
            return isinstance(rules[start], patterns.Ref) and len(rules) == 1
        return not _overruns(start, rules, reader.lexemes)
    except (UnreadableError, NotFoundError, InvalidRequestError):
        return False


class _LexemeReader(LarkReader):
    """What a rule is made of are references: to rules, and to `lexemes`, of which each stands at one place."""

    def __init__(self, source: str, expressions: Expressions) -> None:
        self.lexemes: dict[str, Expression] = {}
        super().__init__(source, expressions)

    def _find_ignored(self) -> list[Expression]:
        if super()._find_ignored():
            raise UnreadableError
        return []

    def _part_of_terminal(self, token: Token) -> Expression:
        if token.kind == "json" or (token.kind in _PLAIN and not _PLAIN[token.kind].fullmatch(token.text)):
            raise UnreadableError
        return super()._part_of_terminal(token)

    def _lexeme(self, body: Expression) -> Expression:
        if body is self._make.empty:
            return body
        place = f"place {len(self.lexemes)}"
        self.lexemes[place] = body
        return self._make.ref(place)


def _overruns(start: str, rules: Mapping[str, Pattern], lexemes: Mapping[str, Expression]) -> bool:
    """Whether there may be any."""
    outline = {lexeme: _outline(lexeme) for lexeme in dict.fromkeys(lexemes.values())}
    numbers: dict[Pattern, int] = {}
    number = {lexeme: numbers.setdefault(pattern, len(numbers)) for lexeme, pattern in outline.items()}
    places = {place: number[lexeme] for place, lexeme in lexemes.items()}
    if sum(map(num_positions, numbers)) > MAX_POSITIONS:
        return True
    outlines = list(numbers)
    return _has_many_ways(start, rules, places, outlines) or bool(find_overruns(start, rules, places, outlines))


def _has_many_ways(
    start: str, rules: Mapping[str, Pattern], places: Mapping[str, int], lexemes: Sequence[Pattern]
) -> bool:
    """Whether a rule may begin or end with itself, or what follows a repetition may be taken for more of it."""
    for backwards in (False, True):
        try:
            TopologicalSorter({name: set(_outermost(body, rules, backwards)) for name, body in rules.items()}).prepare()
        except CycleError:
            return True
    neighbours = Neighbours(start, rules, list(places))
    lead = [_lead(build(lexeme)) for lexeme in lexemes]
    leads = [lead[number] for number in places.values()]
    return any(_may_go_on(body, neighbours.follow[name], neighbours, leads) for name, body in rules.items())


def _outermost(body: Pattern, rules: Mapping[str, Pattern], backwards: bool) -> Iterator[str]:
    """The rules that it may begin with, or end with; and more, as what may be empty is not looked at."""
    match body:
        case patterns.Ref(name) if name in rules:
            yield name
        case patterns.Concat(parts):
            for part in reversed(parts) if backwards else parts:
                yield from _outermost(part, rules, backwards)
                if not (patterns.is_nullable(part) or any(name in rules for name in patterns.references(part))):
                    return
        case patterns.Union(options):
            for option in options:
                yield from _outermost(option, rules, backwards)
        case patterns.Repeat(inner):
            yield from _outermost(inner, rules, backwards)


def _may_go_on(body: Pattern, after: int, neighbours: Neighbours, leads: Sequence[int]) -> bool:
    """Whether a repetition in `body`, which `after` may follow, has something after it that begins as it does."""
    match body:
        case patterns.Concat(parts):
            for part in reversed(parts):
                if _may_go_on(part, after, neighbours, leads):
                    return True
                first, is_nullable = neighbours.begin(part)
                after = first | (after if is_nullable else 0)
        case patterns.Union(options):
            return any(_may_go_on(option, after, neighbours, leads) for option in options)
        case patterns.Repeat(inner, _, high):
            first, _ = neighbours.begin(inner)
            if high == 1:
                return _may_go_on(inner, after, neighbours, leads)
            return bool(_joined(first, leads) & _joined(after, leads)) or _may_go_on(
                inner, after | first, neighbours, leads
            )
    return False


def _lead(lexeme: Automaton) -> int:
    return functools.reduce(operator.or_, (cs.lead_bytes(lexeme.chars[place]) for place in positions(lexeme.first)), 0)


def _joined(places: int, leads: Sequence[int]) -> int:
    return functools.reduce(operator.or_, (leads[place] for place in positions(places)), 0)


def _rule(body: Expression) -> Pattern:
    """The same, of references. Raises UnreadableError for what only terminals are made of."""
    match body:
        case Ref():
            return patterns.Ref(body.name)
        case Concat():
            return patterns.concat(map(_rule, chain(body)))
        case Union():
            return patterns.union(map(_rule, body.options))
        case Repeat():
            return patterns.repeat(_rule(body.body), body.low, body.high)
    raise UnreadableError


def _outline(lexeme: Expression) -> Pattern:
    """Matches what the lexeme matches, at least. How often something is repeated, within bounds, is not kept."""
    match lexeme:
        case Chars():
            return patterns.chars(lexeme.chars)
        case Concat():
            return patterns.concat(map(_outline, chain(lexeme)))
        case Union():
            return patterns.union(map(_outline, lexeme.options))
        case Repeat():
            return patterns.repeat(
                _outline(lexeme.body), min(lexeme.low, 1), lexeme.high if lexeme.high in (0, 1) else None
            )
        case Both():
            return min(map(_outline, lexeme.parts), key=lambda part: (part == _ANY_TEXT, num_positions(part)))
        case Not():
            return _ANY_TEXT
    raise UnreadableError  # a lazy one ends as soon as it can
