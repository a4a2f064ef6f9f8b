"""How large a constraint may be, and how much work it may cause. All counts, no times: a limit is always the same."""

from __future__ import annotations

from collections.abc import Sequence

import llguidance

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.pattern import Pattern, depth, num_positions

MAX_CONSTRAINT_BYTES = 262_144
"""Of the text of a constraint as the user gave it."""

MAX_NESTING = 24
"""Of groups, alternatives and repetitions in a regular expression or a rule."""

MAX_SCHEMA_NESTING = 48
"""Of schemas within schemas."""

MAX_MULTIPLE = 20_000
"""Of all `multipleOf` of a JSON Schema together. Tens of milliseconds to compile; it grows faster than the number."""

LARGEST_MULTIPLE = 400_000_000
"""Of the same. The library counts up to ten times the number in 32 bits, and is wrong where that is not enough."""

MAX_POSITIONS = 20_000
"""Characters that a regular expression names, each counted as often as a counted repetition may repeat it."""

MAX_LITERALS = 80_000
"""Of a regular expression as it is written, also where it names them in vain: to read more takes tenths of a second."""

MAX_RULES = 2_000
"""Of an EBNF grammar."""

PARSER_LIMITS = llguidance.LLParserLimits(verbose_errors=False, max_items_in_row=20_000, step_lexer_fuel=1_000_000)
"""The library's own but for two: work for one mask, states of a lexer, symbols of a grammar. An object with many
properties that may be there takes an item for each of them; a mask within a large `multipleOf`, 400,000 pieces of a
lexer's work, of which a million take some 50 ms. Its errors do not quote grammars."""


def check_size(name: str, text: str) -> None:
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_CONSTRAINT_BYTES:
        raise InvalidRequestError(f"{name} has {size} bytes; a constraint has at most {MAX_CONSTRAINT_BYTES}")


def check_extent(name: str, patterns: Sequence[Pattern]) -> None:
    count = sum(map(num_positions, patterns))
    if count > MAX_POSITIONS:
        raise InvalidRequestError(
            f"{name} has {count} characters with its repetitions written out; at most {MAX_POSITIONS} are supported"
        )
    if max(map(depth, patterns)) > MAX_NESTING:
        raise InvalidRequestError(f"{name} is nested more than {MAX_NESTING} levels deep")
