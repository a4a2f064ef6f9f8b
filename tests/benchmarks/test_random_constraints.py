"""The random constraints: what is drawn can be met, recognisers are right, and no failure is counted as a success."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.random_constraints import outcomes
from benchmarks.random_constraints.__main__ import main
from benchmarks.random_constraints.asking import Asked
from benchmarks.random_constraints.case import Case
from benchmarks.random_constraints.formats import CHECKER, EXAMPLES
from benchmarks.random_constraints.hostile import matches
from benchmarks.random_constraints.outcomes import Judged, Outcome, judge, summarise
from benchmarks.random_constraints.rules import (
    GBNF,
    LARK,
    Choice,
    Literal,
    Node,
    OneOf,
    Recogniser,
    Reference,
    Repeat,
    Rules,
    Sequence,
    draw_rules,
)
from benchmarks.random_constraints.schemas import schema_case
from benchmarks.random_constraints.source import KINDS, cases, named
from benchmarks.systems.base import BenchmarkError
from benchmarks.thin_http import Reply

RULES: Rules = {
    "root": Sequence((Literal("<"), Repeat(Reference("pair"), 0, None), Literal(">"))),
    "pair": Choice((Sequence((OneOf("a-c"), Repeat(OneOf("0-9"), 1, 3))), Reference("root"))),
}


def test_rules_are_written_in_both_notations() -> None:
    assert GBNF.write(RULES) == 'root ::= "<" pair* ">"\npair ::= [a-c] [0-9]{1,3} | root\n'
    assert LARK.write(RULES) == 'root: "<" pair* ">"\npair: /[a-c]/ /[0-9]/{1,3} | root\n'


def test_what_would_be_read_differently_is_grouped() -> None:
    twice = Repeat(Repeat(Literal("a"), 1, None), 0, 1)
    nested = Sequence((Choice((Literal("b"), Sequence((Literal("c"), twice)))), Literal("d")))
    assert GBNF.write({"root": nested}) == 'root ::= ("b" | "c" ("a"+)?) "d"\n'


@pytest.mark.parametrize("text", ["<>", "<a1>", "<a123b0>", "<<><c9<>>>"])
def test_texts_by_the_rules(text: str) -> None:
    assert Recogniser(RULES, "root").accepts(text)


@pytest.mark.parametrize("text", ["", "<", "<>>", "<a>", "<a1234>", "<d1>", "a1", "<<>"])
def test_texts_against_the_rules(text: str) -> None:
    assert not Recogniser(RULES, "root").accepts(text)


def test_rules_that_begin_with_themselves_and_match_nothing() -> None:
    left = {"root": Choice((Sequence((Reference("root"), Reference("nothing"), Literal("a"))), Reference("nothing")))}
    recogniser = Recogniser({**left, "nothing": Repeat(Repeat(Literal("b"), 0, 1), 0, None)}, "root")
    assert [text for text in ("", "a", "aaa", "bba", "b", "c", "ac") if recogniser.accepts(text)] == [
        *("", "a", "aaa", "bba", "b"),
    ]


def text_by(draw: random.Random, node: Node, rules: Rules, depth: int = 0) -> str:
    """Deep down the first of several ways, which comes to an end."""
    match node:
        case Literal(text):
            return text
        case OneOf(members):
            return members[0]
        case Reference(rule):
            return text_by(draw, rules[rule], rules, depth + 1)
        case Sequence(parts):
            return "".join(text_by(draw, part, rules, depth + 1) for part in parts)
        case Choice(options):
            return text_by(draw, options[0] if depth > 20 else draw.choice(options), rules, depth + 1)
        case Repeat(repeated, low, high):
            times = draw.randint(low, low + 3 if high is None else high)
            return "".join(text_by(draw, repeated, rules, depth + 1) for _ in range(times))


@pytest.mark.parametrize("seed", range(20))
def test_a_text_made_by_random_rules_follows_them_and_half_of_it_does_not(seed: int) -> None:
    draw = random.Random(seed)
    rules = draw_rules(draw, "root")
    text = text_by(draw, rules["root"], rules)
    assert Recogniser(rules, "root").accepts(text)
    assert not Recogniser(rules, "root").accepts(text[:-1])


@pytest.mark.parametrize("kind", ["regex", "gbnf", "lark"])
def test_examples_meet_their_constraints(kind: str) -> None:
    drawn = [named(f"{kind} {seed}") for seed in range(60)]
    assert [case.name for case in drawn if not case.is_met(case.example)] == []


def test_the_model_is_told_what_is_wanted() -> None:
    case = Case("regex 1", "regex", "a+", True, bool, "aa")
    assert case.prompt == "Answer by this regex:\na+\n\nAn example of an answer:\naa\n\nAn answer:\n"


@pytest.mark.parametrize("name", EXAMPLES)
def test_formats_are_checked(name: str) -> None:
    assert CHECKER.conforms(EXAMPLES[name], name)
    assert not CHECKER.conforms("not of any format\n", name)
    assert CHECKER.conforms(5, name)


@pytest.mark.parametrize(
    ("name", "text"),
    [("date", "2023-02-29"), ("date-time", "2024-02-29 10:00:00Z"), ("duration", "PT"), ("hostname", "-a.b")],
)
def test_nearly_of_a_format(name: str, text: str) -> None:
    assert not CHECKER.conforms(text, name)


def test_numbers_are_exact() -> None:
    cents = schema_case("schema 1", {"type": "number", "multipleOf": 0.01})
    assert cents.is_met("0.07")
    assert cents.is_met("7e3")
    assert not cents.is_met("0.075")
    whole = schema_case("schema 2", {"type": "integer"})
    assert whole.is_met("1.0")
    assert not whole.is_met("1.5")
    assert not whole.is_met("1.")


def test_a_case_is_made_again_from_its_name() -> None:
    drawn = cases(0, 90)
    assert {case.name.rpartition(" ")[0] for case in drawn} == set(KINDS)
    assert [named(case.name).constraint for case in drawn] == [case.constraint for case in drawn]


def test_most_that_are_not_odd_can_be_met_and_a_third_is_odd() -> None:
    drawn = cases(0, 900)
    odd = [case for case in drawn if case.name.startswith("odd")]
    assert len(odd) == 300
    assert sum(case.can_be_met is True for case in drawn if case not in odd) > 450


@pytest.mark.parametrize("name", ["schema", "nonsense 5", "schema x", ""])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(BenchmarkError, match="should be a kind and a number; kinds are schema, regex"):
        named(name)


# --- judging ----------------------------------------------------------------------------------------------------------


def case_of(regex: str = "a+", can_be_met: bool | None = True) -> Case:
    return Case("regex 1", "regex", regex, can_be_met, lambda text: matches(regex, text))


def replied(status: int, body: object) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content, None, 0.0)


def answer(text: str, **reason: object) -> Reply:
    return replied(200, {"text": text, "meta_info": {"finish_reason": reason}})


def refusal(message: str) -> Reply:
    return replied(400, {"error": {"message": message}})


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (answer("aa", type="stop"), Outcome.VALID),
        (answer("ab", type="stop"), Outcome.INVALID),
        (answer("aa", type="length", closed=True), Outcome.CLOSED),
        (answer("ab", type="length", closed=True), Outcome.INVALID),
        (answer("ab", type="length", closed=False), Outcome.OPEN),
        (answer("ab", type="length"), Outcome.OPEN),
        (refusal("regex has a lookahead"), Outcome.REFUSED),
        (refusal("regex cannot be satisfied"), Outcome.WRONGLY_REFUSED),
        (refusal(""), Outcome.BROKEN),
        (replied(400, b"Bad Request"), Outcome.BROKEN),
        (replied(500, {"error": {"message": "no"}}), Outcome.BROKEN),
        (None, Outcome.BROKEN),
    ],
)
def test_outcomes(reply: Reply | None, expected: Outcome) -> None:
    assert judge(Asked(case_of(), reply, 1.0)).outcome is expected


def test_only_what_was_answered_is_asked_once_more() -> None:
    answered = replied(200, {"text": "aa", "meta_info": {"completion_tokens": 7}})
    replies = [answered, refusal("no"), replied(500, {}), None]
    assert [Asked(case_of(), reply, 1.0).num_tokens for reply in replies] == [7, 0, 0, 0]


def test_what_is_said_to_be_unsatisfiable_is_no_failure_where_nothing_is_known() -> None:
    case = case_of(can_be_met=None)
    assert judge(Asked(case, refusal("regex cannot be satisfied"), 1.0)).outcome is Outcome.REFUSED


def test_a_check_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "CHECK_SECONDS", 0.01)
    endless = Asked(case_of("(a|a)*b"), answer("a" * 60, type="stop"), 1.0)
    assert judge(endless).outcome is Outcome.UNCHECKED


def test_shares_are_of_what_can_be_met() -> None:
    found = [Outcome.VALID] * 5 + [Outcome.CLOSED, Outcome.OPEN, Outcome.REFUSED]
    judged = [Judged(case_of(), outcome, "", 1.0) for outcome in found]
    judged += [Judged(case_of(can_be_met=None), outcome, "", 1.0) for outcome in (Outcome.OPEN, Outcome.INVALID)]
    summary = summarise(judged)
    assert summary.num_satisfiable == 8
    assert summary.answered == 6 / 8
    assert summary.ended_by_budget == 2 / 7
    assert [one.outcome for one in summary.failures] == [Outcome.INVALID]
    assert summary.by_kind == {"regex": Counter([*found, Outcome.OPEN, Outcome.INVALID])}


# --- the whole driver -------------------------------------------------------------------------------------------------


def test_a_run_on_a_tiny_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    sizes = ("--count", "18", "--streams", "6", "--new-tokens", "24", "--time-limit", "300")
    monkeypatch.setattr(sys, "argv", ["driver", "--model", tiny_model, "--threads", "1", "--json", str(path), *sizes])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().out
    assert ended.value.code == 0, shown
    assert {row["name"] for row in json.loads(path.read_text())} == {case.name for case in cases(0, 18)}
    assert "beside constraints" in shown
