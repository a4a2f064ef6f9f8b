"""Threads that make grammars ready step back for those that compute."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from sglang.srt.grammar.lowering import lower
from sglang.srt.grammar.workers import NICENESS, grammar_threads, on_large_stack
from sglang.srt.sampling_params import Constraint


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
def test_grammar_threads_have_a_lower_priority_than_the_one_that_made_them() -> None:
    ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with grammar_threads(1, "test") as threads:
        theirs = threads.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    assert theirs == min(ours + NICENESS, 19)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == ours


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
def test_where_priorities_are_forbidden_grammars_are_made_ready_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(which: int, who: int, priority: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", forbidden)
    with grammar_threads(1, "test") as threads:
        assert threads.submit(lambda: "ready").result() == "ready"
    assert "at the priority of the steps: [Errno 1] Operation not permitted" in caplog.text


def test_rules_that_lead_to_each_other_do_not_end_the_process() -> None:
    """The library calls itself for each of 1,000 rules and 4,000 groups, and has no bound but the stack."""
    rules = [f'r{i}: ("a" ("b" ("c" ("d" r{i + 1} | "1") | "2") | "3") | "4")' for i in range(1000)]
    grammar = "\n".join(["start: r0", *rules, 'r1000: "z"'])
    with grammar_threads(2, "test") as threads:
        assert threads.submit(lower, Constraint("ebnf", grammar, "")).result()
    assert on_large_stack(lambda: lower(Constraint("ebnf", grammar, "")))


def test_what_is_raised_on_a_large_stack_is_raised_where_it_was_asked_for() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        on_large_stack(fail)
    assert threading.stack_size() == 0, "other threads have stacks of the usual size"
