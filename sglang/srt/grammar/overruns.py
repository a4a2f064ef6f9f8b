"""Which lexemes of a grammar read on where another one ends and the text goes on.

Lexemes are looked at place by place in the rules: what may come next depends on the place. Sets of places, and sets
of positions of automata, are integers: bit i for number i.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.automaton import Automaton, build, positions
from sglang.srt.grammar.charset import CharSet
from sglang.srt.grammar.pattern import Concat, Pattern, Ref, Repeat, Union

MAX_RIVAL_PAIRS = 100_000
MAX_RIVAL_STEPS = 1_000_000

MAX_STEPS_BESIDE = 20_000
"""Of all lexemes of a grammar together, read beside each other. A grammar of C takes about a thousand."""

MAX_FOLLOWED_BESIDE = 1_000_000
"""Positions that are looked up in all these steps: each may lead to thousands."""


def find_overruns(
    root: str, rules: Mapping[str, Pattern], places: Mapping[str, int], lexemes: Sequence[Pattern]
) -> dict[int, int]:
    """The lexemes that, read beside another one to its end, could go on with what may follow that one.

    rules: by name; they consist of references to each other and to places. places: for each the number of its lexeme.
    Returns for the number of each such lexeme the first of its positions that reads on.
    """
    together = _Together(lexemes)
    neighbours = Neighbours(root, rules, list(places))
    read = [together.lexemes[number] for number in places.values()]
    rivals = _rivals(neighbours, read, list(places.values()))
    lead = lru_cache(lambda some: _joined(read[place].lead for place in positions(some)))
    members = lru_cache(lambda some: _joined(read[place].members for place in positions(some)))
    found: dict[int, int] = {}
    for lexeme, next_places, others in zip(read, neighbours.after_places, rivals, strict=True):
        followers = lead(next_places)
        for position in positions(lexeme.overrun & members(others)):
            if cs.lead_bytes(together.chars[position]) & followers:
                owner = together.owners[position]
                local = position - together.lexemes[owner].shift
                found[owner] = min(local, found.get(owner, local))
    return found


def continuations(pattern: Pattern) -> CharSet:
    """The characters with which a text that matches as a whole may go on to another that does. `pattern` has no
    references. Raises InvalidRequestError where that is too much to find out.
    """
    together = _Together([pattern])
    found = (together.chars[position] for position in positions(together.lexemes[0].overrun))
    return cs.union(*{id(members): members for members in found}.values())  # the same sets many times


class Neighbours:
    """`first[name]`: the places where what is read for a rule may begin; `follow[name]`: those that may come after it.
    A place is its own first. `at_start` and `after_places`: what may come first of all, and after each place.
    """

    def __init__(self, root: str, rules: Mapping[str, Pattern], places: Sequence[str]) -> None:
        self.first = dict.fromkeys(rules, 0) | {name: 1 << number for number, name in enumerate(places)}
        self.follow = dict.fromkeys(self.first, 0)
        self._is_nullable = dict.fromkeys(self.first, False)
        _until_stable(lambda: [self._grow(name, body) for name, body in rules.items()])
        users_first = list(rules.items())[::-1]  # what follows a rule comes down from those that use it
        _until_stable(lambda: [self._spread(body, self.follow[name]) for name, body in users_first])
        self.at_start = self.first[root]
        self.after_places = [self.follow[name] for name in places]

    def _grow(self, name: str, body: Pattern) -> bool:
        """Whether something is new."""
        old = self.first[name], self._is_nullable[name]
        self.first[name], self._is_nullable[name] = self.begin(body)
        return old != (self.first[name], self._is_nullable[name])

    def begin(self, body: Pattern) -> tuple[int, bool]:
        """The places where it may begin, and whether it may be empty."""
        match body:
            case Ref(name):
                return self.first[name], self._is_nullable[name]
            case Concat(parts):
                found = 0
                for part in parts:
                    first, is_nullable = self.begin(part)
                    found |= first
                    if not is_nullable:
                        return found, False
                return found, True
            case Union(options):
                begins = [self.begin(option) for option in options]
                return _joined(first for first, _ in begins), any(is_nullable for _, is_nullable in begins)
            case Repeat(inner, low, _):
                first, is_nullable = self.begin(inner)
                return first, is_nullable or low == 0
        raise AssertionError(f"{body} is no rule of lexemes")

    def _spread(self, body: Pattern, after: int) -> bool:
        """`after` may follow `body`. Whether something is new in it."""
        match body:
            case Ref(name):
                new = after & ~self.follow[name]
                self.follow[name] |= after
                return bool(new)
            case Concat(parts):
                news = []
                for part in reversed(parts):
                    news.append(self._spread(part, after))
                    first, is_nullable = self.begin(part)
                    after = first | (after if is_nullable else 0)
                return any(news)
            case Union(options):
                news = [self._spread(option, after) for option in options]
                return any(news)
            case Repeat(inner, _, high):
                return self._spread(inner, after if high == 1 else after | self.begin(inner)[0])
        raise AssertionError(f"{body} is no rule of lexemes")


@dataclass(frozen=True)
class _Lexeme:
    """Of all lexemes read together: its own positions, from `shift` on, the bytes it begins with, the positions of
    any lexeme that read on after it, and the numbers of the lexemes that may have read the same text as a whole.
    """

    shift: int
    members: int
    lead: int
    overrun: int
    equals: frozenset[int]


class _Together:
    """All lexemes read at once: their automata side by side as one, whose positions are numbered through."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        automata = [build(pattern) for pattern in patterns]
        self.owners: list[int] = []
        self.chars: list[CharSet] = []
        self._follow: list[int] = []
        self._first = self._last = 0
        shifts = []
        for number, automaton in enumerate(automata):
            shift = len(self.chars)
            shifts.append(shift)
            self.owners += [number] * len(automaton.chars)
            self.chars += automaton.chars
            self._follow += [followers << shift for followers in automaton.follow]
            self._first |= automaton.first << shift
            self._last |= automaton.last << shift
        self._with_chars: dict[CharSet, int] = {}
        for position, chars in enumerate(self.chars):
            self._with_chars[chars] = self._with_chars.get(chars, 0) | 1 << position
        self._reading: dict[CharSet, int] = {}
        self._known_after: dict[int, int] = {}
        self._num_steps = self._num_followed = 0
        self.lexemes = [self._lexeme(automaton, shift) for automaton, shift in zip(automata, shifts, strict=True)]

    def _lexeme(self, automaton: Automaton, shift: int) -> _Lexeme:
        beside = self._beside(automaton)
        at_end = _joined(beside[position] for position in positions(automaton.last))
        return _Lexeme(
            shift=shift,
            members=((1 << len(automaton.chars)) - 1) << shift,
            lead=_joined(cs.lead_bytes(automaton.chars[position]) for position in positions(automaton.first)),
            overrun=self._after(at_end),
            equals=frozenset(self.owners[position] for position in positions(at_end & self._last)),
        )

    def _beside(self, lexeme: Automaton) -> list[int]:
        """For each position of `lexeme` the positions of all that the same text may have led to."""
        beside = [0] * len(lexeme.chars)
        left = {p: self._first & self._can_read(lexeme.chars[p]) for p in positions(lexeme.first)}
        while left:
            position, found = left.popitem()
            new = found & ~beside[position]
            self._num_steps += 1
            self._num_followed += 0 if new in self._known_after else new.bit_count()
            self._num_followed += lexeme.follow[position].bit_count()
            if self._num_steps > MAX_STEPS_BESIDE or self._num_followed > MAX_FOLLOWED_BESIDE:
                raise InvalidRequestError("ebnf has too many rules that begin alike and cannot be told apart")
            beside[position] |= new
            following = self._after(new)
            for p in positions(lexeme.follow[position]) if new else ():
                left[p] = left.get(p, 0) | following & self._can_read(lexeme.chars[p])
        return beside

    def _after(self, members: int) -> int:
        """What may be read after any of these. Lexemes that begin alike ask the same again and again."""
        if members not in self._known_after:
            self._known_after[members] = _joined(self._follow[position] for position in positions(members))
        return self._known_after[members]

    def _can_read(self, chars: CharSet) -> int:
        """The positions that read one of the characters."""
        if chars not in self._reading:
            found = (members for other, members in self._with_chars.items() if cs.overlap(chars, other))
            self._reading[chars] = _joined(found)
        return self._reading[chars]


