"""How large a constraint may be, and how much work it may cause. All counts, no times: a limit is always the same."""

from __future__ import annotations

import llguidance

from sglang.srt.errors import InvalidRequestError

MAX_CONSTRAINT_BYTES = 262_144
"""Of the text of a constraint as the user gave it."""

MAX_NESTING = 64
"""Groups within groups, schemas within schemas."""

MAX_POSITIONS = 20_000
"""Characters that a regular expression names, each counted as often as a counted repetition may repeat it."""

MAX_RULES = 2_000
"""Of an EBNF grammar."""

PARSER_LIMITS = llguidance.LLParserLimits(verbose_errors=False)
"""The library's own: work for one mask, states of a lexer, symbols of a grammar. Its errors do not quote grammars."""


def check_size(name: str, text: str) -> None:
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_CONSTRAINT_BYTES:
        raise InvalidRequestError(f"{name} has {size} bytes; a constraint has at most {MAX_CONSTRAINT_BYTES}")
