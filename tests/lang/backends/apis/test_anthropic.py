"""Anthropic: through the official client, against the wire format of the Messages API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.execution import loop
from sglang.srt.errors import AuthenticationError
from tests.lang.backends.fake_server import Answer, FakeServer
from tests.lang.backends.unfinished_server import UnfinishedServer

pytest.importorskip("anthropic", reason="the anthropic package is not installed")

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8

Connect = Callable[..., sgl.Anthropic]


@pytest.fixture
def connect() -> Iterator[Connect]:
    made: list[sgl.Anthropic] = []

    def connect(url: str, **options: Any) -> sgl.Anthropic:
        made.append(sgl.Anthropic("claude-x", base_url=url, api_key="k", max_retries=0, **options))
        return made[-1]

    yield connect
    for backend in made:
        loop.run(backend.aclose())


def wire(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def begun(*texts: str, thoughts: str = "") -> list[dict[str, Any]]:
    usage = {"input_tokens": 5, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 4, "output_tokens": 1}
    message: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-x",
        "stop_reason": None, "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    if thoughts:
        block = {"type": "thinking", "thinking": "", "signature": ""}
        delta = {"type": "thinking_delta", "thinking": thoughts}
        events.append({"type": "content_block_start", "index": 0, "content_block": block})
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
        signature = {"type": "signature_delta", "signature": "c2ln"}
        events.append({"type": "content_block_delta", "index": 0, "delta": signature})
        events.append({"type": "content_block_stop", "index": 0})
    events.append({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}})
    for text in texts:
        delta = {"type": "text_delta", "text": text}
        events.append({"type": "content_block_delta", "index": 1, "delta": delta})
    return events


def answered(*texts: str, thoughts: str = "", stop_reason: str = "end_turn", matched: str | None = None) -> Answer:
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason, "stop_sequence": matched},
        "usage": {"output_tokens": 7},
    }
    stream = wire(*begun(*texts, thoughts=thoughts), {"type": "content_block_stop", "index": 1}, end)
    return Answer(stream + wire({"type": "message_stop"}), headers={"content-type": "text/event-stream"})


def refusing(status: int, kind: str, message: str) -> Answer:
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return Answer(body, status, {"request-id": "req_1", "content-type": "application/json"})


@sgl.function
def chat(s: sgl.ProgramState, **options: Any) -> None:
    s += sgl.system("Be brief.") + sgl.user("Who?") + sgl.assistant(sgl.gen("who", **options))


def sent(connect: Connect, **options: Any) -> dict[str, Any]:
    """The request that the API gets."""
    with FakeServer(lambda path, body: answered("I")) as fake:
        assert chat.run(backend=connect(fake.url), **options)["who"] == "I"
        (asked,) = fake.asked
    assert asked.path == "/v1/messages"
    assert "k" in (asked.headers.get("x-api-key"), asked.headers.get("authorization", "").removeprefix("Bearer "))
    return dict(asked.body)


def why(state: sgl.ProgramState) -> tuple[sgl.ProgramError, BaseException]:
    error = state.error()
    assert error is not None and error.cause is not None
    return error, error.cause


def test_a_chat(connect: Connect) -> None:
    with FakeServer(lambda path, body: answered("I ", "am.")) as fake:
        state = chat.run(backend=connect(fake.url))
        assert state["who"] == "I am."
        assert state.get_meta_info("who") == {
            "id": "msg_1",
            "finish_reason": {"type": "stop"},
            "prompt_tokens": 11,
            "cached_tokens": 4,
            "completion_tokens": 7,
        }
        (asked,) = fake.asked
    assert asked.body == {
        "model": "claude-x",
        "max_tokens": 128,
        "stream": True,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Who?"}],
    }


def test_a_stream_grows(connect: Connect) -> None:
    with FakeServer(lambda path, body: answered("I ", "am.")) as fake:
        state = chat.run(backend=connect(fake.url), stream=True)
        assert list(state.text_iter("who")) == ["I ", "am."]
        assert state.get_meta_info("who")["completion_tokens"] == 7


def test_what_is_sent(connect: Connect) -> None:
    schema = {"type": "object", "properties": {}}
    body = sent(connect, max_tokens=5, stop="x", temperature=0.5, top_p=0.9, top_k=3, json_schema=schema)
    assert {name: body[name] for name in body if name not in ("messages", "model", "system", "stream")} == {
        "max_tokens": 5,
        "stop_sequences": ["x"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }


def test_several_samples_are_several_requests(connect: Connect) -> None:
    texts = iter("abc")
    with FakeServer(lambda path, body: answered(next(texts))) as fake:
        assert sorted(chat.run(n=3, backend=connect(fake.url))["who"]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("stop_reason", "matched", "finish"),
    [
        ("max_tokens", None, {"type": "length"}),
        ("stop_sequence", "x", {"type": "stop", "matched": "x"}),
        ("pause_turn", None, {"type": "pause_turn"}),
    ],
)
def test_why_it_ended(connect: Connect, stop_reason: str, matched: str | None, finish: dict[str, str]) -> None:
    with FakeServer(lambda path, body: answered("I", stop_reason=stop_reason, matched=matched)) as fake:
        state = chat.run(backend=connect(fake.url))
        assert state.get_meta_info("who")["finish_reason"] == finish


def test_thoughts_are_told_apart(connect: Connect) -> None:
    with FakeServer(lambda path, body: answered("I.", thoughts="Hm.")) as fake:
        state = chat.run(separate_reasoning=True, backend=connect(fake.url))
        assert (state["who"], state["who_reasoning_content"]) == ("I.", "Hm.")
        assert "Hm." not in state.text()


def test_an_answer_that_the_program_begins(connect: Connect) -> None:
    @sgl.function
    def begins(s: sgl.ProgramState) -> None:
        s += sgl.user("Who?") + sgl.assistant("I am" + sgl.gen("rest"))

    with FakeServer(lambda path, body: answered(" Ann.")) as fake:
        state = begins.run(backend=connect(fake.url))
        assert state.messages()[1] == {"role": "assistant", "content": "I am Ann."}
        (asked,) = fake.asked
    assert asked.body["messages"][1:] == [{"role": "assistant", "content": "I am"}]


def test_images(connect: Connect) -> None:
    @sgl.function
    def look(s: sgl.ProgramState) -> None:
        s += sgl.user(sgl.image(PNG) + " or " + sgl.image("https://host/b.png") + "?") + sgl.assistant(sgl.gen("x"))

    with FakeServer(lambda path, body: answered("The first.")) as fake:
        assert look.run(backend=connect(fake.url))["x"] == "The first."
        (asked,) = fake.asked
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoAAAAAAAAAAA=="}
    assert asked.body["messages"][0]["content"] == [
        {"type": "image", "source": source},
        {"type": "text", "text": " or "},
        {"type": "image", "source": {"type": "url", "url": "https://host/b.png"}},
        {"type": "text", "text": "?"},
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regex": "a+"}, "the Anthropic API does not support regex; these models follow a JSON schema"),
        ({"return_logprob": True}, "the Anthropic API does not support return_logprob"),
        (
            {"schema": list[int], "whitespace_pattern": " "},
            "the Anthropic API does not support whitespace_pattern",
        ),
        ({"frequency_penalty": 0.5}, "the Anthropic API does not support frequency_penalty"),
        ({"sampling_seed": 3}, "the Anthropic API does not support sampling_seed"),
        ({"separate_reasoning": "qwen3"}, "takes no reasoning parser such as 'qwen3': write separate_reasoning=True"),
        ({"choices": ["a", "b"]}, "Anthropic does not support select"),
    ],
)
def test_what_it_cannot_do_is_refused(connect: Connect, options: dict[str, Any], message: str) -> None:
    with FakeServer(lambda path, body: answered("never")) as fake:
        error, cause = why(chat.run(backend=connect(fake.url), **options))
        assert isinstance(cause, sgl.UnsupportedError) and message in str(error)
        assert fake.asked == []


def test_what_stands_where_the_api_cannot_see_it_is_refused(connect: Connect) -> None:
    @sgl.function
    def outside(s: sgl.ProgramState) -> None:
        s += "Psst! " + sgl.user("Who?") + sgl.assistant(sgl.gen("who"))

    @sgl.function
    def late_system(s: sgl.ProgramState) -> None:
        s += sgl.user("Who?") + sgl.system("Be brief.") + sgl.assistant(sgl.gen("who"))

    @sgl.function
    def hears(s: sgl.ProgramState) -> None:
        s += sgl.user(sgl.audio(b"RIFF....WAVE")) + sgl.assistant(sgl.gen("who"))

    with FakeServer(lambda path, body: answered("never")) as fake:
        for program, message in (
            (outside, "text outside of them"),
            (late_system, "takes one system message, before all others"),
            (hears, "Anthropic does not support audio"),
        ):
            assert message in str(why(program.run(backend=connect(fake.url)))[0])
        assert fake.asked == []


@pytest.mark.parametrize(
    ("status", "kind", "of"),
    [
        (400, "invalid_request_error", sgl.InvalidRequestError),
        (404, "not_found_error", sgl.InvalidRequestError),
        (529, "overloaded_error", sgl.BackendError),
    ],
)
def test_an_error_of_the_api(connect: Connect, status: int, kind: str, of: type[Exception]) -> None:
    with FakeServer(lambda path, body: refusing(status, kind, "no such thing")) as fake:
        error, cause = why(chat.run(backend=connect(fake.url)))
    assert type(cause) is of
    assert str(cause) == f"the Anthropic API answered {status}: no such thing"
    assert error.request_id == "req_1"


def test_an_error_in_the_middle_of_an_answer(connect: Connect) -> None:
    broken = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    stream = Answer(wire(*begun("I "), broken), headers={"content-type": "text/event-stream"})
    with FakeServer(lambda path, body: stream) as fake:
        error, cause = why(chat.run(backend=connect(fake.url), stream=True))
    assert isinstance(cause, sgl.BackendError) and "Overloaded" in str(cause)
    assert error.text.endswith("I ")


def test_an_answer_that_breaks_off_is_none(connect: Connect) -> None:
    stream = Answer(wire(*begun("I ")), headers={"content-type": "text/event-stream"})
    with FakeServer(lambda path, body: stream) as fake:
        _, cause = why(chat.run(backend=connect(fake.url)))
    assert "the stream ended before the answer was complete" in str(cause)


def test_a_refusal_is_no_answer(connect: Connect) -> None:
    with FakeServer(lambda path, body: answered("", stop_reason="refusal")) as fake:
        error, _ = why(chat.run(backend=connect(fake.url)))
    assert "the model refuses to answer" in str(error) and error.request_id == "msg_1"


def test_where_nobody_answers(connect: Connect) -> None:
    with FakeServer(lambda path, body: answered("never")) as fake:
        url = fake.url
    _, cause = why(chat.run(backend=connect(url)))
    assert isinstance(cause, sgl.BackendError) and f"{url} cannot be reached" in str(cause)


def test_cancelling_closes_the_request(connect: Connect) -> None:
    server = UnfinishedServer.start(wire(*begun("I ")))
    state = chat.run(backend=connect(server.url), stream=True)
    assert next(iter(state.text_iter("who"))) == "I "
    state.cancel()
    server.wait_until_left()
    server.close()


def test_what_the_client_does_not_take_it_says_at_once() -> None:
    with pytest.raises(TypeError, match="no_such_argument"):
        sgl.Anthropic("claude-x", api_key="k", no_such_argument=1)


def test_without_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with FakeServer(lambda path, body: answered("never")) as fake:
        error, cause = why(chat.run(backend=sgl.Anthropic("claude-x", base_url=fake.url)))
        assert fake.asked == []
    assert isinstance(cause, AuthenticationError) and "set ANTHROPIC_API_KEY" in str(error)
