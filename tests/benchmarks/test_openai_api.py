"""Servers known by their address: one of ours, and one that says what it is told to."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import batch
from benchmarks.processes import free_port
from benchmarks.rounds import running
from benchmarks.systems.base import Answer, BenchmarkError, Request
from benchmarks.systems.openai_api import RunningServer
from benchmarks.systems.ours import OurServer
from tests.lang.backends import fake_server
from tests.lang.backends.fake_server import FakeServer, events

USAGE = {"prompt_tokens": 2, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}
WHOLE = {"choices": [{"text": "abc", "token_ids": [7, 8, 9]}], "usage": USAGE}
MODELS = {"data": [{"id": "some model"}]}


@pytest.fixture(scope="module")
def our_url(tiny_model: str) -> Iterator[str]:
    server = OurServer("given", model_path=tiny_model, num_threads=1)
    with running([server]):
        yield server.url


def test_one_of_our_servers_is_a_peer(
    our_url: str, tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--streams", "2", "--prompt-tokens", "8", "--new-tokens", "4", "--peer-url", f"other={our_url}")
    given = ("--model", tiny_model, "--threads", "1", "--quick", "--peers", "url")
    files = ("--json", str(tmp_path / "values.json"), "--plot", str(tmp_path / "plot.png"))
    monkeypatch.setattr(sys, "argv", ["driver", *given, *sizes, *files])
    batch.main()
    cases = json.loads((tmp_path / "values.json").read_text())["cases"]
    assert [list(case["values"]) for case in cases] == [["sglang", "other"]] * 2
    assert (tmp_path / "plot.png").stat().st_size > 0
    assert "x the best peer, other" in capsys.readouterr().out


def test_all_tokens_must_come(our_url: str) -> None:
    peer = RunningServer("other", our_url)
    peer.start()
    assert asyncio.run(peer.stream(Request([1, 2], 3))) > 0
    reply = events({"choices": [], "usage": {"completion_tokens": 2}})
    with pytest.raises(BenchmarkError, match="other streamed 2 tokens, not 3"):
        from_fake(lambda peer: peer.stream(Request([1, 2], 3)), streamed=reply)
    with pytest.raises(BenchmarkError, match="does not say how many"):
        from_fake(lambda peer: peer.stream(Request([1, 2], 3)), streamed=events({"choices": [], "usage": None}))


def from_fake(
    ask: Callable[[RunningServer], Any], *, streamed: Any = None, whole: Any = WHOLE, refuses_ids: bool = False
) -> Any:
    """What comes of asking a server that answers so, and what it was asked last."""

    def answer(path: str, body: Any) -> fake_server.Answer:
        if path == "/v1/models":
            return fake_server.Answer(MODELS)
        if body["stream"]:
            return fake_server.Answer(streamed.data, headers={"connection": "close"})
        if refuses_ids and "return_token_ids" in body:
            return fake_server.Answer({"error": "unknown field"}, status=400)
        return fake_server.Answer(whole, headers={"connection": "close"})

    with FakeServer(answer) as fake:
        peer = RunningServer("other", fake.url)
        peer.start()
        return asyncio.run(ask(peer)), fake.asked[-1].body


def test_ids_of_new_tokens_and_the_cache() -> None:
    answer, body = from_fake(lambda peer: peer.complete(Request([1, 2], 3)))
    assert answer == Answer([7, 8, 9], 1)
    assert body["model"] == "some model"
    assert (body["prompt"], body["max_tokens"], body["ignore_eos"], body["return_token_ids"]) == ([1, 2], 3, True, True)


def test_a_schema_ends_an_answer() -> None:
    _, body = from_fake(lambda peer: peer.complete(Request([1, 2], 3, {"type": "object"})))
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "ignore_eos" not in body


def test_a_server_that_does_not_know_return_token_ids_is_not_asked_for_them() -> None:
    _, body = from_fake(lambda peer: peer.complete(Request([1, 2], 3)), refuses_ids=True)
    assert "return_token_ids" not in body


def test_ids_that_are_needed_and_not_there() -> None:
    whole = {**WHOLE, "choices": [{}]}
    with pytest.raises(BenchmarkError, match="other returns no ids of new tokens"):
        from_fake(lambda peer: peer.complete(Request([1, 2], 3)), whole=whole)


def test_our_server_tells_the_ids_of_new_tokens(our_url: str) -> None:
    peer = RunningServer("other", our_url)
    peer.start()
    assert len(asyncio.run(peer.complete(Request([1, 2], 3))).token_ids) == 3


def test_a_server_that_names_no_model() -> None:
    fake = FakeServer(lambda path, body: fake_server.Answer({"data": []}))
    with fake, pytest.raises(BenchmarkError, match=r"/v1/models names no model: '{\"data\": \[\]}'"):
        RunningServer("other", fake.url).start()


def test_a_server_that_closes_the_connection() -> None:
    fake = FakeServer(lambda path, body: fake_server.DROPPED)
    with fake, pytest.raises(BenchmarkError, match=f"other at {fake.url} cannot be asked: .* without an answer"):
        asyncio.run(RunningServer("other", fake.url).stream(Request([1], 1)))


def test_a_server_that_hangs_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        peer = RunningServer("other", url, request_seconds=0.05)
        with pytest.raises(BenchmarkError, match=rf"other at {url} did not answer within 0\.05 s"):
            asyncio.run(peer.stream(Request([1], 1)))
        with pytest.raises(BenchmarkError, match=rf"other at {url} cannot be asked: timed out"):
            peer.start()


def test_nobody_at_the_address() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(BenchmarkError, match=f"other at {url} cannot be asked"):
        RunningServer("other", url).start()
