"""JSON Schema's patterns: where they look around, and classes of characters by their Unicode properties."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from jsonschema import Draft202012Validator

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.json_schema import open_json_schema_grammar
from tests.grammar.texts import acceptor, accepts, grammar_of

LOOKAROUNDS = [
    r"^(?!a)(?!.*//)[ab/]*$",
    r"^(?=.*a)(?=.*b).{3,}$",
    r"^(?!\.)(?!.*\.\.)[a.]*b$",
    r"^(?!a*$).+",
    r"^(?!ab|b/)",
    r"^((?!ab)[ab/])+$",
    r"^(?:(?!a.b).)*$",
    r"^(?!b)((?!aa).){2,3}$",
    r"^[ab./]*(?<!\.)$",
    r"(?<=a)(?<!ba)$",
    r"^(?!b)(?:b|ab*)(?<!bb)$",
    r"^(((?=a)(?!ab).*))$",
    r"(?i)^(?!A)(?=.*B)",
]


@pytest.mark.parametrize("is_negated", [False, True])
@pytest.mark.parametrize("pattern", LOOKAROUNDS)
def test_lookarounds_hold_for_the_texts_for_which_python_says_so(pattern: str, is_negated: bool) -> None:
    texts = ["".join(letters) for length in range(5) for letters in itertools.product("ab./", repeat=length)]
    schema = {"not": {"pattern": pattern}} if is_negated else {"pattern": pattern}
    accepts = acceptor(grammar_of("json_schema", {"type": "string", **schema}))
    expected = [text for text in texts if bool(re.search(pattern, text)) != is_negated]
    assert [text for text in texts if accepts(json.dumps(text))] == expected


@pytest.mark.parametrize(
    "pattern", [r"(?!a)b", r"^a(?=b)", r"(?<!a)b$", r"^((?!a|)b)*$", r"^(?!(?!a)b)", r"^(?!a)b|^c"]
)
def test_other_lookarounds_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"pattern at # has a lookaround \(position"):
        grammar_of("json_schema", {"type": "string", "pattern": pattern})


PROPERTIES = [
    (r"^\p{L}+$", "aZéßжקあ漢ª", "1_ ́€"),
    (r"^\p{Lu}\p{Lowercase_Letter}*$", "É", "é"),
    (r"^[\p{L}\p{Mark}'-]$", "é́'-", "0 "),
    (r"^\P{L}$", "1 _", "aé"),
    (r"^[^\p{Letter}\p{digit}]$", "- _", "aé1٣"),
    (r"^\p{gc=Nd}$", "1٣৪", "²Ⅷa"),
    (r"^\p{General_Category=Cased_Letter}$", "aAǅ", "ªあ"),
    (r"^\p{Sc}$", "$€¥", "%a"),
    (r"^[\p{ASCII}]$", "a~", "é"),
    (r"^\p{Any}$", "aé\n", ""),
    (r"^\p{Assigned}$", "aé", "\u0378"),
]


@pytest.mark.parametrize(("pattern", "accepted", "rejected"), PROPERTIES, ids=[row[0] for row in PROPERTIES])
def test_unicode_properties(pattern: str, accepted: str, rejected: str) -> None:
    accepts = acceptor(grammar_of("json_schema", {"type": "string", "pattern": pattern}))
    texts = [json.dumps(character, ensure_ascii=False) for character in (*accepted, *rejected)]
    assert [accepts(text) for text in texts] == [True] * len(accepted) + [False] * len(rejected)


@pytest.mark.parametrize("name", ["Script=Greek", "Emoji", "l", "gc=Greek", ""])
def test_other_properties_are_refused_by_name(name: str) -> None:
    with pytest.raises(
        InvalidRequestError, match=re.escape(f"'\\\\p{{{name}}}' at position 1, which is not supported")
    ):
        grammar_of("json_schema", {"type": "string", "pattern": rf"^\p{{{name}}}$"})


@pytest.mark.parametrize(
    ("pattern", "accepted", "rejected"),
    [
        ("^" + "a" * 1500 + "$", "a" * 1500, "a" * 1499),
        ("^" * 3000 + "ab" + "$" * 3000, "ab", "ab "),
        ("(^)" * 1500 + "x", "xy", "yx"),
        ("(^|a)b" * 400 + "$", "b" + "ab" * 399, "b" * 400),
        (r"[{,3}]\{,3}", "a,{,3}", "a{,3"),
    ],
)
def test_patterns_of_many_parts_beside_anchors(pattern: str, accepted: str, rejected: str) -> None:
    grammar = grammar_of("json_schema", {"type": "string", "pattern": pattern})
    assert accepts(grammar, f'"{accepted}"')
    assert not accepts(grammar, f'"{rejected}"')


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("^a{,3}$", "has '{,3}' at position 2, which not everybody reads as a number of times; write {0,3}, or"),
        ("." * 100_000, "has more than 20000 characters"),
        ("(?:^|a)*b", "has an anchor in a repeated group"),
    ],
)
def test_patterns_that_are_refused(pattern: str, said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        grammar_of("json_schema", {"type": "string", "pattern": pattern})
    assert said in str(caught.value)


ODD = ("\ufeff", "\x1c", "\x85", "\u0663", "é", "\u2028", " ", "a", "1", "\n", "_")
READ_OTHERWISE = [
    r"^\s$",
    r"^\S$",
    r"^\w$",
    r"^\W$",
    r"^\d$",
    r"^\D$",
    r"^[^\s]$",
    r"^[^\w-]$",
    r"^.$",
    r"^[\s\S]$",
    "^a$",
]


@pytest.mark.parametrize("is_negated", [False, True])
@pytest.mark.parametrize("pattern", READ_OTHERWISE)
def test_what_is_generated_matches_for_python_too(pattern: str, is_negated: bool) -> None:
    """Of classes of characters it has other tables, and an end for it is also before a last line end."""
    schema = {"type": "string", **({"not": {"pattern": pattern}} if is_negated else {"pattern": pattern})}
    is_generated, is_valid = (
        acceptor(lowered)
        for lowered in (grammar_of("json_schema", schema), open_json_schema_grammar(json.dumps(schema)))
    )
    for text in (*ODD, *(one + "\n" for one in ODD)):
        written = json.dumps(text, ensure_ascii=False)
        matches_in_python = re.search(pattern, text) is not None
        assert is_generated(written) == (is_valid(written) and matches_in_python is not is_negated), text


def test_what_only_others_match_is_generated_all_the_same() -> None:
    assert accepts(grammar_of("json_schema", {"type": "string", "pattern": r"^(?=\s)\uFEFF$"}), '"\ufeff"')
    assert accepts(grammar_of("json_schema", {"type": "string", "pattern": r"^[^\S ]\uFEFF$"}), '"\\t\ufeff"')


def test_how_many_patterns_one_text_may_have_to_match() -> None:
    """The library takes more than all memory for 30, in one step."""
    patterns = [f"a{number}" for number in range(30)]
    eight = {"type": "string", "allOf": [{"pattern": one} for one in patterns[:8]]}
    assert accepts(grammar_of("json_schema", eight), f'"{"".join(patterns[7::-1])}"')
    for schema in (
        {"type": "string", "allOf": [{"pattern": one} for one in patterns]},
        {"type": "string", "pattern": "^" + "".join(f"(?=.*{one})" for one in patterns)},
        {"type": "object", "propertyNames": {"allOf": [{"pattern": one} for one in patterns]}, "minProperties": 1},
    ):
        with pytest.raises(InvalidRequestError, match=r"patterns for the same text; at most 8 are supported"):
            grammar_of("json_schema", schema)


def test_how_many_names_are_held_against_how_many_patterns() -> None:
    names: dict[str, object] = {f"k{number}": {} for number in range(1900)}
    patterns = {f"^k[0-9]*{number}$": {"type": "integer"} for number in range(60)}
    with pytest.raises(InvalidRequestError, match="has 1900 properties beside 60 patterns at #; at most 20000 pairs"):
        grammar_of("json_schema", {"properties": names, "patternProperties": patterns})


@pytest.mark.parametrize("others", [False, {"type": "null"}])
@pytest.mark.parametrize("pattern", ["^(?!a)", "^(?!a$).*$", "^(?!-)[-ab]{0,3}[ab]$", "^((?!ab).)*$", "^(?=a)(?!.*b)"])
def test_names_of_properties_may_look_around(pattern: str, others: object) -> None:
    schema = {
        "type": "object",
        "patternProperties": {pattern: {"type": "integer"}, "^[ab]*$": {"enum": [1, "x", None]}},
        "additionalProperties": others,
    }
    is_valid = acceptor(grammar_of("json_schema", schema))
    reader = Draft202012Validator(schema)
    for name, value in itertools.product(["", "a", "b", "ab", "ba", "-a", "a-", "aa", "c"], [1, 2, "x", None]):
        assert is_valid(f'{{"{name}":{json.dumps(value)}}}') == reader.is_valid({name: value}), (name, value)
