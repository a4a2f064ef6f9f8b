"""``POST /generate`` as a client sees it: shapes, streams, and what is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import sglang as sgl
from sglang.srt.server.generate_schema import NOT_HERE
from tests.conftest import SERVER_CONTEXT
from tests.helpers.runtime import SECONDS, Server

PROMPT = "The capital of France is"
GREEDY = {"temperature": 0.0, "max_new_tokens": 6}
VOCAB_SIZE = 49152


@pytest.fixture(scope="module")
def client(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server_url, timeout=SECONDS) as connected:
        yield connected


def post(client: httpx.Client, body: object) -> httpx.Response:
    """`body` is JSON, or bytes to send as they are."""
    return client.post("/generate", content=body if isinstance(body, bytes) else json.dumps(body))


def error_of(response: httpx.Response, status: int = 400) -> str:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json"), response.text
    (error,) = response.json().values()
    assert error["code"] == status and error["type"] == "invalid_request_error"
    return str(error["message"])


def test_health(client: httpx.Client) -> None:
    assert client.get("/health").status_code == 200


def test_text_and_token_ids(client: httpx.Client, engine: sgl.Engine) -> None:
    by_text = post(client, {"text": PROMPT, "sampling_params": GREEDY}).json()
    by_ids = post(client, {"input_ids": engine.tokenizer.encode(PROMPT), "sampling_params": GREEDY}).json()
    assert by_text["text"] == by_ids["text"] == engine.generate(PROMPT, GREEDY)["text"]
    assert by_text.keys() == {"text", "output_ids", "meta_info"}
    assert by_text["meta_info"]["finish_reason"] == {"type": "length", "length": 6}


def test_batches_and_samples_are_lists(client: httpx.Client) -> None:
    one, two = post(client, {"text": [PROMPT, "1 2 3"], "sampling_params": GREEDY, "rid": "batch"}).json()
    assert (one["meta_info"]["id"], two["meta_info"]["id"]) == ("batch_0", "batch_1")
    assert one["text"] == post(client, {"text": PROMPT, "sampling_params": GREEDY}).json()["text"]
    samples = post(client, {"text": PROMPT, "sampling_params": {"max_new_tokens": 1, "n": 3}, "rid": "n"}).json()
    assert [sample["meta_info"]["id"] for sample in samples] == ["n_0", "n_1", "n_2"]


def test_put_is_post(client: httpx.Client) -> None:
    response = client.put("/generate", json={"text": PROMPT, "sampling_params": GREEDY})
    assert response.json()["meta_info"]["completion_tokens"] == 6


def test_null_means_not_given(client: httpx.Client) -> None:
    nothing = ("input_ids", "rid", "stream", "return_logprob", "logprob_start_len", "top_logprobs_num", "cache_salt")
    params = {**GREEDY, "stop": None, "top_p": None, "sampling_seed": None}
    response = post(client, {"text": PROMPT, "sampling_params": params, **dict.fromkeys(nothing)})
    assert response.json()["meta_info"]["completion_tokens"] == 6


def test_published_fields_that_ask_for_nothing_are_accepted(client: httpx.Client) -> None:
    neutral = {name: next(iter(values), None) for name, values in NOT_HERE.items()}
    for nothing in (neutral, dict.fromkeys(NOT_HERE)):
        response = post(client, {"text": PROMPT, "sampling_params": GREEDY, **nothing})
        assert response.json()["meta_info"]["completion_tokens"] == 6


def test_a_stream_is_server_sent_events(client: httpx.Client) -> None:
    body = {"text": PROMPT, "sampling_params": {**GREEDY, "ignore_eos": True}, "stream": True}
    with client.stream("POST", "/generate", json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        data = b"".join(response.iter_raw())
    *events, done, rest = data.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert all(event.startswith(b"data: {") and b"\n" not in event for event in events)
    chunks = [json.loads(event[len(b"data: ") :]) for event in events]
    whole = post(client, {**body, "stream": False}).json()
    counts = [len(chunk["output_ids"]) for chunk in chunks]  # what is there when it is written: one token or more
    assert counts == sorted(set(counts))
    assert counts[-1] == 6
    assert all(whole["text"].startswith(chunk["text"]) for chunk in chunks)
    assert chunks[-1]["text"] == whole["text"]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def with_params(**params: Any) -> dict[str, Any]:
    return {"text": PROMPT, "sampling_params": params}


NOT_JSON = [b"", b"{", b'{"text": "a",}', b"\xff\xfe", b'{"text": "\xff"}', b'{"text": NaN}', b'{"text": "\\ud800"}']
NOT_JSON += [b'{"text": "a", "rid": "\\udc00"}', b'{"text": "a", "sampling_params": {"temperature": Infinity}}']
NOT_JSON += [b'{"text": "a", "sampling_params": {"temperature": 1e999}}', b'{"text": ' + b"[" * 5000]
NOT_OBJECTS = [b"[]", b"1", b'"text"', b"null", b"true"]

REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    # fields
    ({"txt": PROMPT}, ["unknown field 'txt'", "did you mean 'text'"]),
    ({"text": PROMPT, "xyzzy": "a"}, ["unknown field 'xyzzy'", "known fields: text, ", "stream"]),
    ({"text": PROMPT, "regex": "a"}, ["unknown field 'regex'", "it belongs in sampling_params, as 'regex'"]),
    ({"text": PROMPT, "temperature": 0}, ["unknown field 'temperature'", "it belongs in sampling_params"]),
    ({"text": PROMPT, "seed": 0}, ["unknown field 'seed'", "it belongs in sampling_params, as 'sampling_seed'"]),
    ({"text": PROMPT, "max_tokens": 5}, ["unknown field 'max_tokens'", "sampling_params, as 'max_new_tokens'"]),
    ({"prompt": PROMPT}, ["unknown field 'prompt'", "it is called 'text' here"]),
    ({"text": PROMPT, "return_token_ids": True}, ["'return_token_ids'", "always in the answer, as 'output_ids'"]),
    ({"text": PROMPT, "image_data": "a"}, ["image_data='a' is not supported here yet"]),
    ({"text": PROMPT, "lora_path": "a"}, ["lora_path='a' is not supported here yet"]),
    ({"text": PROMPT, "return_hidden_states": True}, ["return_hidden_states=True is not supported here yet"]),
    ({"text": PROMPT, "token_ids_logprob": [1]}, ["token_ids_logprob=[1] is not supported here yet"]),
    ({}, ["either as text, as input_ids or as segments", "none of them"]),
    ({"text": PROMPT, "input_ids": [1]}, ["either as text, as input_ids or as segments", "text and input_ids"]),
    ({"segments": []}, ["segments must be a non-empty list of strings and lists of ids", "[]"]),
    ({"segments": [5]}, ["segments must be a list of strings and lists of token ids", "5"]),
    ({"segments": ["a", [VOCAB_SIZE]]}, [f"{VOCAB_SIZE};", f"0 to {VOCAB_SIZE - 1}"]),
    ({"text": 5}, ["text must be a string or a non-empty list of strings", "5"]),
    ({"text": True}, ["text must be", "True"]),
    ({"text": {"a": 1}}, ["text must be", "{'a': 1}"]),
    ({"text": ["a", 5]}, ["text must be", "['a', 5]"]),
    ({"text": [["a"]]}, ["text must be", "[['a']]"]),
    ({"text": nested(900)}, ["text must be", "[[[["]),
    ({"text": ""}, ["the prompt is empty"]),
    ({"text": ["a", ""]}, ["the prompt is empty"]),
    ({"text": []}, ["text must be", "[]"]),
    ({"input_ids": []}, ["input_ids must be a non-empty list of token ids", "[]"]),
    ({"input_ids": [[]]}, ["the prompt is empty"]),
    ({"input_ids": 5}, ["input_ids must be", "5"]),
    ({"input_ids": "12"}, ["input_ids must be", "'12'"]),
    ({"input_ids": [1.0]}, ["input_ids must be", "[1.0]"]),
    ({"input_ids": [True]}, ["input_ids must be", "[True]"]),
    ({"input_ids": ["1"]}, ["input_ids must be", "['1']"]),
    ({"input_ids": [1, [2]]}, ["input_ids must be", "[1, [2]]"]),
    ({"input_ids": [[1], 2]}, ["input_ids must be", "2"]),
    ({"input_ids": [[[1]]]}, ["input_ids must be", "[[1]]"]),
    ({"input_ids": nested(900)}, ["input_ids must be", "[[[["]),
    ({"input_ids": [VOCAB_SIZE]}, [f"{VOCAB_SIZE};", f"0 to {VOCAB_SIZE - 1}"]),
    ({"input_ids": [-1]}, ["-1;", f"0 to {VOCAB_SIZE - 1}"]),
    ({"input_ids": [2**64 - 1]}, [f"{2**64 - 1};", f"0 to {VOCAB_SIZE - 1}"]),
    ({"input_ids": [2**64]}, ["input_ids must be"]),
    ({"text": PROMPT, "stream": 1}, ["stream must be true or false", "1"]),
    ({"text": PROMPT, "stream": "yes"}, ["stream must be true or false", "'yes'"]),
    ({"text": PROMPT, "stream": nested(900)}, ["stream must be true or false", "[[[["]),
    ({"text": PROMPT, "rid": 5}, ["rid must be a string", "5"]),
    ({"text": PROMPT, "rid": nested(900)}, ["rid must be a string", "[[[["]),
    ({"text": ["a", "b"], "rid": ["x"]}, ["rid is a list of 1", "2 prompts"]),
    ({"text": ["a", "b"], "rid": ["x", "x"]}, ["rid 'x' is in use"]),
    ({"text": PROMPT, "return_logprob": 1}, ["return_logprob must be true or false", "1"]),
    ({"text": ["a", "b"], "return_logprob": [True]}, ["return_logprob is a list of 1", "2 prompts"]),
    ({"text": PROMPT, "logprob_start_len": 0}, ["logprob_start_len=0 needs return_logprob"]),
    ({"text": PROMPT, "logprob_start_len": "0"}, ["logprob_start_len must be an integer", "'0'"]),
    ({"text": PROMPT, "logprob_start_len": False}, ["logprob_start_len must be an integer", "False"]),
    ({"text": PROMPT, "return_logprob": True, "logprob_start_len": 6}, ["logprob_start_len must be", "to 5", "not 6"]),
    ({"text": PROMPT, "return_logprob": True, "logprob_start_len": -2}, ["logprob_start_len must be", "-1", "not -2"]),
    (
        {"text": PROMPT, "sampling_params": {"logprobs_mode": "processed_logprobs"}},
        ["logprobs_mode=processed_logprobs needs return_logprob=true"],
    ),
    (
        {"text": PROMPT, "return_logprob": True, "sampling_params": {"logprobs_mode": "raw"}},
        ["logprobs_mode must be raw_logprobs or processed_logprobs", "'raw'"],
    ),
    ({"text": PROMPT, "top_logprobs_num": 2}, ["top_logprobs_num=2 needs return_logprob"]),
    ({"text": PROMPT, "return_logprob": True, "top_logprobs_num": -1}, ["top_logprobs_num must be 0 to", "not -1"]),
    ({"text": PROMPT, "return_logprob": True, "top_logprobs_num": 2**40}, [f"0 to 1024, not {2**40}"]),
    ({"text": PROMPT, "return_text_in_logprobs": "true"}, ["return_text_in_logprobs must be true or false", "'true'"]),
    ({"text": PROMPT, "cache_salt": 5}, ["cache_salt must be a string", "5"]),
    ({"text": PROMPT, "extra_key": []}, ["extra_key is a list of 0", "1 prompt"]),
    # size
    ({"text": "word " * 300}, ["longer than the model's context length", f"({SERVER_CONTEXT} tokens)"]),
    ({"input_ids": [7] * SERVER_CONTEXT}, [f"({SERVER_CONTEXT} tokens) is longer"]),
    (with_params(max_new_tokens=60), ["max_new_tokens=60", f"of {SERVER_CONTEXT} tokens", "at most 59"]),
    (with_params(max_new_tokens=2**63 - 1), [f"max_new_tokens={2**63 - 1}", "at most 59"]),
    (with_params(max_new_tokens=2**63), ["max_new_tokens must be", str(2**63)]),
    (with_params(max_new_tokens=2**64), ["max_new_tokens must be"]),
    # sampling parameters
    ({"text": PROMPT, "sampling_params": "greedy"}, ["sampling_params must be an object", "'greedy'"]),
    ({"text": PROMPT, "sampling_params": [GREEDY, GREEDY]}, ["sampling_params is a list of 2", "1 prompt"]),
    ({"text": ["a", "b"], "sampling_params": [GREEDY, 5]}, ["sampling_params must be an object", "5"]),
    ({"text": ["a", "b"], "sampling_params": [{"n": 1}, {"n": 2}]}, ["n must be the same", "[1, 2]"]),
    (with_params(temprature=1), ["unknown sampling parameter 'temprature'", "did you mean 'temperature'"]),
    (with_params(xyzzy="{}"), ["unknown sampling parameter 'xyzzy'", "known parameters: "]),
    (with_params(seed=3), ["unknown sampling parameter 'seed'", "it is called 'sampling_seed' here"]),
    (with_params(max_new_tokens=-1), ["max_new_tokens must be", "at least 0", "-1"]),
    (with_params(max_new_tokens=1.5), ["max_new_tokens must be", "1.5"]),
    (with_params(max_new_tokens="5"), ["max_new_tokens must be", "'5'"]),
    (with_params(max_new_tokens=True), ["max_new_tokens must be", "True"]),
    (with_params(min_new_tokens=-1), ["min_new_tokens must be", "at least 0", "-1"]),
    (with_params(min_new_tokens=5, max_new_tokens=4), ["min_new_tokens=5", "max_new_tokens=4"]),
    (with_params(min_new_tokens=2**64 - 1, max_new_tokens=None), ["min_new_tokens must be", str(2**64 - 1)]),
    (with_params(temperature=-0.1), ["temperature must be a number in [0, inf]", "-0.1"]),
    (with_params(temperature="hot"), ["temperature must be", "'hot'"]),
    (with_params(temperature=nested(900)), ["temperature must be", "[[[["]),
    (with_params(temperature=False), ["temperature must be", "False"]),
    (with_params(top_p=0), ["top_p must be a number in (0, 1]", "0"]),
    (with_params(top_p=1.1), ["top_p must be", "1.1"]),
    (with_params(top_k=0), ["top_k must be -1 (all tokens) or at least 1", "0"]),
    (with_params(top_k=1.0), ["top_k must be", "1.0"]),
    (with_params(min_p=2), ["min_p must be a number in [0, 1]", "2"]),
    (with_params(frequency_penalty=3), ["frequency_penalty must be a number in [-2, 2]", "3"]),
    (with_params(presence_penalty=-3), ["presence_penalty must be a number in [-2, 2]", "-3"]),
    (with_params(repetition_penalty=0), ["repetition_penalty must be a number in (0, 2]", "0"]),
    (with_params(stop=5), ["stop must be", "5"]),
    (with_params(stop=""), ["stop must be", "''"]),
    (with_params(stop=["a", ""]), ["stop must be", "['a', '']"]),
    (with_params(stop_token_ids=2), ["stop_token_ids must be a list of token ids", "2"]),
    (with_params(stop_token_ids=[True]), ["stop_token_ids must be", "[True]"]),
    (with_params(stop_token_ids=[VOCAB_SIZE]), ["stop_token_ids", str(VOCAB_SIZE), f"0 to {VOCAB_SIZE - 1}"]),
    (with_params(ignore_eos=0), ["ignore_eos must be true or false", "0"]),
    (with_params(no_stop_trim="no"), ["no_stop_trim must be true or false", "'no'"]),
    (with_params(skip_special_tokens=[]), ["skip_special_tokens must be true or false", "[]"]),
    (with_params(logit_bias=[1]), ["logit_bias must map token ids to numbers", "[1]"]),
    (with_params(logit_bias={"x": 1}), ["logit_bias has key 'x'", "not a token id"]),
    (with_params(logit_bias={"1.5": 1}), ["logit_bias has key '1.5'", "not a token id"]),
    (with_params(logit_bias={"-1": 1}), ["logit_bias has token id -1", f"0 to {VOCAB_SIZE - 1}"]),
    (with_params(logit_bias={"49152": 1}), ["logit_bias has token id 49152", f"0 to {VOCAB_SIZE - 1}"]),
    (with_params(logit_bias={"1": 101}), ["logit_bias[1] must be a number in [-100, 100]", "101"]),
    (with_params(logit_bias={"1": None}), ["logit_bias[1] must be", "None"]),
    (with_params(n=0), ["n must be an integer from 1 to 1024", "0"]),
    (with_params(n=1025), ["n must be an integer from 1 to 1024", "1025"]),
    (with_params(n=True), ["n must be", "True"]),
    (with_params(n="2"), ["n must be", "'2'"]),
    (with_params(sampling_seed=-1), ["sampling_seed must be an integer from 0 to", "-1"]),
    (with_params(sampling_seed=2**63), ["sampling_seed must be", str(2**63)]),
    (with_params(sampling_seed=0.5), ["sampling_seed must be", "0.5"]),
]  # fmt: skip


@pytest.mark.parametrize("body", NOT_JSON)
def test_a_body_that_is_no_json_is_refused(client: httpx.Client, body: bytes) -> None:
    assert "the body is not valid JSON" in error_of(post(client, body))


@pytest.mark.parametrize("body", NOT_OBJECTS)
def test_a_body_that_is_no_object_is_refused(client: httpx.Client, body: bytes) -> None:
    assert "the body must be a JSON object" in error_of(post(client, body))


@pytest.mark.parametrize(("body", "parts"), REFUSED, ids=[json.dumps(body)[:60] for body, _ in REFUSED])
def test_what_is_wrong_is_named(client: httpx.Client, body: dict[str, Any], parts: list[str]) -> None:
    """Also when streaming with a status code, and not inside a stream."""
    for stream in (False, True):
        message = error_of(post(client, {"stream": stream, **body}))
        assert all(part in message for part in parts), message
        assert len(message) < 500


def test_a_request_id_is_in_use_until_its_request_has_ended(client: httpx.Client) -> None:
    body = {"text": PROMPT, "sampling_params": {"max_new_tokens": 50, "ignore_eos": True}, "rid": "mine"}
    again = {"text": PROMPT, "sampling_params": {"max_new_tokens": 1}, "rid": "mine"}
    with client.stream("POST", "/generate", json={**body, "stream": True}) as response:
        chunks = response.iter_raw()  # the connection closes with it
        next(chunks)
        assert "rid 'mine' is in use" in error_of(post(client, again))
    # its client has left, and soon the engine confirms that it has ended
    while (response := post(client, again)).status_code == 400:
        assert "rid 'mine' is in use" in error_of(response)
    assert response.json()["meta_info"]["id"] == "mine"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/generate", 405), ("POST", "/health", 405)]
)
def test_other_routes_and_methods(client: httpx.Client, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert f"{method} {path}" in error_of(response, status)
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "; did you mean /v1/chat/completions?"),
        ("/v1/v1/chat/completions", "; did you mean /v1/chat/completions?"),
        ("/v1/generate", "; did you mean /generate?"),
        ("/v1/embeddings", ""),
        ("/" + "x" * 9000, ""),
    ],
)
def test_a_path_close_to_that_of_a_route(client: httpx.Client, path: str, meant: str) -> None:
    assert error_of(client.post(path), 404) == f"POST {path}: Not Found{meant}"


# --- random bodies ---------------------------------------------------------------------------------------------------

FIELDS = ["rid", "return_logprob", "logprob_start_len", "top_logprobs_num", "return_text_in_logprobs", "cache_salt"]
FIELDS += ["extra_key", "stream", "sampling_params", "unknown", "text", "input_ids"]
PARAMETERS = ["min_new_tokens", "stop", "stop_token_ids", "ignore_eos", "no_stop_trim", "skip_special_tokens"]
PARAMETERS += ["temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty"]
PARAMETERS += ["logit_bias", "n", "sampling_seed", "max_new_tokens", "unknown"]
NUMBERS = [0, 1, -1, 2, 0.5, -1e308, 2**31, 2**63, -(2**63), 2**64, 1e300]
SCALARS = [None, True, False, *NUMBERS, "", "a", "0", "\x00", "½😀"]


def random_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if depth == 3 or kind < 0.6:
        return rng.choice(SCALARS)
    if kind < 0.8:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {str(rng.choice(SCALARS)): random_value(rng, depth + 1) for _ in range(rng.randrange(3))}


def random_body(rng: random.Random) -> bytes:
    """A request of a prompt that leaves room for three tokens, with one or two wrong values, or broken JSON."""
    params: dict[str, Any] = {"max_new_tokens": 1}
    body: dict[str, Any] = {"input_ids": [7] * (SERVER_CONTEXT - 3), "sampling_params": params}
    for _ in range(rng.choice([1, 1, 2])):
        if rng.random() < 0.5:
            params[rng.choice(PARAMETERS)] = random_value(rng)
        else:
            body[rng.choice(FIELDS[:-2])] = random_value(rng)
    if rng.random() < 0.2:
        body.pop("input_ids")
        body[rng.choice(FIELDS[-2:])] = random_value(rng)
        params["max_new_tokens"] = 1
        body["sampling_params"] = params
    data = json.dumps(body).encode()
    if rng.random() < 0.15:
        position = rng.randrange(len(data))
        data = rng.choice([data[:position], data[:position] + bytes([rng.randrange(256)]) + data[position + 1 :]])
    return data


@pytest.mark.parametrize("seed", range(3))
def test_random_bodies_are_answered_or_refused(client: httpx.Client, server: Server, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(50):
        data = random_body(rng)
        response = post(client, data)
        assert response.status_code in (200, 400), (data, response.text)
        if response.status_code == 400:
            error_of(response)
    assert post(client, {"text": PROMPT, "sampling_params": GREEDY}).json()["meta_info"]["completion_tokens"] == 6
    assert server.process.poll() is None
