"""The patterns of JSON Schema: ECMA-262 regular expressions, which may match anywhere in a text."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, reduce
from itertools import groupby
from typing import Any

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.charset import CharSet
from sglang.srt.grammar.limits import MAX_POSITIONS
from sglang.srt.grammar.pattern import (
    EMPTY_TEXT,
    NOTHING,
    Concat,
    Pattern,
    Ref,
    Repeat,
    Union,
    chars,
    concat,
    is_nullable,
    references,
    repeat,
    union,
)
from sglang.srt.grammar.python_regex import END_ANCHORS, START_ANCHORS, RegexReader, parse_tree
from sglang.srt.grammar.schema.lookaround import without_lookaround
from sglang.srt.grammar.schema.strings import Conditions
from sglang.srt.grammar.schema.unicode_properties import PROPERTIES, with_property

ANY_TEXT = repeat(chars(cs.ANY), 0, None)

_LINE_ENDS = cs.characters("\n\r\u2028\u2029")
_CLASSES = {
    "d": cs.charset([(0x30, 0x39)]),
    "w": cs.charset([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]),
    "s": cs.charset(
        [(0x09, 0x0D), (0x2000, 0x200A), *((c, c) for c in map(ord, " \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"))]
    ),
}
_CLASSES |= {name.upper(): cs.complement(members) for name, members in _CLASSES.items()}
_PART = re.compile(
    r"\\u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u\{(?P<braced>[0-9a-fA-F]{1,6})\}|\\(?:u(?P<code>[0-9a-fA-F]{4})|x(?P<byte>[0-9a-fA-F]{2}))"
    rf"|\\(?P<not>[pP])\{{(?P<property>{'|'.join(PROPERTIES)})\}}"
    r"|\\c(?P<control>[A-Za-z])|\\(?P<class>[dDwWsS])|\\(?P<zero>0)(?![0-9])|\\(?P<kept>[tnrfvbB1-9])"
    r"|\\(?P<sign>[^A-Za-z0-9])|(?P<wrong>\\[pP]\{[^}]*\}|\\.?)|(?P<count>\{,[0-9]*\})"
    r"|(?P<empty>\[\])|(?P<all>\[\^\])|(?P<open>\[\^?)|(?P<close>\])"
    r"|(?P<named>\(\?<(?![=!])[^>]*>)|(?P<flags>\(\?[a-zA-Z-]+[:)])|(?P<dot>\.)|(?P<other>.)",
    re.DOTALL,
)
_SPELLINGS: dict[str, Callable[[str], str]] = {
    **dict.fromkeys(("braced", "code", "byte"), lambda digits: f"\\U{min(int(digits, 16), 0x110000):08x}"),
    "control": lambda letter: f"\\x{ord(letter) % 32:02x}",
    "zero": lambda digit: r"\x00",
    "sign": re.escape,
    "named": lambda opening: "(?:",
}
_START, _END = Ref("^"), Ref("$")
_READ_OTHERWISE = re.compile(r"\\[sSWD]|\[\^[^\]]*\\[swd]")
"""Of white space Python knows other characters, and digits and letters of all scripts: where these are what does not
match, it is stricter.
"""
_LAST_LINE_END = repeat(chars(cs.single("\n")), 0, 1)
"""Before which Python sees an end, too."""


@lru_cache(maxsize=1024)
def conditions_for(name: str, source: str) -> Conditions:
    """What holds of the texts in which the expression is found somewhere, and of no others. It may look around, as far
    as `without_lookaround` goes.

    Raises InvalidRequestError, which begins with `name`, for what is no regular expression in the strict sense.
    """
    tree = parse_tree(name, _translated(name, source))
    return tuple(
        (_with_any_text_around(name, source, items, tree.state.flags), wanted)
        for items, wanted in without_lookaround(tree)
    )


@lru_cache(maxsize=1024)
def conditions_in_python(source: str, is_positive: bool) -> Conditions:
    """What Python's engine, with which many validators look at patterns, says of the texts that `conditions_for` holds
    of, if `is_positive`, or of the others. Nothing where it says the same, or does not read the expression.
    """
    if is_positive and not _READ_OTHERWISE.search(source):
        return ()
    try:
        tree = parse_tree("pattern", source)
        return tuple(
            (_with_any_text_around("pattern", source, items, tree.state.flags, _LAST_LINE_END), wanted)
            for items, wanted in without_lookaround(tree)
        )
    except InvalidRequestError:
        return ()


def _with_any_text_around(name: str, source: str, tree: Any, flags: int, at_its_end: Pattern = EMPTY_TEXT) -> Pattern:
    """at_its_end: what may still follow where the end of the text is asked for."""
    pattern = _SearchReader(name, source).sequence(tree, flags, first=True, last=True)
    return union(
        concat([EMPTY_TEXT if at_start else ANY_TEXT, body, at_its_end if at_end else ANY_TEXT])
        for (at_start, at_end), body in _by_anchors(name, source, pattern).items()
    )


class _SearchReader(RegexReader):
    """Leaves anchors in the pattern, as references."""

    def anchor(self, value: Any, first: bool, last: bool) -> Pattern | None:
        return _START if value in START_ANCHORS else _END if value in END_ANCHORS else None


def _translated(name: str, source: str) -> str:
    """What means in Python's notation what `source` means in ECMA's."""
    parts = []
    in_set = False
    num_characters = 0
    for match in _PART.finditer(source):
        kind, text = str(match.lastgroup), match[0]
        num_characters += kind in ("dot", "class", "property") and not in_set
        if num_characters > MAX_POSITIONS:
            raise InvalidRequestError(f"{name} has more than {MAX_POSITIONS} characters: {shown(source)}")
        if kind == "count" and not in_set:
            raise InvalidRequestError(
                f"{name} has {text!r} at position {match.start()}, which not everybody reads as a number of times; "
                f"write {{0{text[1:]}, or \\{{ for the sign: {shown(source)}"
            )
        if kind in ("wrong", "empty") or (kind == "flags" and text != "(?i)"):
            raise InvalidRequestError(
                f"{name} has {text!r} at position {match.start()}, which is not supported: {shown(source)}"
            )
        if in_set and kind in ("open", "all", "named", "flags", "dot"):
            in_set = kind != "all"
            parts.append("".join(f"\\{c}" if c in "[^.(?" else c for c in text[: None if in_set else -1]))
            parts.append("" if in_set else "]")
            continue
        in_set = (in_set or kind == "open") and kind != "close"
        parts.append(_part(kind, match, in_set))
    return "".join(parts)


def _part(kind: str, match: re.Match[str], in_set: bool) -> str:
    text = match[0]
    if kind == "low":
        return re.escape(bytes.fromhex(match["high"] + match["low"]).decode("utf-16-be"))
    if (members := _members(kind, match)) is not None:
        ranges = _ranges(members)
        return ranges if in_set else f"[{ranges}]"
    if kind == "kept" and in_set and text == r"\b":
        return r"\x08"
    return _SPELLINGS[kind](match[kind]) if kind in _SPELLINGS else text


def _members(kind: str, match: re.Match[str]) -> CharSet | None:
    """Of what stands for one character of a class; None if the match is something else."""
    if kind == "class":
        return _CLASSES[match["class"]]
    if kind == "property":
        found = with_property(match["property"])
        return cs.complement(found) if match["not"] == "P" else found
    return {"dot": cs.complement(_LINE_ENDS), "all": cs.ANY}.get(kind)


def _ranges(members: CharSet) -> str:
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in members)


def _by_anchors(name: str, source: str, pattern: Pattern) -> dict[tuple[bool, bool], Pattern]:
    """What it matches, without anchors, by whether it has to begin where the text begins, and to end where it ends."""
    if next(references(pattern), None) is None:
        return {(False, False): pattern}
    match pattern:
        case Ref(anchor):
            return {(anchor == "^", anchor == "$"): EMPTY_TEXT}
        case Union(options):
            return _merged([_by_anchors(name, source, option) for option in options])
        case Concat(parts):
            runs = [list(run) for _, run in groupby(parts, _kind)]  # one anchor says as much as several
            pieces = (concat(run) if next(references(run[0]), None) is None else run[0] for run in runs)
            return reduce(_joined, (_by_anchors(name, source, piece) for piece in pieces))
        case Repeat(body, low, 1):
            once = _by_anchors(name, source, body)
            return once if low else _merged([once, {(False, False): EMPTY_TEXT}])
    raise InvalidRequestError(f"{name} has an anchor in a repeated group, which is not supported: {shown(source)}")


def _kind(part: Pattern) -> Pattern | int:
    """The same of what is to be looked at together."""
    if isinstance(part, Ref):
        return part
    return -1 if next(references(part), None) is None else id(part)


def _joined(
    one: dict[tuple[bool, bool], Pattern], other: dict[tuple[bool, bool], Pattern]
) -> dict[tuple[bool, bool], Pattern]:
    """One after the other: before a beginning, and behind an end, there is only the empty text."""
    return _merged(
        [
            {(start or later_start, end or later_end): concat([_empty(body, later_start), _empty(later, end)])}
            for (start, end), body in one.items()
            for (later_start, later_end), later in other.items()
        ]
    )


def _empty(pattern: Pattern, must: bool) -> Pattern:
    if not must:
        return pattern
    return EMPTY_TEXT if is_nullable(pattern) else NOTHING


def _merged(found: list[dict[tuple[bool, bool], Pattern]]) -> dict[tuple[bool, bool], Pattern]:
    merged: dict[tuple[bool, bool], Pattern] = {}
    for one in found:
        for key, pattern in one.items():
            merged[key] = union([merged.get(key, NOTHING), pattern])
    return merged
