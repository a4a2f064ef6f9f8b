"""What an operator asks of a server and tells it: keys, names, health, information, metrics, cache and aborts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import sglang as sgl
from tests.helpers.runtime import SECONDS, Server, eventually

KEY = "a key"
NAME = "the served name"
LONG = {"temperature": 0.0, "max_new_tokens": 90_000, "ignore_eos": True}
"""Of a tiny model: takes minutes."""


@pytest.fixture(scope="module")
def guarded(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the options that change how it answers, and those that change nothing."""
    template = tmp_path_factory.mktemp("template") / "template.jinja"
    template.write_text("{% for message in messages %}[{{ message.role }}] {{ message.content }} {% endfor %}")
    named = ("--api-key", KEY, "--served-model-name", NAME, "--chat-template", str(template), "--model", tiny_model)
    no_effect = ("--tp", "1", "--base-gpu-id", "0", "--enable-metrics", "--enable-radix-cache", "--skip-server-warmup")
    with Server("--num-threads", "1", "--host", "0.0.0.0", *named, *no_effect) as running:
        yield running
        assert "Traceback" not in running.log, running.log


@pytest.fixture
def client(guarded: Server) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=guarded.url, timeout=SECONDS, headers=headers) as connected:
        yield connected


def samples(client: httpx.Client) -> dict[str, float]:
    """The metrics by name, buckets left out."""
    response = client.get("/metrics")
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            assert sample.labels["model_name"] == NAME
            if not sample.name.endswith("_bucket"):
                found[sample.name.removeprefix("sglang:")] = sample.value
    return found


# --- who may, and from where -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/generate", "/model_info", "/v1/models", "/docs", "/flush_cache", "/nowhere"])
@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer a", "Bearer a keys", "Basic a key", KEY, "Bearer \xfc"])
def test_without_the_key_nothing_is_told(guarded: Server, path: str, header: str | None) -> None:
    headers = {} if header is None else {b"authorization": header.encode("latin-1")}
    response = httpx.request("POST" if path == "/generate" else "GET", guarded.url + path, headers=headers)
    assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("authentication_error", 401, None)
    assert "Authorization: Bearer KEY" in error["message"]


def test_a_scheme_may_be_written_in_any_case(guarded: Server) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        response = httpx.get(f"{guarded.url}/model_info", headers={"Authorization": f"{scheme} {KEY}"})
        assert response.status_code == 200


def test_every_documented_route_wants_the_key(guarded: Server, client: httpx.Client) -> None:
    routes = [(way, path) for path, ways in client.get("/openapi.json").json()["paths"].items() for way in ways]
    open_paths = {path for way, path in routes if httpx.request(way, guarded.url + path).status_code != 401}
    assert open_paths == {"/health", "/health_generate", "/metrics"}
    assert len(routes) > 15


def test_what_needs_no_key(guarded: Server) -> None:
    for path in ("/health", "/health_generate", "/metrics"):
        assert httpx.get(guarded.url + path, timeout=SECONDS).status_code == 200
    asking = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    asking["Access-Control-Request-Headers"] = "authorization"
    preflight = httpx.options(f"{guarded.url}/generate", headers=asking)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-headers"] == "authorization"


def test_head_is_get_without_the_body(guarded: Server, client: httpx.Client) -> None:
    """What watchers of a server ask by default."""
    for path in ("/health", "/v1/models", "/model_info", "/nowhere"):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["content-length"] == str(len(got.content))
    assert httpx.head(f"{guarded.url}/health").status_code == 200
    assert httpx.head(f"{guarded.url}/model_info").status_code == 401
    assert [client.head(path).status_code for path in ("/generate", "/flush_cache")] == [405, 405]


def test_a_page_of_another_origin_may_read_answers(guarded: Server, client: httpx.Client) -> None:
    origin = {"Origin": "https://example.org"}
    assert client.get("/model_info", headers=origin).headers["access-control-allow-origin"] == "*"
    assert httpx.get(f"{guarded.url}/model_info", headers=origin).headers["access-control-allow-origin"] == "*"


def test_without_a_key_of_its_own_a_server_takes_any(server_url: str) -> None:
    response = httpx.get(f"{server_url}/model_info", headers={"Authorization": "Bearer EMPTY"})
    assert response.status_code == 200


# --- information -----------------------------------------------------------------------------------------------------


