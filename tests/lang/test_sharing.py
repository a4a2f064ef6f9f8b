"""Which early part of a prompt keeps runs from sharing the rest."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.sharing import Sharing
from tests.lang.conftest import UseMock

RULES = "You answer questions about the weather. Be brief, be kind, and never guess what you do not know."


@sgl.function
def ask(s: sgl.ProgramState, early: str, question: str) -> None:
    s += "Today is "
    s += early + ". "
    s += RULES + "\nQuestion: " + question
    s += sgl.gen("a") + " and" + sgl.gen("b")


EARLY_LINE = inspect.getsourcelines(ask.func)[1] + 3


def report(*early: str, question: str = "Will it rain?") -> Sharing:
    return sgl.lint_sharing(ask.run_batch([(one, question) for one in early]))


@pytest.mark.parametrize(
    ("kind", "early"),
    [
        ("a timestamp", ["2026-11-21T20:15:07", "2026-11-21T20:15:08"]),
        ("a timestamp", ["2026-11-21 20:15:07.123", "2026-11-22 01:00:00.5"]),
        ("a timestamp", ["20:15", "20:16"]),
        ("a timestamp", ["Nov 21, 2026", "Dec 1, 2026"]),
        ("a timestamp", ["1795292107.5", "1795292108.25"]),
        ("a UUID", ["2f1c3a52-52ab-4b66-9f2e-0123456789ab", "9a1c3a52-52ab-4b66-9f2e-0123456789ab"]),
        ("a number", ["day 17", "day 4,018", "day 9"]),
        ("a hexadecimal id", ["deadbeef01", "c0ffee4211"]),
        ("a path", ["/tmp/run-1/log", "/tmp/run-2/log"]),
        ("white space", ["a  day", "a day"]),
        ("upper and lower case", ["Monday", "monday"]),
        ("text", ["a fine day", "not a fine day"]),
    ],
)
def test_what_differs_is_named(kind: str, early: list[str], mock: sgl.Mock) -> None:
    found = report(*early)
    assert found.breaks
    (difference,) = found.differences
    assert difference.kind == kind
    assert difference.shared_after >= len(RULES + "\nQuestion: Will it rain?")
    assert difference.line == (__file__, EARLY_LINE)
    assert difference.before.endswith("Today is ") or kind in ("a number", "white space")
    assert len(difference.values) == len(early)


def test_it_is_told_in_one_line(mock: sgl.Mock) -> None:
    found = report("2026-11-21T20:15:07", "2026-11-21T20:15:08", "2026-11-21T20:15:08")
    rest = len(". " + RULES + "\nQuestion: Will it rain?") - 2
    assert str(found) == (
        "differs at token 3: a timestamp ('2026-11-21T20:15:07.', '2026-11-21T20:15:08.') after 'Today is ', "
        f"at {__file__}:{EARLY_LINE}; {rest + 1} characters after it are the same again "
        "and would be shared if it came behind them"
    )


def test_the_same_in_another_order(mock: sgl.Mock) -> None:
    lines = ["the first example of it", "another example for you", "a third one"]
    (difference, *_) = report("\n".join(lines), "\n".join([lines[1], lines[0], lines[2]])).differences
    assert difference.kind == "the same in another order"


def test_several_differences_come_in_order(mock: sgl.Mock) -> None:
    states = [ask.run("2026-11-21", "Is it cold?"), ask.run("2026-11-22", "Will it rain?")]
    first, last = sgl.lint_sharing(states).differences
    assert (first.kind, first.shared_after > len(RULES)) == ("a timestamp", True)
    assert (last.values, last.shared_after) == (("Is it cold?", "Will it rain?"), 0)
    assert str(last).endswith("nothing after it is the same")


def test_hundreds_of_differences(mock: sgl.Mock) -> None:
    """A table with other numbers in every run. The time this takes grows with the text, not with its square."""

    def table(step: int) -> str:
        return "\n".join(f"Row {row} of the long table has the value {row * step}." for row in range(1, 400))

    found = report(table(10), table(11), table(12))
    assert len(found.differences) == 399
    assert {difference.kind for difference in found.differences} == {"a number"}
    assert [difference.values for difference in found.differences[:2]] == [("10.", "11.", "12."), ("20.", "22.", "24.")]


def test_only_what_differs_last_breaks_nothing(mock: sgl.Mock) -> None:
    found = sgl.lint_sharing([ask.run("Monday", "Is it cold?"), ask.run("Monday", "Will it rain?")])
    assert not found.breaks
    assert len(found.differences) == 1


def test_what_the_model_says_does_not_count(use_mock: UseMock) -> None:
    answers = iter(["yes", "x", "no", "x"])
    use_mock(lambda *_: next(answers))
    found = sgl.lint_sharing(ask.run_batch([("Monday", "Why?")] * 2, num_threads=1))
    assert (found.differences, str(found)) == ((), "2 runs share all that they begin with")


def test_a_backend_that_counts_no_tokens(mock: sgl.Mock) -> None:
    class Silent(sgl.Mock):
        async def count_tokens(self, text: str) -> int:
            raise sgl.UnsupportedError("no")

    states = ask.run_batch([("20:15", "Why?"), ("20:16", "Why?")], backend=Silent())
    (difference,) = sgl.lint_sharing(states).differences
    assert (difference.token, difference.character) == (None, 9)
    assert str(difference).startswith("differs at character 9: a timestamp")


def test_tokens_are_the_engine_s(tiny_engine: sgl.Engine) -> None:
    options: dict[str, Any] = {"max_new_tokens": 1, "backend": tiny_engine}
    (difference,) = sgl.lint_sharing(ask.run_batch([("20:15", "Why?"), ("20:16", "Why?")], **options)).differences
    assert difference.token == len("Today is ")


def test_a_long_word_that_goes_on_in_one_run(mock: sgl.Mock) -> None:
    word = "x" * 50
    (difference, *_) = report(word + " one", word + "y one", word + " one").differences
    assert difference.kind == "text"


def test_one_run_shares_with_nobody(mock: sgl.Mock) -> None:
    with pytest.raises(ValueError, match="two runs or more, not 1"):
        sgl.lint_sharing([ask.run("Monday", "Why?")])
