"""VertexAI: through the official client, against the wire format of the Gemini API."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.execution import loop
from sglang.srt.errors import AuthenticationError
from tests.lang.backends.fake_server import Answer, FakeServer
from tests.lang.backends.unfinished_server import UnfinishedServer

pytest.importorskip("google.genai", reason="the google-genai package is not installed")

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
PATH = "/v1beta1/projects/some-project/locations/some-region/publishers/google/models/gemini-x"

Connect = Callable[..., sgl.VertexAI]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    from google.oauth2.credentials import Credentials

    made: list[sgl.VertexAI] = []

    def connect(url: str, **options: Any) -> sgl.VertexAI:
        http_options = {"base_url": url, "retry_options": {"attempts": 1}}
        given = {"credentials": Credentials("token"), "http_options": http_options, **options}
        made.append(sgl.VertexAI("gemini-x", **given))
        return made[-1]

    monkeypatch.setenv("GCP_PROJECT_ID", "some-project")
    monkeypatch.setenv("GCP_LOCATION", "some-region")
    yield connect
    for backend in made:
        loop.run(backend.aclose())


def candidate(*texts: str, thoughts: str = "", reason: str | None = "STOP", index: int | None = None) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": text} for text in texts]
    if thoughts:
        parts.insert(0, {"text": thoughts, "thought": True})
    given = {"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": index}
    return {name: value for name, value in given.items() if value is not None}


def response(*candidates: dict[str, Any]) -> dict[str, Any]:
    usage = {"promptTokenCount": 11, "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "cachedContentTokenCount": 4}
    return {"responseId": "r1", "modelVersion": "x", "candidates": list(candidates), "usageMetadata": usage}


def answered(*candidates: dict[str, Any]) -> Answer:
    return Answer(response(*candidates), headers={"content-type": "application/json"})


def wire(*chunks: dict[str, Any]) -> bytes:
    return b"".join(f"data: {json.dumps(chunk)}\r\n\r\n".encode() for chunk in chunks)


def streamed(*chunks: dict[str, Any]) -> Answer:
    return Answer(wire(*chunks), headers={"content-type": "text/event-stream"})


def in_snake_case(value: Any) -> Any:
    """The API takes names written in both ways, and the client sends both."""
    if isinstance(value, dict):
        return {
            re.sub("[A-Z]", lambda one: f"_{one[0].lower()}", name): in_snake_case(of) for name, of in value.items()
        }
    return list(map(in_snake_case, value)) if isinstance(value, list) else value


@sgl.function
def chat(s: sgl.ProgramState, **options: Any) -> None:
    s += sgl.system("Be brief.") + sgl.user("Who?") + sgl.assistant(sgl.gen("who", **options))


def why(state: sgl.ProgramState) -> tuple[sgl.ProgramError, BaseException]:
    error = state.error()
    assert error is not None and error.cause is not None
    return error, error.cause


def test_a_chat(connect: Connect) -> None:
    with FakeServer(lambda path, body: answered(candidate("I ", "am."))) as fake:
        state = chat.run(backend=connect(fake.url, safety_settings={"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"}))
        assert state["who"] == "I am."
        assert state.get_meta_info("who") == {
            "id": "r1",
            "finish_reason": {"type": "stop"},
            "prompt_tokens": 11,
            "cached_tokens": 4,
            "completion_tokens": 7,
        }
        (asked,) = fake.asked
    assert asked.path == f"{PATH}:generateContent"
    assert asked.body == {
        "contents": [{"role": "user", "parts": [{"text": "Who?"}]}],
        "systemInstruction": {"role": "user", "parts": [{"text": "Be brief."}]},
        "generationConfig": {"maxOutputTokens": 128, "temperature": 1.0},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    }


def test_a_stream_grows(connect: Connect) -> None:
    chunks = [response(candidate("I ", reason=None)), response(candidate("am."))]
    with FakeServer(lambda path, body: streamed(*chunks)) as fake:
        state = chat.run(backend=connect(fake.url), stream=True)
        assert list(state.text_iter("who")) == ["I ", "am."]
        assert state.get_meta_info("who")["finish_reason"] == {"type": "stop"}
        assert fake.asked[0].path == f"{PATH}:streamGenerateContent?alt=sse"


def test_what_is_sent(connect: Connect) -> None:
    schema = {"type": "object", "properties": {}}
    options: dict[str, Any] = {
        "max_tokens": 5, "stop": "x", "temperature": 0.5, "top_p": 0.9, "top_k": 3, "frequency_penalty": 0.1,
        "presence_penalty": 0.2, "sampling_seed": 7, "json_schema": schema,
    }  # fmt: skip
    with FakeServer(lambda path, body: answered(candidate("{}"))) as fake:
        assert chat.run(backend=connect(fake.url), **options)["who"] == "{}"
        assert fake.asked[0].body["generationConfig"] == {
            "maxOutputTokens": 5,
            "stopSequences": ["x"],
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 3,
            "frequencyPenalty": 0.1,
            "presencePenalty": 0.2,
            "seed": 7,
            "responseMimeType": "application/json",
            "responseJsonSchema": schema,
        }


def test_several_samples_are_candidates(connect: Connect) -> None:
    both = answered(candidate("b", index=1), candidate("a", index=0))
    with FakeServer(lambda path, body: both) as fake:
        assert chat.run(n=2, backend=connect(fake.url))["who"] == ["a", "b"]
        assert fake.asked[0].body["generationConfig"]["candidateCount"] == 2
        error, cause = why(chat.run(n=3, backend=connect(fake.url)))
    assert isinstance(cause, sgl.BackendError) and "number 2 is missing" in str(error)


def test_thoughts_are_told_apart(connect: Connect) -> None:
    with FakeServer(lambda path, body: answered(candidate("I.", thoughts="Hm."))) as fake:
        state = chat.run(separate_reasoning=True, backend=connect(fake.url))
        assert (state["who"], state["who_reasoning_content"]) == ("I.", "Hm.")
        assert in_snake_case(fake.asked[0].body["generationConfig"]["thinkingConfig"]) == {"include_thoughts": True}


def test_media(connect: Connect) -> None:
    @sgl.function
    def look(s: sgl.ProgramState) -> None:
        s += sgl.user(sgl.image(PNG) + "and" + sgl.video("gs://bucket/b.mp4")) + sgl.assistant(sgl.gen("x"))

    with FakeServer(lambda path, body: answered(candidate("Cats."))) as fake:
        assert look.run(backend=connect(fake.url))["x"] == "Cats."
        (asked,) = fake.asked
    assert in_snake_case(asked.body["contents"][0]["parts"]) == [
        {"inline_data": {"mime_type": "image/png", "data": "iVBORw0KGgoAAAAAAAAAAA=="}},
        {"text": "and"},
        {"file_data": {"file_uri": "gs://bucket/b.mp4", "mime_type": "video/mp4"}},
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regex": "a+"}, "the Vertex AI API does not support regex; these models follow a JSON schema"),
        ({"return_logprob": True}, "the Vertex AI API does not support return_logprob"),
        (
            {"schema": list[int], "whitespace_pattern": " "},
            "the Vertex AI API does not support whitespace_pattern",
        ),
        ({"choices": ["a", "b"]}, "VertexAI does not support select"),
    ],
)
def test_what_it_cannot_do_is_refused(connect: Connect, options: dict[str, Any], message: str) -> None:
    with FakeServer(lambda path, body: answered(candidate("never"))) as fake:
        error, cause = why(chat.run(backend=connect(fake.url), **options))
        assert isinstance(cause, sgl.UnsupportedError) and message in str(error)
        assert fake.asked == []


def test_a_url_that_does_not_tell_the_type(connect: Connect) -> None:
    @sgl.function
    def look(s: sgl.ProgramState) -> None:
        s += sgl.user(sgl.image("https://host/picture")) + sgl.assistant(sgl.gen("x"))

    with FakeServer(lambda path, body: answered(candidate("never"))) as fake:
        error, _ = why(look.run(backend=connect(fake.url)))
    assert "wants to know the type of Image('https://host/picture')" in str(error)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r1"}, "the prompt is blocked: SAFETY"),
        (response(candidate("Well", reason="RECITATION")), "the model was kept from answering: RECITATION"),
    ],
)
def test_what_keeps_the_model_from_answering(connect: Connect, answer: dict[str, Any], message: str) -> None:
    with FakeServer(lambda path, body: Answer(answer, headers={"content-type": "application/json"})) as fake:
        error, _ = why(chat.run(backend=connect(fake.url)))
    assert message in str(error) and error.request_id == "r1"


@pytest.mark.parametrize(("status", "of"), [(400, sgl.InvalidRequestError), (429, sgl.BackendError)])
def test_an_error_of_the_api(connect: Connect, status: int, of: type[Exception]) -> None:
    body = {"error": {"code": status, "message": "no such thing", "status": "X"}}
    refusing = Answer(body, status, {"content-type": "application/json"})
    with FakeServer(lambda path, body: refusing) as fake:
        _, cause = why(chat.run(backend=connect(fake.url)))
    assert type(cause) is of and str(cause) == f"the Vertex AI API answered {status}: no such thing"


def test_an_answer_that_breaks_off_is_none(connect: Connect) -> None:
    with FakeServer(lambda path, body: streamed(response(candidate("I ", reason=None)))) as fake:
        _, cause = why(chat.run(backend=connect(fake.url), stream=True))
    assert "the stream ended before the answer was complete" in str(cause)


def test_where_nobody_answers(connect: Connect) -> None:
    with FakeServer(lambda path, body: answered(candidate("never"))) as fake:
        url = fake.url
    _, cause = why(chat.run(backend=connect(url)))
    assert isinstance(cause, sgl.BackendError) and "cannot be reached" in str(cause)


def test_cancelling_closes_the_request(connect: Connect) -> None:
    server = UnfinishedServer.start(wire(response(candidate("I ", reason=None))))
    state = chat.run(backend=connect(server.url), stream=True)
    assert next(iter(state.text_iter("who"))) == "I "
    state.cancel()
    server.wait_until_left()
    server.close()


def test_without_a_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GCP_PROJECT_ID", raising=False)
    for options in ({}, {"api_key": None}):
        with pytest.raises(ValueError, match="needs a project: set GCP_PROJECT_ID and GCP_LOCATION, or give api_key"):
            sgl.VertexAI("gemini-x", **options)


def test_without_credentials(connect: Connect) -> None:
    from google.auth.credentials import AnonymousCredentials

    credentials = AnonymousCredentials()
    with FakeServer(lambda path, body: answered(candidate("never"))) as fake:
        error, cause = why(chat.run(backend=connect(fake.url, credentials=credentials)))
        assert fake.asked == []
    assert isinstance(cause, AuthenticationError) and "gcloud auth application-default login" in str(error)
