"""The two ways of sending the same requests, over HTTP to a tiny model."""

from __future__ import annotations

import sys

import pytest

import sglang as sgl
from benchmarks import program_over_http
from benchmarks.program_over_http import main, measure
from benchmarks.systems.base import BenchmarkError


def test_both_ways_are_timed_and_write_the_same(
    monkeypatch: pytest.MonkeyPatch, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--generations", "2", "--new-tokens", "2", "--rounds", "2")
    monkeypatch.setattr(sys, "argv", ["driver", "--model", tiny_model, "--threads", "1", *sizes])
    main()
    shown = capsys.readouterr()
    assert "times as long (at most 1.10 wanted)" in shown.out
    assert shown.err.count("s by hand") == 3


class NoServer(sgl.Mock):
    def flush_cache(self) -> None:
        """There is none."""

    async def aclose(self) -> None:
        """Nothing is open."""


def test_other_texts_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sgl, "RuntimeEndpoint", lambda url: NoServer())
    monkeypatch.setattr(program_over_http, "by_hand", lambda client, generations, new_tokens: "one")
    monkeypatch.setattr(program_over_http, "program", lambda backend, generations, new_tokens: "another")
    with pytest.raises(BenchmarkError, match="the program wrote 'another', the requests by hand 'one'"):
        measure("http://127.0.0.1:9", 1, 1, 1)
