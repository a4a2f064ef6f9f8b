"""Which early part of their prompts keeps runs of a program from sharing what they have in common.

Runtimes share what prompts begin with. A time of day in the first line, or examples in another order every time, and
nothing behind it is shared, however alike it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from sglang.lang.execution import loop
from sglang.lang.source_line import SourceLine
from sglang.lang.state import ProgramState
from sglang.lang.trace.nodes import TraceNode
from sglang.srt.errors import UnsupportedError, shown

MIN_SHARED_CHARACTERS = 32
"""Less than this in common after a difference is chance."""

MAX_WORDS = 4000
"""How far behind a difference something in common is looked for."""

_MONTH = "(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec)[a-z]*"
_DATE = rf"\d{{4}}-\d\d-\d\d|\d?\d[/.]\d?\d[/.]\d\d+|{_MONTH}\.? \d?\d\b|\d?\d\.? {_MONTH}"
_TIME = r"\d?\d:\d\d"
_EPOCH = r"1\d{9}(?:\d{3})?(?!\d)"
_KINDS = {
    "a UUID": r"[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}",
    "a timestamp": f"{_DATE}|{_TIME}|{_EPOCH}",
    "a number": r"[-+]?\d[\d,.]*",
    "a hexadecimal id": r"(?:0x)?[0-9a-f]{6,}",
    "a path": r"(?:[A-Za-z]:)?[/\\]\S+",
}
"""What the differing parts all begin with; the first that fits counts."""

_WORD = re.compile(r"[\w.:+/\\-]")
_WORD_BEFORE = re.compile(r"[\w.:+/\\-]*$")


@dataclass(frozen=True, slots=True)
class Difference:
    """Where prompts differ. token: how many tokens all begin with; None if the backend cannot count. character: how
    many characters, in the first run.

    kind: "a timestamp", "a UUID", "a number", "a hexadecimal id", "a path", "the same in another order", "white space",
    "upper and lower case" or "text". values: what the runs have there. before: the text that leads to it. shared_after:
    characters after it that all have in common again. line: of the program, where the first run says it.
    """

    token: int | None
    character: int
    kind: str
    values: tuple[str, ...]
    before: str
    shared_after: int
    line: SourceLine | None

    def __str__(self) -> str:
        where = f"character {self.character}" if self.token is None else f"token {self.token}"
        seen = ", ".join(shown(value) for value in dict.fromkeys(self.values[:3]))
        source = f", at {self.line}" if self.line else ""
        after = (
            f"{self.shared_after} characters after it are the same again and would be shared if it came behind them"
            if self.shared_after
            else "nothing after it is the same"
        )
        return f"differs at {where}: {self.kind} ({seen}) after {self.before!r}{source}; {after}"


@dataclass(frozen=True, slots=True)
class Sharing:
    """What was found in `num_runs` runs. differences: in order; only the first decides what is shared."""

    num_runs: int
    differences: tuple[Difference, ...]

    @property
    def breaks(self) -> bool:
        """Whether something early keeps later text from being shared."""
        return any(difference.shared_after for difference in self.differences)

    def __str__(self) -> str:
        if not self.differences:
            return f"{self.num_runs} runs share all that they begin with"
        return "\n".join(map(str, self.differences))


def lint_sharing(states: Sequence[ProgramState]) -> Sharing:
    """Compare what the runs of a program begin with, up to what a model first generates or chooses, or a fork.

    Waits for nothing of the runs; asks the backend to count tokens, where it can. Raises ValueError for less than two.
    """
    if len(states) < 2:
        raise ValueError(f"sharing is between two runs or more, not {len(states)}")
    beginnings = [_beginning(state.trace().nodes) for state in states]
    texts = ["".join(node.text for node in nodes) for nodes in beginnings]
    found = []
    for at, ends in _gaps(texts):
        values = tuple(text[begin:end] for text, begin, end in zip(texts, at, ends, strict=True))
        rests = [text[end:] for text, end in zip(texts, ends, strict=True)]
        begin = at[0]
        found.append(
            Difference(
                token=_count_tokens(states[0], texts[0][:begin]),
                character=begin,
                kind=_kind(values, [text[start:] for text, start in zip(texts, at, strict=True)]),
                values=values,
                before=texts[0][max(begin - 20, 0) : begin],
                shared_after=_common_length(rests),
                line=_line(beginnings[0], begin),
            )
        )
    return Sharing(len(states), tuple(found))


def _beginning(nodes: Sequence[TraceNode]) -> list[TraceNode]:
    kinds = [node.kind for node in nodes]
    ends = [kinds.index(kind) for kind in ("gen", "select", "fork") if kind in kinds]
    return list(nodes[: min(ends, default=len(nodes))])


def _gaps(texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """Where the texts differ: begin and end in each. The last one goes up to their ends, if these differ."""
    at = [0] * len(texts)
    found: list[tuple[list[int], list[int]]] = []
    while True:
        rests = [text[begin:] for text, begin in zip(texts, at, strict=True)]
        common = _common_length(rests)
        if all(len(rest) == common for rest in rests):
            return found
        if any(_WORD.match(rest, common) for rest in rests):  # within a word, so all of it is meant
            common = _WORD_BEFORE.search(rests[0][:common]).start()  # type: ignore[union-attr]  # it matches always
        begin = [start + common for start in at]
        at = _meeting([rest[common:] for rest in rests], begin)
        found.append((begin, at))
        if all(end == len(text) for end, text in zip(at, texts, strict=True)):
            return found


def _common_length(texts: Sequence[str]) -> int:
    """How much all begin with: what the first and the last of them in alphabetical order do."""
    first, last = min(texts), max(texts)
    pairs = enumerate(zip(first, last, strict=False))
    return next((index for index, (a, b) in pairs if a != b), len(first))


def _meeting(rests: Sequence[str], begin: Sequence[int]) -> list[int]:
    """Where all have the same again, or their ends."""
    for word in islice(re.finditer(r"\s+|\S+", rests[0]), MAX_WORDS):
        shared = rests[0][word.start() : word.start() + MIN_SHARED_CHARACTERS]
        places = _places(shared, rests) if len(shared) == MIN_SHARED_CHARACTERS else []
        if any(places):
            return [start + place for start, place in zip(begin, places, strict=True)]
    return [start + len(rest) for start, rest in zip(begin, rests, strict=True)]


def _places(shared: str, rests: Sequence[str]) -> list[int]:
    """Where each has it, at the beginning of a word; nothing if one has not."""
    places: list[int] = []
    for rest in rests:
        place = rest.find(shared)
        if place < 0 or (place > 0 and _WORD.match(rest, place - 1) and _WORD.match(rest, place)):
            return []
        places.append(place)
    return places


def _kind(values: Sequence[str], rests: Sequence[str]) -> str:
    for kind, pattern in _KINDS.items():
        if all(re.match(pattern, value.strip(), re.IGNORECASE) for value in values):
            return kind
    if len({"".join(value.split()) for value in values}) == 1:
        return "white space"
    if len({value.casefold() for value in values}) == 1:
        return "upper and lower case"
    items = [re.split(r"\s*[\n,;]\s*", rest.strip()) for rest in rests]
    if all(other[0] and other[0] in mine for mine in items for other in items):
        return "the same in another order"
    return "text"


def _line(nodes: Sequence[TraceNode], character: int) -> SourceLine | None:
    for node in nodes:
        if character < len(node.text):
            return SourceLine(node.file, node.line)
        character -= len(node.text)
    return None


def _count_tokens(state: ProgramState, text: str) -> int | None:
    try:
        return loop.run(state._run.setting.backend.count_tokens(text))
    except UnsupportedError:
        return None
