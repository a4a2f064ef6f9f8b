"""Errors become the exceptions that programs written for OpenAI catch; clients that leave free what they held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.helpers.runtime import SECONDS, Server
from tests.server.openai.conftest import client_of

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
LONG: dict[str, Any] = {"model": "a", "max_tokens": 90_000, "extra_body": {"ignore_eos": True}}
"""Of a tiny model: takes minutes."""

BODIES = {
    "/v1/chat/completions": {"messages": HELLO, "max_tokens": 90_000, "ignore_eos": True},
    "/v1/completions": {"prompt": "a", "max_tokens": 90_000, "ignore_eos": True},
}


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"temperature": -1}, "temperature", "temperature must be a number in"),
        ({"n": 0}, "n", "n must be an integer from 1"),
        ({"seed": 0.5}, "seed", "seed must be an integer"),
        ({"max_tokens": -1}, "max_tokens", "max_tokens must be an integer of at least 0"),
        ({"min_tokens": 5, "max_tokens": 2}, "min_tokens", "min_tokens=5 must not exceed max_tokens=2"),
        ({"stop": ""}, "stop", "stop must be a non-empty string"),
        ({"logit_bias": {"a": 1}}, "logit_bias", "which is not a token id"),
        ({"stream_options": {}}, "stream_options", "stream_options needs stream=true"),
        ({"colour": "red"}, "colour", "unknown field 'colour'"),
    ],
)
def test_a_wrong_request_is_a_bad_request(tiny: openai.OpenAI, fields: Any, param: str | None, message: str) -> None:
    for stream in (False, True):
        given = {"stream": stream, **fields}
        if stream and "stream_options" in fields:
            continue
        with pytest.raises(openai.BadRequestError) as caught:
            tiny.chat.completions.create(model="a", messages=HELLO, extra_body=given)
        assert message in str(caught.value)
        with pytest.raises(openai.BadRequestError) as caught:
            tiny.completions.create(model="a", prompt="a", extra_body=given)
        assert message in str(caught.value)
        assert (caught.value.param, caught.value.type, caught.value.code) == (param, "invalid_request_error", None)


def test_a_prompt_must_not_be_empty(tiny: openai.OpenAI) -> None:
    empty: list[Any] = ["", [], [""], [[]]]
    for prompt in empty:
        with pytest.raises(openai.BadRequestError, match="empty"):
            tiny.completions.create(model="a", prompt=prompt)
    with pytest.raises(openai.BadRequestError, match="non-empty list of messages"):
        tiny.chat.completions.create(model="a", messages=[])


def test_best_of_must_be_n(tiny: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="best_of must be the same as n=1, not 2"):
        tiny.completions.create(model="a", prompt="a", best_of=2)


LONG_TEXT = "a" * 150_000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": [{"role": "user", "content": LONG_TEXT}]}, "longer than the model's context length"),
        ({"prompt": LONG_TEXT}, "longer than the model's context length"),
        ({"prompt": ["a", LONG_TEXT * 30]}, r"\(4500000 characters\) is longer than"),
        ({"messages": HELLO, "max_tokens": 200_000}, "and max_tokens=200000; at most"),
        ({"prompt": "a", "max_tokens": 200_000}, "and max_tokens=200000; at most"),
    ],
    ids=["chat", "completion", "at once", "chat's answer", "completion's answer"],
)
def test_what_does_not_fit_into_the_context(tiny: openai.OpenAI, fields: Any, message: str, stream: bool) -> None:
    """The code is what clients tell it by from other bad requests."""
    api: Any = tiny.chat.completions if "messages" in fields else tiny.completions
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        api.create(model="a", stream=stream, **fields)
    error = caught.value
    assert (error.code, error.type, error.param) == ("context_length_exceeded", "invalid_request_error", None)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"messages": "\\ud800"}'])
def test_a_body_that_is_no_object(tiny_http: httpx.Client, data: bytes) -> None:
    for path in BODIES:
        response = tiny_http.post(path, content=data)
        assert response.status_code == 400
        assert response.json()["error"].keys() == {"message", "type", "param", "code"}


def test_models(tiny: openai.OpenAI, tiny_model: str) -> None:
    (model,) = tiny.models.list().data
    assert (model.id, model.owned_by, model.object) == (tiny_model, "sglang", "model")
    assert model.model_dump()["max_model_len"] == 100_000 and model.model_dump()["root"] == tiny_model
    assert tiny.models.retrieve(tiny_model) == model
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt'") as caught:
        tiny.models.retrieve("gpt")
    assert caught.value.code == "model_not_found"


def test_the_documentation_shows_every_field(tiny_http: httpx.Client) -> None:
    schema = tiny_http.get("/openapi.json").json()
    for path, name in (("/v1/chat/completions", "messages"), ("/v1/completions", "prompt")):
        post = schema["paths"][path]["post"]
        body = post["requestBody"]["content"]["application/json"]["schema"]
        assert {name, "temperature", "regex", "response_format"} <= body["properties"].keys()
        assert "$defs" not in json.dumps(body)
        assert "schema" in post["responses"]["200"]["content"]["application/json"]
    statuses = {status for path in schema["paths"].values() for way in path.values() for status in way["responses"]}
    assert statuses == {"200", "4XX"}  # and so never 422


# --- leaving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", BODIES)
def test_a_client_that_leaves_its_stream_frees_the_request(tiny_http: httpx.Client, path: str) -> None:
    with tiny_http.stream("POST", path, json={**BODIES[path], "stream": True, "n": 2}) as response:
        next(response.iter_raw())
    assert tiny_http.post(path, json={**BODIES[path], "max_tokens": 1}).status_code == 200


@pytest.mark.parametrize("path", BODIES)
def test_a_client_that_leaves_before_its_stream_begins_frees_the_request(tiny_http: httpx.Client, path: str) -> None:
    body = {**BODIES[path], "stream": True}
    with tiny_http.stream("POST", path, json=body) as response:
        chunks = response.iter_raw()  # the connection closes with it
        next(chunks)
        with pytest.raises(httpx.ReadTimeout):
            tiny_http.post(path, json=body, timeout=httpx.Timeout(SECONDS, read=0.2))
    assert tiny_http.post(path, json={**BODIES[path], "max_tokens": 1}).status_code == 200


@pytest.mark.parametrize("path", BODIES)
def test_a_client_that_leaves_while_it_waits_frees_the_request(tiny_http: httpx.Client, path: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        tiny_http.post(path, json={**BODIES[path], "n": 2}, timeout=httpx.Timeout(SECONDS, read=0.2))
    assert tiny_http.post(path, json={**BODIES[path], "max_tokens": 1}).status_code == 200


def test_a_request_can_be_aborted_by_the_id_of_its_answer(tiny: openai.OpenAI, tiny_http: httpx.Client) -> None:
    stream = tiny.chat.completions.create(**LONG, messages=HELLO, stream=True)
    first = next(stream)
    assert tiny_http.post("/abort_request", json={"rid": first.id}).status_code == 200
    with pytest.raises(openai.APIError, match="aborted"):
        list(stream)


# --- an engine that dies ---------------------------------------------------------------------------------------------


@pytest.fixture
def locked_server(tiny_model: str) -> Iterator[Server]:
    options = ("--api-key", "secret", "--served-model-name", "mine")
    with Server("--model-path", tiny_model, "--num-threads", "1", *options) as running:
        yield running


def test_the_key_the_name_and_the_end_of_a_server(locked_server: Server) -> None:
    with client_of(locked_server, api_key="wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    with client_of(locked_server, api_key="secret") as client:
        assert [model.id for model in client.models.list().data] == ["mine"]
        answer = client.chat.completions.create(model="", messages=HELLO, max_tokens=1)
        assert answer.model == "mine"
        stream = client.chat.completions.create(**LONG, messages=HELLO, stream=True)
        next(stream)
        psutil.Process(locked_server.engine_pid).kill()
        with pytest.raises(openai.APIError, match="engine"):
            list(stream)
        with pytest.raises(openai.InternalServerError) as caught:
            client.completions.create(model="a", prompt="a")
        assert caught.value.status_code == 503