def _rivals(neighbours: Neighbours, read: Sequence[_Lexeme], numbers: Sequence[int]) -> list[int]:
    """For each place the places whose lexemes may be looked for at the same time, itself included.

    Two places are rivals at the start, after one place, or after two rivals that may have read the same text. Where
    that becomes too many to look at, all places count as rivals, which is safe: it only finds more overruns.
    """
    places: dict[int, int] = {}
    for place, number in enumerate(numbers):
        places[number] = places.get(number, 0) | 1 << place
    equals = {
        number: _joined(places[other] for other in lexeme.equals) for number, lexeme in zip(numbers, read, strict=True)
    }
    follow = neighbours.after_places
    rivals = [0] * len(read)
    left = [(neighbours.at_start, neighbours.at_start), *((one, one) for one in set(follow))]
    num_pairs = num_steps = 0
    while left:
        ones, others = left.pop()
        num_steps += ones.bit_count()
        for one in positions(ones):
            new = others & ~rivals[one]
            rivals[one] |= new
            num_pairs += new.bit_count()
            if num_pairs > MAX_RIVAL_PAIRS or num_steps > MAX_RIVAL_STEPS:
                return [(1 << len(read)) - 1] * len(read)
            for other in positions(new & equals[numbers[one]] & ~(1 << one)):
                left += [(follow[one], follow[other]), (follow[other], follow[one])]
    return rivals


def _until_stable(round_: Callable[[], list[bool]]) -> None:
    while any(round_()):
        pass


def _joined(sets: Iterable[int]) -> int:
    whole = 0
    for one in sets:
        whole |= one
    return whole