def test_model_info(client: httpx.Client, tiny_model: str) -> None:
    info = client.get("/model_info").json()
    assert info == client.get("/get_model_info").json() == {
        "model_path": tiny_model,
        "tokenizer_path": tiny_model,
        "is_generation": True,
        "preferred_sampling_params": None,
        "weight_version": "default",
        "has_image_understanding": False,
        "has_audio_understanding": False,
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "served_model_name": NAME,
        "max_model_len": 100_000,
        "vocab_size": 257,
        "has_chat_template": True,
        "segments": True,
        "select": True,
    }  # fmt: skip


def test_server_info_has_the_options_and_the_state_but_no_secret(client: httpx.Client, tiny_model: str) -> None:
    response = client.get("/server_info")
    info = response.json()
    assert info.keys() == client.get("/get_server_info").json().keys()
    assert (info["model_path"], info["host"], info["served_model_name"]) == (tiny_model, "0.0.0.0", NAME)
    assert info["version"] == sgl.__version__
    assert info["max_total_num_tokens"] == info["max_total_tokens"] > 0
    assert info["internal_states"][0]["num_running"] == 0
    assert "api_key" not in info and KEY not in response.text


def test_the_chat_template_of_the_option_is_used(client: httpx.Client) -> None:
    tokens = client.post("/tokenize", json={"messages": [{"role": "user", "content": "hi"}]}).json()["tokens"]
    assert client.post("/detokenize", json={"tokens": tokens}).json() == {"text": "[user] hi "}


def test_the_log_says_that_it_is_up(guarded: Server) -> None:
    port = httpx.URL(guarded.url).port
    assert f"Uvicorn running on http://0.0.0.0:{port} (Press CTRL+C to quit)" in guarded.log
    assert "Application startup complete." in guarded.log
    assert "The server is fired up and ready to roll!" in guarded.log


def test_every_line_of_the_log_says_when_and_which_process(guarded: Server) -> None:
    start = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (server|engine)\] (INFO|WARNING|ERROR) ")
    lines = guarded.log.splitlines()
    assert {"server", "engine"} == {match[1] for line in lines if (match := start.match(line))}
    assert not [line for line in lines if "Uvicorn" in line and not start.match(line)]


