"""``--log-requests``, read where an operator reads it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

import sglang as sgl
from tests.helpers.runtime import SECONDS, Server, eventually

KEY = "a-key-that-is-secret"
GREEDY = {"temperature": 0.0, "max_new_tokens": 4, "ignore_eos": True}
LONG = {**GREEDY, "max_new_tokens": 90_000}


def start(tiny_model: str, *options: str) -> Server:
    return Server("--model-path", tiny_model, "--num-threads", "1", "--log-requests", *options)


@pytest.fixture(scope="module")
def logging_all(tiny_model: str) -> Iterator[Server]:
    """Everything about requests, as JSON."""
    shown = ("--log-requests-level", "3", "--log-requests-format", "json")
    with start(tiny_model, *shown, "--api-key", KEY) as running:
        yield running
        assert "Traceback" not in running.log, running.log
        assert KEY not in running.log


@pytest.fixture
def client(logging_all: Server) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=logging_all.url, timeout=SECONDS, headers=headers) as made:
        yield made


def lines_of(server: Server, rid: str, count: int) -> list[dict[str, Any]]:
    """Those of a request, once there are as many."""

    def found() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
        return [line for line in lines if (line["rid"] or line["http"]).startswith(rid)]

    eventually(lambda: len(found()) >= count, f"{count} lines of {rid}")
    return found()


def generate(client: httpx.Client, rid: str, **fields: Any) -> httpx.Response:
    return client.post("/generate", json={"text": "Hi", "sampling_params": GREEDY, "rid": rid, **fields})


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_has_a_line_at_each_end(logging_all: Server, client: httpx.Client, stream: bool) -> None:
    rid = f"whole-{stream}"
    answer = generate(client, rid, stream=stream)
    result = json.loads(answer.text.split("data: ")[-2]) if stream else answer.json()
    received, finished = lines_of(logging_all, rid, 2)
    assert (received["event"], received["text"]) == ("request.received", "Hi")
    assert received["sampling_params"] == GREEDY
    assert (finished["event"], finished["text"]) == ("request.finished", result["text"])
    assert finished["output_ids"] == result["output_ids"]
    meta = result["meta_info"]
    for name in ("finish_reason", "prompt_tokens", "completion_tokens", "cached_tokens", "first_token_latency"):
        assert finished[name] == meta[name]


def test_every_door_has_them(logging_all: Server, client: httpx.Client) -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "rid": "chat"}
    assert client.post("/v1/chat/completions", json={**chat, "n": 2}).status_code == 200
    received, *ends = lines_of(logging_all, "chat", 3)
    assert received["text"] == "user: Hi\n"
    assert {line["rid"]: line["event"] for line in ends} == {"chat_0": "request.finished", "chat_1": "request.finished"}
    body = {"text": "Q:", "choices": ["yes", "no"], "rid": "choice"}
    for path, rid in (("/select", "choice-1"), ("/score_choices", "choice-2")):
        assert client.post(path, json={**body, "rid": rid}).status_code == 200
        assert [line["event"] for line in lines_of(logging_all, rid, 2)] == ["request.received", "request.finished"]


def test_a_request_that_is_refused(logging_all: Server, client: httpx.Client) -> None:
    answer = generate(client, "refused", sampling_params={"temperature": -1})
    assert answer.status_code == 400
    received, failed = lines_of(logging_all, "refused", 2)
    assert (received["sampling_params"], failed["event"]) == ({"temperature": -1}, "request.failed")
    assert failed["error"]["message"] == answer.json()["error"]["message"]


def test_what_is_refused_after_it_was_received_has_no_third_line(logging_all: Server, client: httpx.Client) -> None:
    before = logging_all.log.count('"rid": null')
    for stream in (False, True):
        assert generate(client, f"no-{stream}", stream=stream, sampling_params={"top_p": 5}).status_code == 400
        chat = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "rid": f"chat-no-{stream}"}
        body = {**chat, "top_p": 5, "stream": stream}
        assert client.post("/v1/chat/completions", json=body).status_code == 400
        assert len(lines_of(logging_all, f"chat-no-{stream}", 2)) == len(lines_of(logging_all, f"no-{stream}", 2)) == 2
    assert logging_all.log.count('"rid": null') == before


def test_too_many_at_once_have_one_together(logging_all: Server, client: httpx.Client) -> None:
    before = logging_all.log.count("request.")
    answer = client.post("/v1/completions", json={"model": "m", "prompt": ["a"] * 40_000})
    assert answer.status_code == 400
    (failed,) = lines_of(logging_all, "POST /v1/completions", 1)
    assert "40000 prompts" in failed["error"]["message"]
    assert logging_all.log.count("request.") == before + 1


@pytest.mark.parametrize(
    ("path", "body"), [("/generate", "{"), ("/v1/chat/completions", '{"model": "m"}'), ("/v1/nowhere", "")]
)
def test_what_no_door_can_read_has_one(logging_all: Server, client: httpx.Client, path: str, body: str) -> None:
    answer = client.post(path, content=body)
    assert answer.status_code in (400, 404)
    (failed,) = lines_of(logging_all, f"POST {path}", 1)
    assert (failed["event"], failed["rid"]) == ("request.failed", None)
    assert failed["error"]["message"] == answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves(logging_all: Server, stream: bool) -> None:
    rid = f"left-{stream}"
    url = httpx.URL(logging_all.url)
    body = json.dumps({"text": "Hi", "sampling_params": LONG, "rid": rid, "stream": stream})
    head = f"POST /generate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((url.host, url.port or 80)) as client:
        client.sendall((head + body).encode())
        lines_of(logging_all, rid, 1)
    _, aborted = lines_of(logging_all, rid, 2)
    assert aborted["event"] == "request.aborted"


def test_the_death_of_the_engine_is_the_end_of_a_request(tiny_model: str) -> None:
    with start(tiny_model, "--log-requests-format", "json") as server:
        body = {"text": "Hi", "sampling_params": LONG, "rid": "r", "stream": True}
        with httpx.stream("POST", f"{server.url}/generate", json=body, timeout=SECONDS) as response:
            events = response.iter_lines()
            next(events)
            psutil.Process(server.engine_pid).kill()
            assert list(events)
        _, failed = lines_of(server, "r", 2)
    assert (failed["event"], failed["error"]["type"]) == ("request.failed", "engine_dead")


def test_without_other_options_a_line_is_text_and_cut_short(tiny_model: str) -> None:
    with start(tiny_model) as server:
        body = {"text": "x" * 5000, "sampling_params": GREEDY, "rid": "r"}
        assert httpx.post(f"{server.url}/generate", json=body, timeout=SECONDS).status_code == 200
        eventually(lambda: "request.finished" in server.log, "the request has ended")
        received, finished = (line for line in server.log.splitlines() if " request." in line)
    assert re.match(r'\S+ request\.received rid="r" .* text="xxx', received)
    assert len(received) < 2500
    assert re.search(r' completion_tokens=4 .* e2e_latency=[0-9.e-]+ .* text="', finished)


def test_an_engine_in_process_has_them_too(tiny_model: str, capfd: pytest.CaptureFixture[str]) -> None:
    with sgl.Engine(model_path=tiny_model, num_threads=1, log_requests=True, log_requests_level=1) as engine:
        engine.generate("Hi", GREEDY, rid="mine")
    told = capfd.readouterr().err.splitlines()
    assert [line.split()[1:3] for line in told] == [
        ["request.received", 'rid="mine"'],
        ["request.finished", 'rid="mine"'],
    ]
    assert '"temperature": 0.0' in told[0]
