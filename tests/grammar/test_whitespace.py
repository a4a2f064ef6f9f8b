"""White space in JSON, where it is asked for: between any two tokens, and nowhere else."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from sglang.srt.errors import ConfigurationError, InvalidRequestError
from sglang.srt.grammar.frame import BARE, Frame
from sglang.srt.grammar.lowering import Lowering, lower
from sglang.srt.sampling_params import Constraint, SamplingParams
from tests.grammar.test_json_schema import TABLE
from tests.grammar.texts import Kind, acceptor, accepts

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\[\]{},:"\s]+')


def lowered(schema: Any, whitespace: str) -> str:
    return lower(Constraint("json_schema", json.dumps(schema), whitespace))


def spread(text: str, *pieces: str) -> str:
    """With the pieces, one after the other and again, between its tokens."""
    first, *tokens = map(str, TOKEN.findall(text))
    return first + "".join(pieces[place % len(pieces)] + token for place, token in enumerate(tokens))


def is_compact_json(text: str) -> bool:
    return len(TOKEN.findall(text)) > 1 and "".join(TOKEN.findall(text)) == text


@pytest.mark.parametrize(("schema", "accepted", "rejected"), TABLE)
def test_it_stands_between_all_tokens(schema: Any, accepted: list[str], rejected: list[str]) -> None:
    accepts = acceptor(lowered(schema, r"[ \n]?|\t\r"))
    for text in accepted:
        assert accepts(text)
        for pieces in ((" ",), ("\n", ""), ("", "", " ", "\t\r")):
            assert accepts(spread(text, *pieces)), pieces
        assert not accepts(f" {text}") and not accepts(f"{text} ")
        for place in range(len(TOKEN.findall(text)) - 1):
            for wrong in ("  ", "\t", "\r\t", "\f"):
                assert not accepts(spread(text, *[""] * place, wrong, *[""] * len(text))), (place, wrong)
    for text in filter(is_compact_json, rejected):
        assert not accepts(spread(text, " "))


@pytest.mark.parametrize(("schema", "accepted", "rejected"), TABLE)
def test_what_has_to_be_there_is(schema: Any, accepted: list[str], rejected: list[str]) -> None:
    accepts = acceptor(lowered(schema, " "))
    for text in accepted:
        assert accepts(spread(text, " "))
        assert accepts(text) is (len(TOKEN.findall(text)) == 1)


def test_counted_items_and_listed_objects() -> None:
    items: dict[str, Any] = {"contains": {"const": 1}, "minContains": 2, "items": {"enum": [1, {"a": [2, "b, c"]}]}}
    accepts = acceptor(lowered({"type": "array", **items}, " ?"))
    for text in ("[1,1]", '[1,{"a":[2,"b, c"]},1]'):
        assert accepts(text) and accepts(spread(text, " "))
        assert not accepts(spread(text, "  "))
    assert not accepts("[ 1 ]") and not accepts('[1,1,{"a":[2,"b,c"]}]')


def test_names_are_still_told_apart() -> None:
    schema = {"properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "null"}, "type": "object"}
    accepts = acceptor(lowered(schema, " ?"))
    assert accepts('{"a" : 1 , "b" : null }')
    assert not accepts('{"a" : null }') and not accepts('{"\\u0061" : null }')


COUNT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TAGS = {"structures": [{"begin": "<a>", "schema": COUNT, "end": "</a>"}], "triggers": ["<a>"]}


@pytest.mark.parametrize(
    ("kind", "constraint", "frame", "around"),
    [
        ("structural_tag", json.dumps(TAGS), BARE, "x<a>{}</a>"),
        ("ebnf", f'start: "<" %json {json.dumps(COUNT)} ">"', BARE, "<{}>"),
        ("regex", "(.|\n)*", Frame(calls=f'start: "@f" %json {json.dumps(COUNT)}', call_mark="@f"), "@f{}"),
    ],
    ids=["structural tag", "Lark", "calls"],
)
def test_within_other_constraints(kind: Kind, constraint: str, frame: Frame, around: str) -> None:
    grammar = lower(Constraint(kind, constraint, "[ ]?"), frame)
    for text in ('{ "n" : 1 }', '{"n": 1}', '{"n":1}'):
        assert accepts(grammar, around.replace("{}", text))
    assert not accepts(grammar, around.replace("{}", '{"n":  1}'))
    assert not accepts(lower(Constraint(kind, constraint), frame), around.replace("{}", '{"n": 1}'))


def lower_for(lowering: Lowering, params: dict[str, Any]) -> str | None:
    return asyncio.run(lowering.lower(SamplingParams.parse(params, {}, 10)))


def test_the_default_is_for_requests_that_do_not_say() -> None:
    lowering, plain = Lowering("[ ]"), Lowering()
    spaced = lower_for(lowering, {"json_schema": COUNT})
    assert spaced == lower_for(plain, {"json_schema": COUNT, "whitespace_pattern": "[ ]"})
    for none in ("", " {0}"):
        assert lower_for(plain, {"json_schema": COUNT}) == lower_for(
            lowering, {"json_schema": COUNT, "whitespace_pattern": none}
        )
    assert lower_for(lowering, {"regex": "a+"}) == lower_for(plain, {"regex": "a+"})


def test_a_default_that_is_no_white_space_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"constrained_json_whitespace_pattern cannot be used: .* no end"):
        Lowering(" *")


@pytest.mark.parametrize(
    "constraint",
    [
        {"regex": "a+"},
        {"choices": ["a"]},
        {"ebnf": 'root ::= "%json"'},
        {"ebnf": 'start: "%json"'},
        {"structural_tag": {"format": {"type": "regex", "pattern": "json_schema"}}},
    ],
    ids=str,
)
def test_without_json_there_is_no_place_for_it(constraint: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="whitespace_pattern belongs to a JSON Schema, and"):
        lower_for(Lowering(), {**constraint, "whitespace_pattern": " "})


@pytest.mark.parametrize("whitespace", ["", "()", " {0}"])
def test_none_is_none(whitespace: str) -> None:
    schema = {"type": "object", "properties": {"a": {}}}
    assert lowered(schema, whitespace) == lower(Constraint("json_schema", json.dumps(schema)))


@pytest.mark.parametrize(
    ("whitespace", "message"),
    [
        (r"\s?", "whitespace_pattern '\\\\s?' matches more than the white space of JSON: space, \\t, \\n and \\r"),
        ("a", "matches more than"),
        (r"[ \u00a0]", "matches more than"),
        ("[^ ]", "matches more than"),
        (r"[ \n]*", r"has no end; give it one, as in '[ \\n]{0,20}'"),
        ("( {1,})?", "has no end"),
        (" {0,300}", "has 300 characters with its repetitions written out; at most 256 are supported"),
        ("(", "whitespace_pattern is not a regular expression"),
    ],
)
def test_what_may_not_stand_there_is_refused(whitespace: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        lowered({"type": "object"}, whitespace)
