"""Multiples: which of them are generated."""

from __future__ import annotations

import json
from decimal import ROUND_CEILING, Decimal

import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.json_schema import open_json_schema_grammar
from sglang.srt.grammar.witness.outputs import Outputs
from tests.grammar.texts import accepts, grammar_of

SEVENS = {"type": "integer", "multipleOf": 7}


@pytest.mark.parametrize("multiple", [600_000_000, 900_000_000, 2_100_000_000])
def test_multiples_that_the_library_gets_wrong_are_refused(multiple: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"multiples of {multiple}; at most 400000000 is supported"):
        grammar_of("json_schema", {"type": "number", "multipleOf": multiple})


@pytest.mark.parametrize("multiple", [2, 25, 1000, 10**9, 0.5, 0.01, 12.5, 1e-9])
def test_multiples_that_their_last_digits_tell(multiple: float) -> None:
    """They are written like other numbers, and end."""
    schema = {"type": "number", "multipleOf": multiple}
    grammar, valid = grammar_of("json_schema", schema), open_json_schema_grammar(json.dumps(schema))
    unit = Decimal(str(multiple))
    for factor in (0, 1, -1, 3, -17, 1234):
        text = format(factor * unit, "f")
        assert accepts(grammar, text) == (text != "-0")
        assert not accepts(grammar, format(factor * unit + unit / 4, "f"))
    whole = format(unit.to_integral_value(ROUND_CEILING), "f")
    assert accepts(valid, whole + "0" * 30) and not accepts(grammar, whole + "0" * 30)


@pytest.mark.parametrize(
    ("bounds", "longest", "too_long"),
    [
        ({"multipleOf": 7}, "999999999999994", "1000000000000001"),
        ({"multipleOf": 7, "maximum": -5}, "-999999999999994", "-1000000000000001"),
        ({"multipleOf": 7, "minimum": 0.5}, "999999999999994", "1000000000000001"),
        ({"multipleOf": 999}, "999999999999999", "999999999999999000"),
        ({"multipleOf": 0.3}, "999999999999998.7", "1000000000000000.2"),
        ({"multipleOf": 0.11}, "-999999999999998.91", "-999999999999999.02"),
        ({"multipleOf": 7, "minimum": 999999999999990}, "1000000000000001", None),
        ({"multipleOf": 7, "maximum": -999999999999990}, "-1000000000000001", None),
        ({"multipleOf": 12345}, "1234500000000000000", None),
    ],
)
def test_multiples_of_small_numbers_end(bounds: dict[str, float], longest: str, too_long: str | None) -> None:
    """Unless their bounds leave no room below the end, or their remainders are many."""
    schema = {"type": "number", **bounds}
    grammar, valid = grammar_of("json_schema", schema), open_json_schema_grammar(json.dumps(schema))
    assert accepts(grammar, longest) and not accepts(grammar, longest[:-1] + "5")
    if too_long is not None:
        assert accepts(valid, too_long) and not accepts(grammar, too_long)


@pytest.mark.parametrize("multiple", [0.07, 0.007, 1.1e-2, 0.53])
def test_multiples_that_the_library_reads_as_others_are_refused_in_words(multiple: float) -> None:
    with pytest.raises(InvalidRequestError, match=rf"multipleOf at #/items: multiples of {multiple} cannot be told"):
        grammar_of("json_schema", {"items": {"type": "number", "multipleOf": multiple}, "minItems": 1})


def test_multiples_have_no_white_space_before_them() -> None:
    records = [
        {"type": "object", "properties": dict.fromkeys(names, SEVENS), "required": [*names]} for names in ("e", "eb")
    ]
    grammar = grammar_of("json_schema", {"anyOf": records})
    assert accepts(grammar, '{"e":7}') and accepts(grammar, '{"e":7,"b":-14}')
    assert not accepts(grammar, '{"e": 7}') and not accepts(grammar, '{"e":7,"b":\n7}')


@pytest.mark.parametrize(
    "bounds", [{}, {"minimum": -7}, {"minimum": -7, "maximum": 0}, {"minimum": 0}, {"maximum": -7}]
)
@pytest.mark.parametrize("kind", ["integer", "number"])
def test_a_negative_zero_is_followed_where_it_is_allowed(kind: str, bounds: dict[str, int]) -> None:
    grammar = grammar_of("json_schema", {**bounds, "type": kind, "multipleOf": 7})
    outputs = Outputs(grammar)
    is_whole = outputs.num_bytes_to_end(outputs.follow(outputs.start, b"-0")) == 0
    assert is_whole is accepts(grammar, "-0")
