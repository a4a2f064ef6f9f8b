"""Grammars of rules: written out as one regular expression where that is possible, cut into lexemes where not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.ebnf import ROOT, parse_ebnf
from sglang.srt.grammar.lark import lexed_rules, regular_rules
from sglang.srt.grammar.lark_source import lark_rules
from sglang.srt.grammar.lexemes import cut_into_lexemes
from sglang.srt.grammar.limits import MAX_NESTING, MAX_POSITIONS, MAX_RULES, check_extent, check_size
from sglang.srt.grammar.pattern import NOTHING, Pattern, depth, num_positions, references, substitute

_LARK = re.compile(r"^\s*(?:%llguidance\b|\??start\s*(?:\[[^\]\n]*\]\s*)?:(?!:=))", re.MULTILINE)


@dataclass(frozen=True)
class Rules:
    """What a grammar comes down to: every rule that ROOT needs, by name. One that uses another comes after it, unless
    they use each other.
    """

    rules: Mapping[str, Pattern]

    @property
    def regular(self) -> Pattern | None:
        """The whole as one regular expression, if it is one."""
        root = self.rules[ROOT]
        return root if next(references(root), None) is None else None


def ebnf_rules(source: str, name: str, unless: str = "", whitespace: str = "") -> str:
    """The rule `name` of exactly the texts of rule ``root``. A Lark grammar (``start: ...``) is taken as it is, but for
    the schemas in it and the names of its rule ``start``.

    unless: a terminal; of texts that it matches those of regular grammars are none. whitespace: of the schemas.
    Raises InvalidRequestError for a grammar that is not understood, matches nothing, or is larger than the limits.
    """
    check_size("ebnf", source)
    if is_lark(source):
        return lark_rules(source, name, whitespace)
    rules = read_rules(source)
    if rules.regular is not None:
        return regular_rules(rules.regular, name, unless)
    return lexed_rules(cut_into_lexemes(ROOT, rules.rules), ROOT, name)


def is_lark(source: str) -> bool:
    return _LARK.search(source) is not None


def read_rules(source: str) -> Rules:
    """Raises as `ebnf_rules`."""
    rules = parse_ebnf(source)
    if len(rules) > MAX_RULES:
        raise InvalidRequestError(f"ebnf has {len(rules)} rules; at most {MAX_RULES} are supported")
    rules = without_dead_ends(_used_first(rules))
    if rules.get(ROOT, NOTHING) == NOTHING:
        raise InvalidRequestError("ebnf matches no text at all: its rules refer to each other without end")
    regular, recursive = _written_out(rules)
    if ROOT in regular:
        return Rules({ROOT: regular[ROOT]})
    used = _used_first(recursive)
    check_extent("ebnf", list(used.values()))
    return Rules(used)


def without_dead_ends(rules: Mapping[str, Pattern]) -> dict[str, Pattern]:
    """Without the rules, and what needs them, that can never be finished."""
    endless = dict.fromkeys(rules, NOTHING)
    is_stable = False
    while not is_stable:
        num_left = len(endless)
        for name in list(endless):  # the rules that another uses come first: a chain of rules takes one round
            if substitute(rules[name], endless) != NOTHING:
                del endless[name]
        is_stable = len(endless) == num_left
    return {name: substitute(body, endless) for name, body in rules.items() if name not in endless}


def _written_out(rules: Mapping[str, Pattern]) -> tuple[dict[str, Pattern], dict[str, Pattern]]:
    """The rules that come down to regular expressions, as these; and the others, using them.

    Other rules may lie as deep again around one that is written out in them.
    """
    regular: dict[str, Pattern] = {}
    for name, body in rules.items():
        if all(used in regular for used in references(body)):
            written = substitute(body, regular)
            max_depth = MAX_NESTING if name == ROOT else MAX_NESTING // 2
            if num_positions(written) <= MAX_POSITIONS and depth(written) <= max_depth:
                regular[name] = written
    return regular, {name: substitute(body, regular) for name, body in rules.items() if name not in regular}


def _used_first(rules: Mapping[str, Pattern]) -> dict[str, Pattern]:
    """The rules that ROOT needs. One that uses another comes after it, unless they use each other."""
    ordered: dict[str, Pattern] = {}
    entered = {ROOT}
    path = [(ROOT, references(rules[ROOT]))]
    while path:
        name, left = path[-1]
        used = next((one for one in left if one not in entered), None)
        if used is None:
            ordered[name] = rules[name]
            path.pop()
        else:
            entered.add(used)
            path.append((used, references(rules[used])))
    return ordered
