"""``POST /select`` and ``/score_choices`` as a client sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import sglang as sgl
from tests.conftest import SERVER_CONTEXT
from tests.helpers.runtime import SECONDS

PROMPT = "The capital of France is"
CITIES = [" Paris", " London", " Berlin"]


@pytest.fixture(scope="module")
def client(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server_url, timeout=SECONDS) as connected:
        yield connected


def select(client: httpx.Client, **body: Any) -> Any:
    response = client.post("/select", json={"text": PROMPT, "choices": CITIES, **body})
    assert response.status_code == 200, response.text
    return response.json()


def error_of(response: httpx.Response) -> str:
    assert (response.status_code, response.headers["content-type"]) == (400, "application/json"), response.text
    (error,) = response.json().values()
    assert (error["code"], error["type"]) == (400, "invalid_request_error")
    return str(error["message"])


def test_the_likeliest_choice(client: httpx.Client) -> None:
    result = select(client, rid="mine")
    assert (result["decision"], result["index"]) == (" Paris", 0)
    meta = result["meta_info"]
    assert meta["id"] == "mine"
    assert meta["choice_probabilities"][0] > 0.9
    assert sum(meta["choice_probabilities"]) == pytest.approx(1.0)
    assert 0.0 <= meta["unexplored_mass"] <= 0.001
    assert meta["select_rows"] <= meta["prompt_tokens"] + meta["trie_nodes"] + 1


def test_a_space_at_the_end_of_the_prompt_makes_no_difference(client: httpx.Client) -> None:
    """A token may begin with it: the usual mistake of prompts."""
    whole = select(client)["meta_info"]["choice_probabilities"]
    spaced = select(client, text=PROMPT + " ", choices=[city.strip() for city in CITIES])
    assert spaced["decision"] == "Paris"
    assert spaced["meta_info"]["respelled_tokens"] == 1
    assert spaced["meta_info"]["choice_probabilities"] == pytest.approx(whole, abs=0.002)


def test_a_choice_that_another_begins_with_is_not_favoured(client: httpx.Client) -> None:
    """Whatever goes on to "10" has not said "1"."""
    assert select(client, text="Counting in steps: 2, 4, 6, 8, ", choices=["1", "10", "100"])["decision"] == "10"


def test_less_unexplored_mass_costs_more_rows(client: httpx.Client) -> None:
    much, little = (
        select(client, max_unexplored_mass=mass, cache_salt=str(mass))["meta_info"] for mass in (0.5, 0.00001)
    )
    assert much["trie_nodes"] < little["trie_nodes"]
    for (low, high), share in zip(much["choice_bounds"], little["choice_probabilities"], strict=True):
        assert low <= share <= high


def test_draws_repeat(client: httpx.Client) -> None:
    first = select(client, temperature=20.0)
    seed = first["meta_info"]["sampling_seed"]
    assert select(client, temperature=20.0, sampling_seed=seed)["decision"] == first["decision"]
    assert len({select(client, temperature=20.0, sampling_seed=number)["decision"] for number in range(20)}) > 1


def test_prompts_of_segments_and_ids(client: httpx.Client, engine: sgl.Engine) -> None:
    ids = engine.tokenizer.encode(PROMPT)
    by_ids = select(client, text=None, input_ids=ids)
    by_segments = select(client, text=None, segments=[ids[:3], engine.tokenizer.decode(ids[3:])])
    expected = select(client)["meta_info"]["choice_logprobs"]
    assert by_ids["meta_info"]["choice_logprobs"] == by_segments["meta_info"]["choice_logprobs"] == expected


def test_token_scores(client: httpx.Client, engine: sgl.Engine) -> None:
    body = {"text": PROMPT, "choices": [*CITIES, " Paris"], "unconditional": True}
    result = client.post("/score_choices", json=body).json()
    assert result.keys() == {"input_token_logprobs", "unconditional_token_logprobs", "meta_info"}
    rows = result["input_token_logprobs"]
    assert [[text for *_, text in row] for row in rows] == [[" Paris"], [" London"], [" Berlin"], [" Paris"]]
    assert rows[0] == rows[3]
    assert [row[0][0] for row in result["unconditional_token_logprobs"]] == [None] * 4
    scored = engine.generate(
        PROMPT + " Paris",
        {"max_new_tokens": 0},
        return_logprob=True,
        logprob_start_len=len(engine.tokenizer.encode(PROMPT)) - 1,
    )
    assert rows[0][0][0] == pytest.approx(scored["meta_info"]["input_token_logprobs"][1][0], abs=0.01)


@pytest.mark.parametrize("path", ["/select", "/score_choices"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"choices": None}, "choices must be a non-empty list of texts"),
        ({"choices": ["a", ""]}, "the choice '' cannot be scored"),
        ({"choices": [["a"]]}, "choices must be texts"),
        ({"choices": ["a" * 5000]}, "context length"),
        ({"choices": [" a" * SERVER_CONTEXT]}, "context length"),
        ({"text": None}, "give a prompt either as text"),
        ({"text": ""}, "the prompt is empty"),
        ({"text": [PROMPT]}, "one prompt is taken here"),
        ({"text": None, "input_ids": [-1]}, "token id -1"),
        ({"chioces": ["a"]}, "unknown field 'chioces'; did you mean 'choices'?"),
        ({"stream": True}, "unknown field 'stream'"),
        ({"rid": 5}, "rid must be a string"),
    ],
)
def test_what_is_refused(client: httpx.Client, path: str, fields: dict[str, Any], message: str) -> None:
    assert message in error_of(client.post(path, json={"text": PROMPT, "choices": CITIES, **fields}))


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        ("/select", {"choices": ["a", "a"]}, "the choice 'a' is given 2 times; all must differ"),
        ("/select", {"max_rows": -1}, "max_rows must be a whole number from 0"),
        ("/select", {"max_unexplored_mass": "0"}, "max_unexplored_mass must be a number from 0 to 1"),
        ("/select", {"temperature": "hot"}, "temperature must be a number"),
        ("/select", {"unconditional": True}, "unknown field 'unconditional'"),
        ("/score_choices", {"temperature": 0.5}, "unknown field 'temperature'"),
        ("/score_choices", {"unconditional": 1}, "unconditional must be true or false, not 1"),
    ],
)
def test_what_one_of_them_refuses(client: httpx.Client, path: str, fields: dict[str, Any], message: str) -> None:
    assert message in error_of(client.post(path, json={"text": PROMPT, "choices": CITIES, **fields}))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", json.dumps([PROMPT]).encode()])
def test_what_is_no_object(client: httpx.Client, body: bytes) -> None:
    assert "body" in error_of(client.post("/select", content=body))


def test_both_are_described(client: httpx.Client) -> None:
    assert client.get("/model_info").json()["select"] is True
    paths = client.get("/openapi.json").json()["paths"]
    fields = paths["/select"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"text", "choices", "temperature", "max_unexplored_mass"} <= fields.keys()
    assert "unconditional" not in fields
