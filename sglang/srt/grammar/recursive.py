"""Grammars of rules: written out as one regular expression where that is possible, cut into lexemes where not."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.ebnf import ROOT, parse_ebnf
from sglang.srt.grammar.lark import regular_grammar, rule_grammar
from sglang.srt.grammar.lexemes import cut_into_lexemes
from sglang.srt.grammar.limits import MAX_NESTING, MAX_POSITIONS, check_size
from sglang.srt.grammar.pattern import NOTHING, Pattern, depth, num_positions, references, substitute

_LARK = re.compile(r"^\s*(?:%llguidance\b|\??start\s*(?:\[[^\]\n]*\]\s*)?:(?!:=))", re.MULTILINE)


def ebnf_grammar(source: str) -> str:
    """The grammar of exactly the texts of rule ``root``. A Lark grammar (``start: ...``) is taken as it is.

    Raises InvalidRequestError for a grammar that is not understood, matches nothing, or is larger than the limits.
    """
    check_size("ebnf", source)
    if _LARK.search(source):
        return source
    rules = _without_dead_ends(parse_ebnf(source))
    if rules.get(ROOT, NOTHING) == NOTHING:
        raise InvalidRequestError("ebnf matches no text at all: its rules refer to each other without end")
    regular, recursive = _written_out(rules)
    if ROOT in regular:
        return regular_grammar(regular[ROOT])
    used = _reachable(recursive)
    size = sum(map(num_positions, used.values()))
    if size > MAX_POSITIONS:
        raise InvalidRequestError(
            f"ebnf has {size} characters with its repetitions written out; at most {MAX_POSITIONS} are supported"
        )
    lexed = cut_into_lexemes(used)
    return rule_grammar(ROOT, lexed.rules, lexed.lexemes)


def _without_dead_ends(rules: Mapping[str, Pattern]) -> dict[str, Pattern]:
    """Without the rules, and what needs them, that can never be finished."""
    endless = set(rules)
    while True:
        finished = {name for name in endless if substitute(rules[name], dict.fromkeys(endless, NOTHING)) != NOTHING}
        if not finished:
            break
        endless -= finished
    gone = dict.fromkeys(endless, NOTHING)
    return {name: substitute(body, gone) for name, body in rules.items() if name not in endless}


def _written_out(rules: Mapping[str, Pattern]) -> tuple[dict[str, Pattern], dict[str, Pattern]]:
    """The rules that come down to regular expressions, as these; and the others, using them."""
    regular: dict[str, Pattern] = {}
    others = dict(rules)
    while True:
        found = {}
        for name, body in others.items():
            if all(used in regular for used in references(body)):
                written = substitute(body, regular)
                if num_positions(written) <= MAX_POSITIONS and depth(written) <= MAX_NESTING:
                    found[name] = written
        if not found:
            return regular, {name: substitute(body, regular) for name, body in others.items()}
        regular |= found
        others = {name: body for name, body in others.items() if name not in found}


def _reachable(rules: Mapping[str, Pattern]) -> dict[str, Pattern]:
    found: dict[str, Pattern] = {}
    left = [ROOT]
    while left:
        name = left.pop()
        if name not in found:
            found[name] = rules[name]
            left.extend(references(rules[name]))
    return found
