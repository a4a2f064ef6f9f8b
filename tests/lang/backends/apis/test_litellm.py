"""LiteLLM: through the library, against the server's own ``/v1`` and the wire format of others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.backends.apis.openai import OpenAI
from sglang.lang.backends.runtime import Runtime
from sglang.lang.execution import loop
from sglang.srt.errors import ConfigurationError
from tests.lang.backends.fake_server import Answer, FakeServer, events
from tests.lang.backends.unfinished_server import UnfinishedServer

pytestmark = pytest.mark.filterwarnings("ignore")  # the library warns of itself when it is loaded

JSON = {"content-type": "application/json"}
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": 12, "ignore_eos": True}


@pytest.fixture(autouse=True)
def _library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it looks for prices in the network otherwise
    pytest.importorskip("litellm", reason="the litellm package is not installed")


@pytest.fixture
def openai_backend(runtime: Runtime) -> Iterator[OpenAI]:
    backend = OpenAI("tiny", base_url=f"{runtime.url}/v1", api_key="EMPTY")
    yield backend
    loop.run(backend.aclose())


def connect(url: str, **options: Any) -> sgl.LiteLLM:
    return sgl.LiteLLM("openai/m", base_url=f"{url}/v1", api_key="k", max_retries=0, **options)


@sgl.function
def chat(s: sgl.ProgramState, **options: Any) -> None:
    s += sgl.system("Be brief.") + sgl.user("Who?") + sgl.assistant(sgl.gen("who", **options))


def answered(content: str, **of_message: Any) -> Answer:
    message = {"role": "assistant", "content": content, **of_message}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return Answer(body, headers=JSON)


def chunk(content: str | None, finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def why(state: sgl.ProgramState) -> tuple[sgl.ProgramError, BaseException]:
    error = state.error()
    assert error is not None and error.cause is not None
    return error, error.cause


def test_a_chat_is_what_the_openai_backend_says(runtime: Runtime, openai_backend: OpenAI) -> None:
    backend = sgl.LiteLLM("openai/tiny", base_url=f"{runtime.url}/v1", api_key="EMPTY")
    whole, streamed, expected = (
        chat.run(backend=backend, **GREEDY),
        chat.run(backend=backend, stream=True, **GREEDY),
        chat.run(backend=openai_backend, **GREEDY),
    )
    assert whole["who"] == streamed["who"] == expected["who"]
    for state in (whole, streamed):
        for name in ("prompt_tokens", "completion_tokens", "finish_reason"):
            assert state.get_meta_info("who")[name] == expected.get_meta_info("who")[name]
    assert backend.token_usage.completion_tokens == 24


def test_constraints_reach_a_server_of_ours(runtime: Runtime) -> None:
    backend = sgl.LiteLLM("openai/tiny", base_url=f"{runtime.url}/v1", api_key="EMPTY")
    assert chat.run(regex="[0-9]{4}", backend=backend)["who"].isdigit()
    assert isinstance(json.loads(chat.run(json_schema={"type": "string", "maxLength": 3}, backend=backend)["who"]), str)


def test_what_is_sent() -> None:
    with FakeServer(lambda path, body: answered("I")) as fake:
        backend = connect(fake.url, default_headers={"x-who": "me"}, organization="o")
        state = chat.run(
            backend=backend, max_new_tokens=5, temperature=0.5, top_p=0.9, stop="x", sampling_seed=7, min_p=0.1, n=1
        )
        assert state["who"] == "I"
        (asked,) = fake.asked
    assert asked.headers["x-who"] == "me"
    assert asked.headers["authorization"] == "Bearer k"
    assert asked.body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}],
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "stop": ["x"],
        "seed": 7,
        "min_p": 0.1,
        "n": 1,
    }


def test_thoughts_are_told_apart() -> None:
    with FakeServer(lambda path, body: answered("I.", reasoning_content="Hm.")) as fake:
        state = chat.run(separate_reasoning=True, backend=connect(fake.url))
        assert (state["who"], state["who_reasoning_content"]) == ("I.", "Hm.")


def test_a_stream_grows() -> None:
    stream = events(chunk("I "), chunk("am."), chunk(None, "stop"))
    with FakeServer(lambda path, body: Answer(stream.body, headers={"content-type": "text/event-stream"})) as fake:
        assert list(chat.run(backend=connect(fake.url), stream=True).text_iter("who")) == ["I ", "am."]


def test_what_a_provider_does_not_get_is_refused() -> None:
    backend = sgl.LiteLLM("anthropic/claude-3-haiku-20240307", api_key="k", base_url="http://127.0.0.1:9")
    spaced = {"schema": list[int], "whitespace_pattern": " "}
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"regex": "a+"}, "regex"), ({"min_p": 0.1}, "min_p"), (spaced, "whitespace_pattern"),
    )  # fmt: skip
    for options, name in refused:
        error, cause = why(chat.run(backend=backend, **options))
        assert isinstance(cause, sgl.UnsupportedError) and f"LiteLLM does not support {name}" in str(error)
    error, cause = why(chat.run(backend=backend, frequency_penalty=0.5))
    assert isinstance(cause, sgl.InvalidRequestError) and "frequency_penalty" in str(error)


def test_an_error_of_the_api() -> None:
    refusing = Answer({"error": {"message": "no such thing", "type": "x"}}, 400, {**JSON, "x-request-id": "req_1"})
    with FakeServer(lambda path, body: refusing) as fake:
        _, cause = why(chat.run(backend=connect(fake.url)))
    assert isinstance(cause, sgl.InvalidRequestError) and "no such thing" in str(cause)


def test_where_nobody_answers() -> None:
    with FakeServer(lambda path, body: answered("never")) as fake:
        url = fake.url
    error, cause = why(chat.run(backend=connect(url)))
    assert isinstance(cause, sgl.BackendError) and url in str(error)


def test_cancelling_closes_the_request() -> None:
    server = UnfinishedServer.start(events(chunk("I "), done=False).data)
    state = chat.run(backend=connect(server.url), stream=True)
    assert next(iter(state.text_iter("who"))) == "I "
    state.cancel()
    server.wait_until_left()
    server.close()


def test_a_model_of_nobody() -> None:
    with pytest.raises(ConfigurationError, match="write PROVIDER/m, for a server that speaks the OpenAI API openai/m"):
        sgl.LiteLLM("m")
