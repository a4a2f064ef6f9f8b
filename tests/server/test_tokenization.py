"""``/tokenize``, ``/detokenize`` and ``/role_text`` as a client sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import sglang as sgl
from tests.conftest import SERVER_CONTEXT
from tests.helpers.runtime import SECONDS

TEXT = "The capital of France is Zürich 🏔, isn't it?<|im_end|>"
QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]


@pytest.fixture(scope="module")
def client(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server_url, timeout=SECONDS) as connected:
        yield connected


def answer(client: httpx.Client, path: str, **body: Any) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_prompt(client: httpx.Client, engine: sgl.Engine) -> None:
    ids = engine.tokenizer.encode(TEXT)
    expected = {"tokens": ids, "count": len(ids), "max_model_len": SERVER_CONTEXT}
    assert answer(client, "/tokenize", prompt=TEXT) == answer(client, "/v1/tokenize", prompt=TEXT) == expected
    assert answer(client, "/tokenize", prompt=TEXT, model="any", add_special_tokens=False, messages=None) == expected


def test_prompts(client: httpx.Client, engine: sgl.Engine) -> None:
    one, two = engine.tokenizer.encode(TEXT), engine.tokenizer.encode("a b")
    result = answer(client, "/tokenize", prompt=[TEXT, "a b", ""])
    assert result == {"tokens": [one, two, []], "count": [len(one), 2, 0], "max_model_len": SERVER_CONTEXT}
    assert answer(client, "/tokenize", prompt=[])["tokens"] == []


def test_messages(client: httpx.Client, engine: sgl.Engine) -> None:
    ids = engine.tokenizer.apply_chat_template(QUESTION)
    assert answer(client, "/tokenize", messages=QUESTION) == {
        "tokens": ids,
        "count": len(ids),
        "max_model_len": SERVER_CONTEXT,
    }


def test_messages_become_the_prompt_that_a_chat_makes_of_them(client: httpx.Client) -> None:
    parts = [{"type": "text", "text": "Say "}, {"type": "text", "text": "red."}]
    messages = [{"role": "developer", "content": "Hi."}, {"role": "user", "content": parts}]
    answered = answer(client, "/v1/chat/completions", messages=messages, max_tokens=0)
    assert answer(client, "/tokenize", messages=messages)["count"] == answered["usage"]["prompt_tokens"]
    plain = [{"role": "system", "content": "Hi."}, {"role": "user", "content": "Say red."}]
    assert answer(client, "/tokenize", messages=messages) == answer(client, "/tokenize", messages=plain)
    begun = [*plain, {"role": "assistant", "content": "Red"}]
    tokens = answer(client, "/tokenize", messages=begun, continue_final_message=True)["tokens"]
    assert tokens == [
        *answer(client, "/tokenize", messages=plain)["tokens"],
        *answer(client, "/tokenize", prompt="Red")["tokens"],
    ]


def test_there_and_back(client: httpx.Client) -> None:
    tokens = answer(client, "/tokenize", prompt=TEXT)["tokens"]
    for path in ("/detokenize", "/v1/detokenize"):
        assert answer(client, path, tokens=tokens, skip_special_tokens=False) == {"text": TEXT}
    assert answer(client, "/detokenize", tokens=tokens) == {"text": TEXT.removesuffix("<|im_end|>")}
    assert answer(client, "/detokenize", tokens=[tokens[:1], []]) == {"text": ["The", ""]}
    assert answer(client, "/detokenize", tokens=[]) == {"text": ""}


def test_role_text(client: httpx.Client, engine: sgl.Engine) -> None:
    for roles in (["user"], ["system", "user"], ["user", "assistant", "user", "assistant"]):
        assert answer(client, "/role_text", roles=roles) == engine.role_text(roles)._asdict()


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/tokenize", {}, "give either prompt or messages; neither was given"),
        ("/tokenize", {"prompt": "a", "messages": QUESTION}, "give either prompt or messages; both was given"),
        ("/tokenize", {"prompt": 5}, "prompt must be a string or a list of strings, not 5"),
        ("/tokenize", {"prompt": ["a", 5]}, "prompt must be a string or a list of strings, not ['a', 5]"),
        ("/tokenize", {"messages": "hi"}, "messages must be a list of chat messages, instead of a prompt, not 'hi'"),
        ("/tokenize", {"prompt": "a", "add_special_tokens": 1}, "add_special_tokens must be true or false, not 1"),
        ("/tokenize", {"promt": "a"}, "unknown field 'promt'; did you mean 'prompt'?"),
        ("/tokenize", {"messages": QUESTION, "add_special_tokens": False}, "add_special_tokens=false needs a prompt"),
        ("/tokenize", {"messages": [{"role": "user"}]}, "a message of role 'user' needs content"),
        ("/tokenize", {"messages": []}, "messages must be a non-empty list of messages"),
        ("/tokenize", {"messages": [{"role": "a"}]}, "messages[0].role must be 'system'"),
        ("/tokenize", {"prompt": "a", "reasoning_effort": "low"}, "reasoning_effort needs messages, not a prompt"),
        ("/tokenize", {"prompt": "a", "continue_final_message": True}, "continue_final_message needs messages"),
        ("/tokenize", {"prompt": "a" * 100_000}, "The input (100000 characters) is longer than"),
        ("/detokenize", {}, "tokens is missing: a list of token ids, or a list of such lists"),
        ("/detokenize", {"tokens": "1"}, "tokens must be a list of token ids, or a list of such lists, not '1'"),
        ("/detokenize", {"tokens": [1, [2]]}, "tokens must be a list of token ids, or a list of such lists"),
        ("/detokenize", {"tokens": [1.5]}, "tokens must be a list of token ids, or a list of such lists"),
        ("/detokenize", {"tokens": [True]}, "tokens must be a list of token ids, or a list of such lists"),
        ("/detokenize", {"tokens": [-1]}, "tokens has id -1; valid ids are 0 to 49151"),
        ("/detokenize", {"tokens": [[1], [2**70]]}, "tokens must be a list of token ids, or a list of such lists"),
        ("/detokenize", {"tokens": [[1], [49152]]}, "tokens has id 49152; valid ids are 0 to 49151"),
        ("/role_text", {"roles": []}, "roles must be 1 to 2048 names of roles, not 0"),
        ("/role_text", {"roles": "user"}, "roles must be a list of the names of roles, not 'user'"),
    ],
)
def test_what_is_wrong_is_named(client: httpx.Client, path: str, body: dict[str, Any], message: str) -> None:
    response = client.post(path, json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert message in error["message"] and len(error["message"]) < 300
    assert (error["type"], error["code"]) == ("invalid_request_error", 400)
