"""Threads that make grammars ready step back for those that compute."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from sglang.srt.grammar.workers import NICENESS, grammar_threads


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
