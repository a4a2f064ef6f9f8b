"""Which lexemes of a grammar read on where another one ends and the text goes on."""

from __future__ import annotations

from collections.abc import Mapping

from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.automaton import Automaton, build, positions
from sglang.srt.grammar.charset import CharSet
from sglang.srt.grammar.pattern import Concat, Pattern, Ref, Repeat, Union

Bytes = int
"""A set of bytes: bit b for byte b."""


def find_overrunning(rules: Mapping[str, Pattern], lexemes: Mapping[str, Pattern]) -> set[str]:
    """The lexemes that, after a whole match of some lexeme, could go on with a byte that may follow that match."""
    automata = {name: build(pattern) for name, pattern in lexemes.items()}
    follow = _Neighbours(rules, automata).follow
    together = _Together(automata)
    return {other for name, automaton in automata.items() for other in together.overrunning(automaton, follow[name])}


class _Neighbours:
    """`first`: what a rule or lexeme may begin with; `follow`: what may come after it. Both for all by name."""

    def __init__(self, rules: Mapping[str, Pattern], automata: Mapping[str, Automaton]) -> None:
        self._nullable = dict.fromkeys(rules, False) | dict.fromkeys(automata, False)
        self.first: dict[str, Bytes] = dict.fromkeys(rules, 0)
        self.first |= {name: _bytes_at(automaton, automaton.first) for name, automaton in automata.items()}
        self.follow: dict[str, Bytes] = dict.fromkeys(self.first, 0)
        while not self._grow(rules):
            pass
        while not all([self._spread(body, self.follow[name]) for name, body in rules.items()]):
            pass

    def _grow(self, rules: Mapping[str, Pattern]) -> bool:
        """Whether nothing is new."""
        is_stable = True
        for name, body in rules.items():
            found = self._begin(body)
            is_stable = is_stable and found == (self.first[name], self._nullable[name])
            self.first[name], self._nullable[name] = found
        return is_stable

    def _begin(self, body: Pattern) -> tuple[Bytes, bool]:
        """What it may begin with, and whether it may be empty."""
        match body:
            case Ref(name):
                return self.first[name], self._nullable[name]
            case Concat(parts):
                return self._begin_all(parts)
            case Union(options):
                begins = [self._begin(option) for option in options]
                return _joined([first for first, _ in begins]), any(is_nullable for _, is_nullable in begins)
            case Repeat(inner, low, _):
                first, is_nullable = self._begin(inner)
                return first, is_nullable or low == 0
        raise AssertionError(f"{body} is no rule of lexemes")

    def _begin_all(self, parts: tuple[Pattern, ...]) -> tuple[Bytes, bool]:
        found = 0
        for part in parts:
            first, is_nullable = self._begin(part)
            found |= first
            if not is_nullable:
                return found, False
        return found, True

    def _spread(self, body: Pattern, after: Bytes) -> bool:
        """`after` may follow `body`. Whether nothing is new in it."""
        match body:
            case Ref(name):
                is_stable = not after & ~self.follow[name]
                self.follow[name] |= after
                return is_stable
            case Concat(parts):
                is_stable = True
                for part in reversed(parts):
                    is_stable &= self._spread(part, after)
                    first, is_nullable = self._begin(part)
                    after = first | (after if is_nullable else 0)
                return is_stable
            case Union(options):
                return all([self._spread(option, after) for option in options])
            case Repeat(inner, _, high):
                return self._spread(inner, after if high == 1 else after | self._begin(inner)[0])
        raise AssertionError(f"{body} is no rule of lexemes")


class _Together:
    """All lexemes read at once: their automata side by side as one, whose positions are numbered through."""

    def __init__(self, automata: Mapping[str, Automaton]) -> None:
        self._owners: list[str] = []
        self._chars: list[CharSet] = []
        self._follow: list[int] = []
        self._first = 0
        for name, automaton in automata.items():
            shift = len(self._chars)
            self._owners += [name] * len(automaton.chars)
            self._chars += automaton.chars
            self._follow += [followers << shift for followers in automaton.follow]
            self._first |= automaton.first << shift
        self._with_chars: dict[CharSet, int] = {}
        for position, chars in enumerate(self._chars):
            self._with_chars[chars] = self._with_chars.get(chars, 0) | 1 << position
        self._reading: dict[CharSet, int] = {}

    def overrunning(self, lexeme: Automaton, after: Bytes) -> set[str]:
        """Which lexemes may go on with a byte of `after` when `lexeme` has been read whole."""
        beside = self._beside(lexeme)
        at_end = _joined([beside[position] for position in positions(lexeme.last)])
        return {self._owners[next_] for next_ in positions(self._after(at_end)) if self._lead(next_) & after}

    def _beside(self, lexeme: Automaton) -> list[int]:
        """For each position of `lexeme` the positions of all that the same text may have led to."""
        beside = [0] * len(lexeme.chars)
        left = {p: self._first & self._can_read(lexeme.chars[p]) for p in positions(lexeme.first)}
        while left:
            position, found = left.popitem()
            new = found & ~beside[position]
            if not new:
                continue
            beside[position] |= new
            following = self._after(new)
            for p in positions(lexeme.follow[position]):
                left[p] = left.get(p, 0) | following & self._can_read(lexeme.chars[p])
        return beside

    def _after(self, members: int) -> int:
        return _joined([self._follow[position] for position in positions(members)])

    def _can_read(self, chars: CharSet) -> int:
        """The positions that read one of the characters."""
        if chars not in self._reading:
            found = [members for other, members in self._with_chars.items() if cs.overlap(chars, other)]
            self._reading[chars] = _joined(found)
        return self._reading[chars]

    def _lead(self, position: int) -> Bytes:
        return cs.lead_bytes(self._chars[position])


def _bytes_at(automaton: Automaton, members: int) -> Bytes:
    return _joined([cs.lead_bytes(automaton.chars[position]) for position in positions(members)])


def _joined(sets: list[int]) -> int:
    whole = 0
    for one in sets:
        whole |= one
    return whole
