"""Checks of string formats for jsonschema, which by itself checks few of them without further packages."""

from __future__ import annotations

import datetime
import re

import jsonschema

EXAMPLES = {
    "date": "2024-02-29",
    "date-time": "2024-02-29T23:59:59Z",
    "time": "12:30:00+01:00",
    "duration": "P1DT2H",
    "email": "a@b.org",
    "hostname": "a.example",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "uri": "http://a.example/b",
}
CHECKER = jsonschema.FormatChecker(formats=())

_TIME = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PATTERNS = {
    "time": _TIME,
    "duration": r"P(?=.)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?)",
    "email": r"(\"[^\"\\]*(\\.[^\"\\]*)*\"|[^@\s\"]+)@\S+",
    "hostname": rf"{_LABEL}(\.{_LABEL})*",
    "uuid": r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}",
    "uri": r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]*",
}


def _matches(name: str, text: str) -> bool:
    return re.fullmatch(_PATTERNS[name], text, re.ASCII) is not None


def _is_date(text: str) -> bool:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is None:
        return False
    year, month, day = map(int, text.split("-"))
    try:
        # The calendar repeats after 400 years, and Python's begins with year 1.
        datetime.date(year or 400, month, day)
    except ValueError:
        return False
    return True


def _is_date_time(text: str) -> bool:
    return _is_date(text[:10]) and text[10:11] in ("T", "t") and _matches("time", text[11:])


def _register() -> None:
    known = jsonschema.FormatChecker()
    for name in ("ipv4", "ipv6"):
        CHECKER.checkers[name] = known.checkers[name]
    CHECKER.checks("date")(lambda value: not isinstance(value, str) or _is_date(value))
    CHECKER.checks("date-time")(lambda value: not isinstance(value, str) or _is_date_time(value))
    for name in _PATTERNS:
        CHECKER.checks(name)(lambda value, name=name: not isinstance(value, str) or _matches(name, value))


_register()
