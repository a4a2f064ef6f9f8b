"""Texts in which some words do not occur, as a regular expression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.pattern import EMPTY_TEXT, NOTHING, Pattern, chars, concat, num_positions, repeat, union

MAX_EXCLUDED = 400
"""Characters of all words together. For each character of a word the expression is nested one level deeper."""

_MAX_LENGTH = 100
"""Of a word."""

_MAX_WRITTEN = 100_000
"""Characters of all expressions on the way."""

_END = -1


def texts_without(name: str, words: Sequence[str]) -> Pattern:
    """The texts that hold none of the words, none of which is empty.

    A state is how much of a word the text ends with (A. V. Aho and M. J. Corasick, 1975); the states go one by one,
    the longest first (J. A. Brzozowski and E. J. McCluskey, 1963), so that hardly any is written twice.

    Raises InvalidRequestError, which begins with `name`, where that is too much to be written out.
    """
    long = next((word for word in words if len(word) > _MAX_LENGTH), None)
    if long is not None:
        raise InvalidRequestError(f"{name} has a text of more than {_MAX_LENGTH} characters: {shown(long)}")
    if sum(map(len, words)) > MAX_EXCLUDED:
        raise InvalidRequestError(f"{name} has texts of more than {MAX_EXCLUDED} characters together")
    edges = _edges(words)
    num_written = 0
    for state in reversed(range(1, len(edges))):
        for pattern in _eliminate(edges, state):
            num_written += num_positions(pattern)
            if num_written > _MAX_WRITTEN:
                raise InvalidRequestError(f"{name} has texts that are too many, or too alike: {shown(list(words))}")
    return concat([repeat(edges[0].get(0, NOTHING), 0, None), edges[0][_END]])


def _edges(words: Sequence[str]) -> list[dict[int, Pattern]]:
    """For each state, by the next one, what is read between them. The shorter state is always the first."""
    prefixes = sorted({word[:size] for word in words for size in range(len(word))}, key=len)
    prefixes = [prefix for prefix in prefixes if not any(word in prefix for word in words)]
    numbers = {prefix: number for number, prefix in enumerate(prefixes)}
    letters = dict.fromkeys("".join(words))
    others = chars(cs.complement(cs.characters(letters)))
    next_states: list[dict[str, int | None]] = []  # by letter; None where a word would be there
    edges: list[dict[int, Pattern]] = []
    for prefix in prefixes:
        shorter = next((numbers[prefix[start:]] for start in range(1, len(prefix) + 1) if prefix[start:] in numbers), 0)
        after = dict(next_states[shorter]) if prefix else dict.fromkeys(letters, 0)
        after |= {word[-1]: None for word in words if word[:-1] == prefix}
        after |= {text[-1]: number for text, number in numbers.items() if text and text[:-1] == prefix}
        next_states.append(after)
        read: dict[int, list[str]] = {}
        for letter, target in after.items():
            if target is not None:
                read.setdefault(target, []).append(letter)
        targets = {target: chars(cs.characters(some)) for target, some in read.items()}
        edges.append({**targets, 0: union([targets.get(0, NOTHING), others]), _END: EMPTY_TEXT})
    return edges


def _eliminate(edges: list[dict[int, Pattern]], state: int) -> Iterator[Pattern]:
    """The last state. What is read around it."""
    onward = edges.pop(state)
    around = repeat(onward.pop(state, NOTHING), 0, None)
    for targets in edges:
        if (into := targets.pop(state, None)) is not None:
            for target, pattern in onward.items():
                through = concat([into, around, pattern])
                yield through
                targets[target] = union([targets.get(target, NOTHING), through])
