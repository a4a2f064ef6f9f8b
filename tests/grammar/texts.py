"""What a constraint accepts, asked byte by byte, and without a model, of the grammar that it is lowered to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import llguidance

from sglang.srt.grammar.frame import BARE, Frame
from sglang.srt.grammar.limits import PARSER_LIMITS
from sglang.srt.grammar.lowering import lower
from sglang.srt.grammar.text_matcher import TextMatcher
from sglang.srt.grammar.witness.unique_items import repeats_items
from sglang.srt.sampling_params import Constraint

Kind = Literal["regex", "ebnf", "json_schema", "choices", "structural_tag"]


def grammar_of(kind: Kind, source: Any, frame: Frame = BARE) -> str:
    return lower(Constraint(kind, source if isinstance(source, str) else json.dumps(source)), frame)


def accepts(grammar: str, text: str) -> bool:
    return TextMatcher(grammar).is_satisfied_by(text.encode()) and not repeats_items(grammar, text.encode())


def acceptor(grammar: str) -> Callable[[str], bool]:
    """As `accepts`, for many texts of one grammar."""
    beginning = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), grammar, log_level=0, limits=PARSER_LIMITS)

    def accepts_text(text: str) -> bool:
        matcher = beginning.deep_copy()
        is_text: bool = matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()
        return is_text and not repeats_items(grammar, text.encode())

    return accepts_text
