"""The formats of JSON Schema, as regular expressions that they consist of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

from sglang.srt.grammar.pattern import Pattern
from sglang.srt.grammar.python_regex import parse_regex


class Format(NamedTuple):
    """required: what all texts of the format match. chosen: what those match besides that are generated, where a
    regular expression cannot tell all that are right from all that are wrong. preferred: what those match besides that
    programs can read, where some that are right are of no use.
    """

    required: tuple[Pattern, ...]
    chosen: tuple[Pattern, ...]
    preferred: tuple[Pattern, ...]


_FEB_29_YEAR = r"([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[048]|[2468][048]|[13579][26])00)"
_DATE = (
    r"([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    rf"|{_FEB_29_YEAR}-02-29)"
)
_OFFSET = r"([Zz]|[+\-]([01][0-9]|2[0-3]):[0-5][0-9])"
_LOCAL_TIME = r"(([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?)"
_TIME = f"({_LOCAL_TIME}{_OFFSET})"
_CHOSEN_TIME = (
    rf"(([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?{_OFFSET}"
    r"|23:59:60(\.[0-9]+)?([Zz]|[+\-]00:00))"
)
_DAYS, _TIMES = (
    r"([0-9]+D|[0-9]+M([0-9]+D)?|[0-9]+Y([0-9]+M([0-9]+D)?)?)",
    r"T([0-9]+S|[0-9]+M([0-9]+S)?|[0-9]+H([0-9]+M([0-9]+S)?)?)",
)
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?"
_HOSTNAME = rf"{_LABEL}(\.{_LABEL})*"
_BYTE = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(\.{_BYTE}){{3}}"
_BITS, _BITS_OF_IPV6 = "(3[0-2]|[12]?[0-9])", "(12[0-8]|1[01][0-9]|[1-9]?[0-9])"
_H16 = "[0-9a-fA-F]{1,4}"
_LS32 = f"({_H16}:{_H16}|{_IPV4})"
_IPV6 = (
    "("
    + "|".join(
        [
            f"({_H16}:){{6}}{_LS32}",
            f"::({_H16}:){{5}}{_LS32}",
            *(f"({_H16}(:{_H16}){{0,{n}}})?::({_H16}:){{{4 - n}}}{_LS32}" for n in range(5)),
            f"({_H16}(:{_H16}){{0,5}})?::{_H16}",
            f"({_H16}(:{_H16}){{0,6}})?::",
        ]
    )
    + ")"
)


def _mailbox(wide: str, hostname: str) -> str:
    """`wide`: letters beyond ASCII that may occur before the @."""
    atom = rf"[a-zA-Z0-9!#$%&'*+/=?\^_`{{|}}~\-{wide}]+"
    quoted = rf'"([ !#-\[\]-~{wide}]|\\[ -~])*"'
    return rf"({atom}(\.{atom})*|{quoted})@({hostname}|\[{_IPV4}\]|\[IPv6:{_IPV6}\])"


_BEYOND_ASCII = "\u0080-\U0010ffff"
_WIDE_LABEL = rf"[a-zA-Z0-9{_BEYOND_ASCII}]([a-zA-Z0-9{_BEYOND_ASCII}\-]{{0,61}}[a-zA-Z0-9{_BEYOND_ASCII}])?"


def _uri(wide: str) -> tuple[str, str]:
    """An absolute reference, and any; `wide`: letters beyond ASCII that may occur in it."""
    plain = rf"a-zA-Z0-9\-._~!$&'()*+,;={wide}"
    escape = "%[0-9a-fA-F]{2}"
    segment, first = rf"([{plain}:@]|{escape})", rf"([{plain}@]|{escape})"
    host = rf"(\[({_IPV6}|[vV][0-9a-fA-F]+\.[{plain}:]+)\]|([{plain}]|{escape})*)"
    authority = rf"//(([{plain}:]|{escape})*@)?{host}(:[0-9]*)?(/{segment}*)*"
    absolute = rf"/({segment}+(/{segment}*)*)?"
    private = "\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd" if wide else ""
    end = rf"(\?([{plain}{private}:@/?]|{escape})*)?(#([{plain}:@/?]|{escape})*)?"
    uri = rf"[a-zA-Z][a-zA-Z0-9+.\-]*:({authority}|{absolute}|{segment}+(/{segment}*)*)?{end}"
    relative = rf"({authority}|{absolute}|{first}+(/{segment}*)*)?{end}"
    return uri, rf"({uri}|{relative})"


_WIDE = (
    "\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef\U00010000-\U0001fffd\U00020000-\U0002fffd\U00030000-\U0003fffd"
    "\U00040000-\U0004fffd\U00050000-\U0005fffd\U00060000-\U0006fffd\U00070000-\U0007fffd\U00080000-\U0008fffd"
    "\U00090000-\U0009fffd\U000a0000-\U000afffd\U000b0000-\U000bfffd\U000c0000-\U000cfffd\U000d0000-\U000dfffd"
    "\U000e1000-\U000efffd"
)
_VARIABLE = r"([a-zA-Z0-9_]|%[0-9a-fA-F]{2})(\.?([a-zA-Z0-9_]|%[0-9a-fA-F]{2}))*(:[1-9][0-9]{0,3}|\*)?"
_TEMPLATE_TEXT = rf"[!#$&-;=?-\[\]_a-z~{_WIDE}\ue000-\uf8ff]|%[0-9a-fA-F]{{2}}"
_TOKEN = r"[!#$%&'*+\-.\^_`|~0-9A-Za-z]+"
_QUOTED_VALUE = r'"([\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_POINTER = r"(/([^/~]|~[01])*)*"


def _base64(last_two: str, padding: tuple[str, str]) -> str:
    """Bits that mean nothing are 0. last_two: the characters beside letters and digits. padding: behind two characters,
    and behind three.
    """
    digit = f"[A-Za-z0-9{last_two}]"
    return f"({digit}{{4}})*({digit}[AQgw]{padding[0]}|{digit}{{2}}[AEIMQUYcgkosw048]{padding[1]})?"


def _uuid(version: int) -> str:
    return f"[0-9a-fA-F]{{8}}-[0-9a-fA-F]{{4}}-{version}[0-9a-fA-F]{{3}}-[89abAB][0-9a-fA-F]{{3}}-[0-9a-fA-F]{{12}}"


def _regex(groups: int) -> str:
    """Regular expressions with so many groups within each other, as ECMA-262 and Python read them alike."""
    one = r"[^\x00-\x1f\\\^$.*+?()\[\]{}|]|\\[dDwWsSnrt\\/\^$.*+?()\[\]{}|]|\."
    member = r"a-z|A-Z|0-9|[a-zA-Z0-9_ .,:;/@#%+*?!='\"]|\\[dwsnrt\\\]\[\-\^]"
    inner = rf"|\((\?:)?{_regex(groups - 1)}\)" if groups else ""
    between = "|".join(f"{low},([{low or 1}-9]|[1-9][0-9]{{1,2}})" for low in range(10))
    count = rf"[*+?]\??|\{{([0-9]{{1,3}},?|{between})\}}"
    sequence = rf"(({one}|\[\^?({member})+\]{inner})({count})?)*"
    return rf"{sequence}(\|{sequence})*"


_SOURCES = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}[Tt]{_TIME}",
    "duration": f"P({_DAYS}({_TIMES})?|{_TIMES}|[0-9]+W)",
    "email": _mailbox("", _HOSTNAME),
    "idn-email": _mailbox(_BEYOND_ASCII, rf"{_WIDE_LABEL}(\.{_WIDE_LABEL})*"),
    "hostname": _HOSTNAME,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "ipvanyaddress": f"({_IPV4}|{_IPV6})",
    "ipv4interface": f"{_IPV4}(/{_BITS})?",
    "ipv6interface": f"{_IPV6}(/{_BITS_OF_IPV6})?",
    "ipvanyinterface": f"({_IPV4}(/{_BITS})?|{_IPV6}(/{_BITS_OF_IPV6})?)",
    "ipv4network": f"{_IPV4}(/{_BITS})?",
    "ipv6network": f"{_IPV6}(/{_BITS_OF_IPV6})?",
    "ipvanynetwork": f"({_IPV4}(/{_BITS})?|{_IPV6}(/{_BITS_OF_IPV6})?)",
    "cidrv4": f"{_IPV4}/{_BITS}",
    "cidrv6": f"{_IPV6}/{_BITS_OF_IPV6}",
    "e164": r"\+[1-9][0-9]{1,14}",
    "ulid": "[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}",
    "uuid": "[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}",
    **{f"uuid{version}": _uuid(version) for version in range(1, 9)},
    "uri": _uri("")[0],
    "url": _uri("")[0],
    "multi-host-uri": _uri("")[0],
    "uri-reference": _uri("")[1],
    "iri": _uri(_WIDE)[0],
    "iri-reference": _uri(_WIDE)[1],
    "uri-template": rf"({_TEMPLATE_TEXT}|\{{[+#./;?&]?{_VARIABLE}(,{_VARIABLE})*\}})*",
    "json-pointer": f"(?s:{_POINTER})",
    "relative-json-pointer": f"(?s:(0|[1-9][0-9]*)(#|{_POINTER}))",
    "date-time-local": f"{_DATE}[Tt]{_LOCAL_TIME}",
    "time-local": _LOCAL_TIME,
    **dict.fromkeys(("byte", "base64"), _base64("+/", ("==", "="))),
    "base64url": _base64(r"_\-", ("(==)?", "=?")),
    "char": "(?s:.)",
    "decimal": r"-?[0-9]+(\.[0-9]+)?",
    "regex": "(?s:.*)",
    "media-range": rf"{_TOKEN}/{_TOKEN}([ \t]*;[ \t]*({_TOKEN}=({_TOKEN}|{_QUOTED_VALUE}))?)*",
}
_SOURCES |= {"host-name": _SOURCES["hostname"], "ip-address": _SOURCES["ipv4"]}
"""What draft-03 called them."""

_LONGEST = dict.fromkeys(("hostname", "host-name"), "(?s:.{1,253})")
_NO_LEAP_SECOND = r"[0-9]{2}:[0-9]{2}:[0-5][0-9TtZz:.+\-]*"
_READABLE_TIME = r"[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,9})?([Zz+\-][0-9:]*)?"
"""No leap second, and nanoseconds at most."""
_CHOSEN_LABEL = r"([a-zA-Z0-9\-]{1,3}|[a-zA-Z0-9\-]{2}([a-zA-Z0-9][a-zA-Z0-9\-]|-[a-zA-Z0-9])[a-zA-Z0-9\-]*)"
_WITH_HOST = rf"(https?|ftp)://({_CHOSEN_LABEL}\.){{0,8}}[a-zA-Z]{{2,}}(:[1-9][0-9]{{0,3}})?([/?#].*)?"
_NETWORK = r"([0-9]+\.0\.0\.0/8|[0-9]+\.[0-9]+\.0\.0/16|[0-9]+\.[0-9]+\.[0-9]+\.0/24|[0-9.]+(/32)?)"
_NETWORK_OF_IPV6 = (
    r"([0-9a-f]{1,4}:[0-9a-f]{1,4}::/32|([0-9a-f]{1,4}:){3}:/48|([0-9a-f]{1,4}:){4}:/64|[0-9a-f:]+(/128)?)"
)
_CHOSEN = {
    **dict.fromkeys(("hostname", "host-name"), rf"{_CHOSEN_LABEL}(\.{_CHOSEN_LABEL})*"),
    "url": _WITH_HOST,
    "ipv4network": _NETWORK,
    "ipv6network": _NETWORK_OF_IPV6,
    "ipvanynetwork": f"({_NETWORK}|{_NETWORK_OF_IPV6})",
    "time": _CHOSEN_TIME,
    "date-time": f"{_DATE}[Tt]{_CHOSEN_TIME}",
    "time-local": _NO_LEAP_SECOND,
    "date-time-local": f"[0-9-]*[Tt]{_NO_LEAP_SECOND}",
    "regex": rf"\^?{_regex(groups=2)}\$?",
}
"""No encoded international labels (two hyphens as third and fourth character), which take tables to check; leap seconds
in Greenwich only, and none where the time of Greenwich is not known; of regular expressions what all engines know; of
networks those that have whole bytes, or nearly, for themselves."""

_FROM_YEAR_1 = r"([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-[0-9]{2}-[0-9]{2}"
_LETTERS = "\u00e0-\u00f6\u00f8-\u00ff\u03ac-\u03ce\u0430-\u045f\u3041-\u3094\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
_PREFERRED_LABEL = rf"({_CHOSEN_LABEL}|[a-z0-9{_LETTERS}]{{1,12}})"
"""Of an international name: letters that are right in any order, not so many that they are too long when encoded."""

_SHORT_SCHEME = "(?s)[a-zA-Z][^:]{0,31}:.*"
_SHORT_TOKEN = _TOKEN.removesuffix("+") + "{1,64}"
_PREFERRED = {
    "email": r'[^"@]{1,64}@([a-zA-Z0-9\-]+\.){1,8}[a-zA-Z]{2,}',
    "idn-email": rf'[^"@\x80-\xa0]{{1,64}}@{_PREFERRED_LABEL}(\.{_PREFERRED_LABEL}){{0,8}}',
    "date": _FROM_YEAR_1,
    "time": _READABLE_TIME,
    "time-local": _READABLE_TIME,
    "date-time": f"{_FROM_YEAR_1}[Tt]{_READABLE_TIME}",
    "date-time-local": f"{_FROM_YEAR_1}[Tt]{_READABLE_TIME}",
    "duration": "P(T?[0-9]{1,6}[A-Z])+",
    "uri": _SHORT_SCHEME,
    "iri": _SHORT_SCHEME,
    "decimal": r"-?(0|[1-9][0-9]{0,37})(\.[0-9]{1,38})?",
    "media-range": rf"{_SHORT_TOKEN}/{_SHORT_TOKEN}(; ?{_SHORT_TOKEN}={_TOKEN})*",
}

INTEGER_RANGES = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    "int": (-(2**63), 2**63 - 1),
    "uint": (0, 2**64 - 1),
    "double-int": (-(2**53) + 1, 2**53 - 1),
}
_ANNOTATIONS = (
    *("float", "double", "unixtime", "password", "binary", "commonmark", "html", "int-or-string"),
    *("path", "file-path", "directory-path", "new-path"),
)
NAMES_OF_PATTERNS = (
    *("starts_with", "ends_with", "includes", "lowercase", "uppercase", "cuid", "cuid2", "nanoid", "xid", "ksuid"),
    *("mac", "hex"),
)
"""What zod calls patterns that it writes beside them. They say nothing more, and mean nothing without a pattern."""
ENCODINGS = ("base64", "base64url")
"""Formats that are also names of what ``contentEncoding`` may be."""
FORMATS = (*_SOURCES, *INTEGER_RANGES, *_ANNOTATIONS)


def format_type(name: str) -> Literal["string", "number"] | None:
    """What the format restricts; None if that is nothing, or not known."""
    return "number" if name in INTEGER_RANGES else "string" if name in _SOURCES else None


@lru_cache(maxsize=len(_SOURCES))
def format_texts(name: str) -> Format:
    """`name` is one of FORMATS, and restricts strings."""

    def patterns(*tables: Mapping[str, str]) -> tuple[Pattern, ...]:
        return tuple(parse_regex(f"format {name}", table[name]) for table in tables if name in table)

    return Format(patterns(_SOURCES, _LONGEST), patterns(_CHOSEN), patterns(_PREFERRED))
