"""``return_token_ids``: what was generated, and from what, as vLLM tells it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import pytest

PROMPTS = ["The capital of France is", "1, 2, 3,"]
COMPLETION: dict[str, Any] = {"prompt": PROMPTS, "temperature": 0, "max_tokens": 8, "ignore_eos": True}
CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Count."}],
    "temperature": 1,
    "seed": 5,
    "n": 2,
    "max_tokens": 8,
}
BODIES = [("/v1/completions", COMPLETION), ("/v1/chat/completions", CHAT)]


def asked(http: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    return http.post(path, json={**body, "return_token_ids": True}).raise_for_status().json()


def events(http: httpx.Client, path: str, body: dict[str, Any]) -> list[Any]:
    reply = http.post(path, json={**body, "return_token_ids": True, "stream": True}).raise_for_status()
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_each_choice_of_a_completion_has_its_tokens_and_its_prompts(real_http: httpx.Client) -> None:
    choices = asked(real_http, "/v1/completions", COMPLETION)["choices"]
    for prompt, choice in zip(PROMPTS, choices, strict=True):
        params = {"temperature": 0, "max_new_tokens": 8, "ignore_eos": True}
        native = real_http.post("/generate", json={"text": prompt, "sampling_params": params}).json()
        tokens = real_http.post("/tokenize", json={"prompt": prompt}).json()["tokens"]
        assert (choice["token_ids"], choice["prompt_token_ids"]) == (native["output_ids"], tokens)


def test_a_chat_has_one_prompt(real_http: httpx.Client) -> None:
    answer = asked(real_http, "/v1/chat/completions", CHAT)
    tokens = real_http.post("/tokenize", json={"messages": CHAT["messages"]}).json()["tokens"]
    assert answer["prompt_token_ids"] == tokens
    assert sum(len(choice["token_ids"]) for choice in answer["choices"]) == answer["usage"]["completion_tokens"]
    for choice in answer["choices"]:
        text = real_http.post("/detokenize", json={"tokens": choice["token_ids"]}).json()["text"]
        assert choice["message"]["content"] in text
        assert "prompt_token_ids" not in choice


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_a_stream_tells_each_token_once(real_http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    whole = asked(real_http, path, body)
    chunks = events(real_http, path, body)
    for choice in whole["choices"]:
        parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice["index"]]
        ids = [part["token_ids"] for part in parts if "token_ids" in part]
        assert list(itertools.chain(*ids)) == choice["token_ids"]
        assert len(ids) > 1
        told = [part["prompt_token_ids"] for part in parts if "prompt_token_ids" in part]
        assert told == ([choice["prompt_token_ids"]] if "prompt_token_ids" in choice else [])
    told = [chunk["prompt_token_ids"] for chunk in chunks if "prompt_token_ids" in chunk]
    assert told == ([whole["prompt_token_ids"]] if "prompt_token_ids" in whole else [])


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize(("path", "body"), BODIES)
def test_nothing_is_told_unless_it_is_asked_for(
    real_http: httpx.Client, path: str, body: dict[str, Any], is_streamed: bool
) -> None:
    reply = real_http.post(path, json={**body, "return_token_ids": False, "stream": is_streamed}).raise_for_status()
    assert "token_ids" not in reply.text


@pytest.mark.parametrize("value", ["yes", 1, [True]])
@pytest.mark.parametrize(("path", "body"), BODIES)
def test_other_values_are_refused(real_http: httpx.Client, path: str, body: dict[str, Any], value: Any) -> None:
    reply = real_http.post(path, json={**body, "return_token_ids": value})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "return_token_ids")
