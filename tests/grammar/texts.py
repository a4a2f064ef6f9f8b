"""What a constraint accepts, asked of the grammar it is lowered to, byte by byte and without a model."""

from __future__ import annotations

import json
from typing import Any, Literal

from sglang.srt.grammar.lowering import lower
from sglang.srt.grammar.text_matcher import TextMatcher
from sglang.srt.sampling_params import Constraint

Kind = Literal["regex", "ebnf", "json_schema", "choices"]


def grammar_of(kind: Kind, source: Any) -> str:
    return lower(Constraint(kind, source if isinstance(source, str) else json.dumps(source)))


def accepts(grammar: str, text: str) -> bool:
    return TextMatcher(grammar).is_satisfied_by(text.encode())
