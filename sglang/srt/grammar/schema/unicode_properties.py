"""The Unicode properties that expressions may name as ``\\p{...}``: general categories, by Python's own tables."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import groupby

from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.charset import CharSet

_NAMES = {
    "C": ("Other",),
    "Cc": ("Control", "cntrl"),
    "Cf": ("Format",),
    "Cn": ("Unassigned",),
    "Co": ("Private_Use",),
    "L": ("Letter",),
    "LC": ("Cased_Letter",),
    "Ll": ("Lowercase_Letter",),
    "Lm": ("Modifier_Letter",),
    "Lo": ("Other_Letter",),
    "Lt": ("Titlecase_Letter",),
    "Lu": ("Uppercase_Letter",),
    "M": ("Mark", "Combining_Mark"),
    "Mc": ("Spacing_Mark",),
    "Me": ("Enclosing_Mark",),
    "Mn": ("Nonspacing_Mark",),
    "N": ("Number",),
    "Nd": ("Decimal_Number", "digit"),
    "Nl": ("Letter_Number",),
    "No": ("Other_Number",),
    "P": ("Punctuation", "punct"),
    "Pc": ("Connector_Punctuation",),
    "Pd": ("Dash_Punctuation",),
    "Pe": ("Close_Punctuation",),
    "Pf": ("Final_Punctuation",),
    "Pi": ("Initial_Punctuation",),
    "Po": ("Other_Punctuation",),
    "Ps": ("Open_Punctuation",),
    "S": ("Symbol",),
    "Sc": ("Currency_Symbol",),
    "Sk": ("Modifier_Symbol",),
    "Sm": ("Math_Symbol",),
    "So": ("Other_Symbol",),
    "Z": ("Separator",),
    "Zl": ("Line_Separator",),
    "Zp": ("Paragraph_Separator",),
    "Zs": ("Space_Separator",),
}
PROPERTIES = {
    f"{prefix}{name}": category
    for category, names in _NAMES.items()
    for name in (category, *names)
    for prefix in ("", "gc=", "General_Category=")
} | dict.fromkeys(("Any", "ASCII", "Assigned"), "")
"""What may stand between the braces. Halves of characters (Cs) are none."""


def with_property(name: str) -> CharSet:
    """The characters; `name` is one of PROPERTIES."""
    if name == "Any":
        return cs.ANY
    if name == "ASCII":
        return cs.charset([(0, 0x7F)])
    if name == "Assigned":
        return cs.complement(with_property("Cn"))
    category = PROPERTIES[name]
    wanted = ("Lu", "Ll", "Lt") if category == "LC" else (category,)
    return cs.union(*(members for code, members in _categories().items() if code.startswith(wanted)))


@lru_cache(maxsize=1)
def _categories() -> dict[str, CharSet]:
    ranges: dict[str, list[tuple[int, int]]] = {}
    start = 0
    for code, same in groupby(map(unicodedata.category, map(chr, range(0x110000)))):
        end = start + sum(1 for _ in same)
        ranges.setdefault(code, []).append((start, end - 1))
        start = end
    return {code: cs.charset(found) for code, found in ranges.items()}