def test_the_documentation_shows_what_bodies_hold(client: httpx.Client, tiny_engine: sgl.Engine) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    def fields(path: str) -> dict[str, Any]:
        return dict(paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"])

    assert {"prompt", "messages", "add_special_tokens", "model"} < fields("/tokenize").keys()
    assert fields("/abort_request").keys() == {"rid", "abort_all"}
    generate = fields("/generate")
    assert {"text", "input_ids", "segments", "stream"} <= generate.keys()
    one, _ = generate["sampling_params"]["anyOf"]
    known = [*one["properties"], "n"]
    tiny_engine.generate("a", {**dict.fromkeys(known), "max_new_tokens": 0})  # none of them is unknown
    assert {"temperature", "stop", "regex", "json_schema"} <= set(known)
    assert client.get("/docs").status_code == 200


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_metrics_count_requests_tokens_and_times(client: httpx.Client) -> None:
    client.post("/flush_cache")
    before = samples(client)
    prompt = {"text": "twelve bytes", "sampling_params": {"max_new_tokens": 5, "ignore_eos": True}}
    assert client.post("/generate", json=prompt).json()["meta_info"]["cached_tokens"] == 0
    with client.stream("POST", "/generate", json={**prompt, "stream": True}) as response:
        response.read()
    after = samples(client)
    gained = {name: after[name] - before[name] for name in after if not name.endswith("_created")}
    assert gained["num_requests_total"] == 2
    assert gained["num_aborted_requests_total"] == 0
    assert gained["prompt_tokens_total"] == 24
    assert gained["generation_tokens_total"] == 10
    assert gained["cached_tokens_total"] == 11
    assert after["cache_hit_rate"] == after["cached_tokens_total"] / after["prompt_tokens_total"]
    assert gained["e2e_request_latency_seconds_count"] == 2
    assert gained["time_to_first_token_seconds_count"] == 2
    assert gained["inter_token_latency_seconds_count"] == 4
    assert 0 < gained["time_to_first_token_seconds_sum"] < gained["e2e_request_latency_seconds_sum"]
    assert after["gen_throughput"] > 0


def test_metrics_show_what_runs_and_what_was_aborted(client: httpx.Client) -> None:
    before = samples(client)
    assert (before["num_running_reqs"], before["num_used_tokens"], before["token_usage"]) == (0, 0, 0)
    body = {"text": "a", "sampling_params": LONG, "stream": True}
    with client.stream("POST", "/generate", json=body) as response:
        chunks = response.iter_raw()  # must live: its end is the end of the connection
        next(chunks)
        during = samples(client)
        assert (during["num_running_reqs"], during["num_queue_reqs"]) == (1, 0)
        assert during["num_used_tokens"] > 0
        assert 0 < during["token_usage"] == during["num_used_tokens"] / during["max_total_num_tokens"] < 1
    eventually(lambda: samples(client)["num_running_reqs"] == 0, "its client has left")
    assert samples(client)["num_aborted_requests_total"] == before["num_aborted_requests_total"] + 1


# --- the cache, aborts, health ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_flushing_forgets_what_nobody_uses(client: httpx.Client, method: str) -> None:
    body = {"text": "to be forgotten", "sampling_params": {"max_new_tokens": 1}}
    client.post("/generate", json=body)
    assert client.post("/generate", json=body).json()["meta_info"]["cached_tokens"] == 14
    response = client.request(method, "/flush_cache")
    assert response.status_code == 200 and response.text.startswith("Cache flushed.")
    assert client.post("/generate", json=body).json()["meta_info"]["cached_tokens"] == 0


def running(client: httpx.Client) -> int:
    return int(client.get("/server_info").json()["internal_states"][0]["num_running"])


@pytest.mark.parametrize(
    ("body", "survivors"),
    [({"rid": "job"}, 1), ({"rid": "job-a"}, 2), ({"abort_all": True}, 0), ({"rid": "job-a", "abort_all": True}, 0)],
)
def test_aborted_requests_get_their_one_answer(client: httpx.Client, body: dict[str, Any], survivors: int) -> None:
    def run(rid: str) -> Any:
        return client.post("/generate", json={"text": rid, "sampling_params": LONG, "rid": rid}).json()

    rids = ["job-a", "job-b", "other"]
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(run, rid) for rid in rids]
        eventually(lambda: running(client) == 3, "all are running")
        for nobody in ({}, {"rid": ""}, {"rid": "nobody"}):
            answer = client.post("/abort_request", json=nobody)
            assert (answer.status_code, answer.json()) == (200, {"aborted": 0})
        assert running(client) == 3
        assert client.post("/abort_request", json=body).json() == {"aborted": 3 - survivors}
        eventually(lambda: running(client) == survivors, "those meant have ended")
        client.post("/abort_request", json={"abort_all": True})
        results = [future.result(SECONDS) for future in futures]
    for rid, result in zip(rids, results, strict=True):
        assert result["meta_info"]["id"] == rid
        assert result["meta_info"]["finish_reason"]["type"] == "abort"
        assert result["meta_info"]["completion_tokens"] == len(result["output_ids"]) > 0


def test_an_aborted_stream_ends(client: httpx.Client) -> None:
    body = {"text": "a", "sampling_params": LONG, "rid": "streamed", "stream": True}
    with client.stream("POST", "/generate", json=body) as response:
        lines = (line for line in response.iter_lines() if line)
        next(lines)
        client.post("/abort_request", json={"rid": "stream"})
        *_, last, done = lines
    assert done == "data: [DONE]"
    assert json.loads(last.removeprefix("data: "))["meta_info"]["finish_reason"]["type"] == "abort"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"rid": 5}, "rid must be a string"),
        ({"abort_all": "yes"}, "abort_all must be true or false, not 'yes'"),
        ({"rids": []}, "unknown field 'rids'; did you mean 'rid'?"),
    ],
)
def test_a_wrong_abort_is_refused(client: httpx.Client, body: dict[str, Any], message: str) -> None:
    response = client.post("/abort_request", json=body)
    assert response.status_code == 400 and message in response.json()["error"]["message"]


def test_the_thorough_health_check_computes_a_token(client: httpx.Client) -> None:
    def generated() -> int:
        return int(client.get("/server_info").json()["internal_states"][0]["generated_tokens"])

    before = generated()
    assert client.get("/health").status_code == 200
    assert generated() == before
    assert client.get("/health_generate").status_code == 200
    assert generated() == before + 1
