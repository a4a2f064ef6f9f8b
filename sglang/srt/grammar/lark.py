"""Regular expressions in the notation of llguidance: its dialect of Lark, in which terminals can be composed."""

from __future__ import annotations

from collections.abc import Mapping

from sglang.srt.grammar.charset import CharSet
from sglang.srt.grammar.lexemes import LexedRules
from sglang.srt.grammar.pattern import Chars, Concat, Pattern, Ref, Repeat, Union

_LONG_SET = 16
"""From this many ranges on a set is written once, under a name."""


class TerminalWriter:
    """Writes patterns as terminals. `definitions` are the named sets that they use, one line each; all their names
    begin with `prefix`.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._names: dict[CharSet, str] = {}

    def write(self, pattern: Pattern) -> str:
        """An expression that can stand anywhere in a terminal."""
        match pattern:
            case Chars(chars):
                return self._set(chars)
            case Concat(()):
                return '""'
            case Concat(parts):
                return " ".join(self._pieces(parts))
            case Union(options):
                return "(" + " | ".join(map(self.write, options)) + ")"
            case Repeat(body, low, high):
                return f"({self.write(body)}){times(low, high)}"
            case Ref(name):
                raise AssertionError(f"a terminal cannot refer to rule {name}")

    @property
    def definitions(self) -> list[str]:
        return [f"{name}: /{_ranges(chars)}/" for chars, name in self._names.items()]

    def _pieces(self, parts: tuple[Pattern, ...]) -> list[str]:
        """Characters that follow each other are written as one literal."""
        pieces: list[str] = []
        run = ""
        for part in parts:
            if isinstance(part, Chars) and (character := _only_character(part.chars)) is not None:
                run += _escaped(character)
                continue
            if run:
                pieces.append(f"/{run}/")
                run = ""
            pieces.append(self.write(part))
        return [*pieces, f"/{run}/"] if run else pieces

    def _set(self, chars: CharSet) -> str:
        if len(chars) < _LONG_SET:
            return f"/{_ranges(chars)}/"
        return self._names.setdefault(chars, f"{self._prefix}SET_{len(self._names)}")


def regular_rules(pattern: Pattern, name: str, unless: str = "") -> str:
    """The rule `name` of exactly the texts that match. As one terminal it is matched by one automaton.

    unless: a terminal; texts that it matches are none of the rule's. The names of other rules begin with this one, here
    and in whatever else makes rules.
    """
    writer = TerminalWriter(f"{name.upper()}_")
    text = writer.write(pattern)
    terminal = f"{name.upper()}_TEXT"
    body = f"({text}) & ~{unless}" if unless else text
    return "\n".join([f"{name}: {terminal}", f"{terminal}: {body}", *writer.definitions]) + "\n"


def lexed_rules(lexed: LexedRules, root: str, name: str) -> str:
    """The rule `name` of what `root` is among the rules, which refer to each other by name, and to places."""
    names = {rule: f"{name}_rule_{number}" for number, rule in enumerate(lexed.rules)}
    lexeme = f"{name.upper()}_LEXEME_"
    names |= {place: f"{lexeme}{number}" for place, number in lexed.places.items()}
    writer = TerminalWriter(f"{name.upper()}_")
    lines = [f"{name}: {names[root]}"]
    lines += [f"{names[rule]}: {_rule(body, names)}" for rule, body in lexed.rules.items()]
    lines += [f"{lexeme}{number}: {writer.write(pattern)}" for number, pattern in enumerate(lexed.lexemes)]
    return "\n".join([*lines, *writer.definitions]) + "\n"


def _rule(body: Pattern, names: Mapping[str, str]) -> str:
    match body:
        case Ref(name):
            return names[name]
        case Concat(()):
            return '""'
        case Concat(parts):
            return " ".join(_rule(part, names) for part in parts)
        case Union(options):
            return "(" + " | ".join(_rule(option, names) for option in options) + ")"
        case Repeat(inner, low, high):
            return f"({_rule(inner, names)}){times(low, high)}"
    raise AssertionError(f"{body} is no rule of lexemes")


def times(low: int, high: int | None) -> str:
    """What is written after something that is repeated. high: None is without limit."""
    if (low, high) == (0, None):
        return "*"
    if (low, high) == (1, None):
        return "+"
    return f"{{{low},{'' if high is None else high}}}"


def _only_character(chars: CharSet) -> int | None:
    return chars[0][0] if len(chars) == 1 and chars[0][0] == chars[0][1] else None


def _ranges(chars: CharSet) -> str:
    return (
        "["
        + "".join(_escaped(low) if low == high else f"{_escaped(low)}-{_escaped(high)}" for low, high in chars)
        + "]"
    )


def _escaped(code_point: int) -> str:
    """Letters and digits stand for themselves, in and out of sets; nothing else needs to be told apart."""
    character = chr(code_point)
    return character if character.isascii() and character.isalnum() else f"\\x{{{code_point:x}}}"
