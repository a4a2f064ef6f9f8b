"""RuntimeEndpoint on servers of the published protocol, and on servers that fail."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from sglang.lang.backends.base import Prompt, RoleText
from sglang.lang.backends.runtime_endpoint import RuntimeEndpoint
from sglang.lang.choices import Exact, token_length_normalized, unconditional_likelihood_normalized
from sglang.lang.ir import SamplingArguments
from sglang.srt.errors import (
    AuthenticationError,
    BackendError,
    ConfigurationError,
    EngineDeadError,
    InvalidRequestError,
    RequestAbortedError,
    RequestFailedError,
    SglangError,
    UnsupportedError,
)
from tests.lang.backends.fake_server import Answer, FakeServer, events

PROMPT = Prompt("a prompt", ("a", " prompt"))
ANY = SamplingArguments()


def result(text: str, **meta_info: Any) -> dict[str, Any]:
    return {"text": text, "meta_info": {"finish_reason": {"type": "stop"}, **meta_info}}


async def with_endpoint(fake: FakeServer, use: Callable[[RuntimeEndpoint], Awaitable[Any]], **options: Any) -> Any:
    endpoint = RuntimeEndpoint(fake.url, **options)
    try:
        return await use(endpoint)
    finally:
        await endpoint.aclose()


async def generate(fake: FakeServer, sampling: SamplingArguments = ANY, prompt: Prompt = PROMPT) -> Any:
    return await with_endpoint(fake, lambda endpoint: endpoint.generate(prompt, sampling))


async def stream(fake: FakeServer) -> list[str]:
    async def read(endpoint: RuntimeEndpoint) -> list[str]:
        async with aclosing(endpoint.stream(PROMPT, ANY)) as items:
            return [item.text async for item in items]

    texts: list[str] = await with_endpoint(fake, read)
    return texts


# --- the published protocol -------------------------------------------------------------------------------------------


async def test_a_server_without_segments_is_sent_text() -> None:
    with FakeServer(lambda path, body: Answer(result("!"))) as fake:
        (generated,) = await generate(fake, SamplingArguments(temperature=0.5, stop=("x",), return_logprob=True))
        assert generated.as_segments == ("!",)
        assert fake.generate_bodies == [
            {"text": "a prompt", "sampling_params": {"temperature": 0.5, "stop": ["x"]}, "return_logprob": True}
        ]


async def test_only_such_a_server_wants_prefixes_first() -> None:
    with (
        FakeServer(lambda path, _: Answer(None)) as published,
        FakeServer(lambda path, _: Answer(None), {"model_path": "m", "segments": True}) as ours,
    ):
        assert RuntimeEndpoint(published.url).wants_prefix_first
        assert not RuntimeEndpoint(ours.url).wants_prefix_first


async def test_select_asks_for_the_prompt_and_then_for_all_choices_at_once() -> None:
    def answer(path: str, body: Any) -> Answer:
        if body["text"] == "a prompt":
            return Answer(result("", prompt_tokens=5))
        logprobs = {"a prompt yes": -0.5, "a prompt no": -1.5}
        tail = [[None, 1, " prom"], [-9.0, 2, "pt"]]
        return Answer(
            [
                result(
                    "", input_token_logprobs=[*tail, [logprobs[text], len(text), text]] if text in logprobs else tail
                )
                for text in body["text"]
            ]
        )

    with FakeServer(answer) as fake:
        decision = await with_endpoint(
            fake, lambda endpoint: endpoint.select(PROMPT, [" no", " yes"], token_length_normalized)
        )
        assert decision.decision == " yes"
        assert decision.meta_info["normalized_prompt_logprobs"] == [-1.5, -0.5]
        _, scoring = fake.generate_bodies
        assert scoring["text"][:2] == ["a prompt no", "a prompt yes"]
        assert (scoring["sampling_params"]["max_new_tokens"], scoring["logprob_start_len"]) == (0, 1)


async def test_a_server_that_takes_choices_is_sent_one_request() -> None:
    rows = [[[-1.5, 7, " no"]], [[-0.5, 8, " yes"]]]
    answers = {
        "/score_choices": {
            "input_token_logprobs": rows,
            "unconditional_token_logprobs": [[[None, 7, " no"]], [[None, 8, " yes"]]],
            "meta_info": {"prompt_tokens": 5},
        },
        "/select": {"decision": " no", "index": 0, "meta_info": {"choice_probabilities": [0.75, 0.25]}},
    }
    with FakeServer(
        lambda path, body: Answer(answers[path]), {"model_path": "m", "segments": True, "select": True}
    ) as fake:
        endpoint = RuntimeEndpoint(fake.url)
        plain = await endpoint.select(PROMPT, [" no", " yes"], token_length_normalized)
        other = await endpoint.select(PROMPT, [" no", " yes"], unconditional_likelihood_normalized)
        exact = await endpoint.select_exact(PROMPT, [" no", " yes"], Exact(max_rows=7, sampling_seed=3))
        await endpoint.aclose()
        assert (plain.decision, plain.meta_info["prompt_tokens"]) == (" yes", 5)
        assert other.meta_info["normalized_unconditional_prompt_logprobs"] == [-1.5, -0.5]
        assert (exact.decision, exact.meta_info) == (" no", {"choice_probabilities": [0.75, 0.25]})
        shared = {"segments": ["a", " prompt"], "choices": [" no", " yes"]}
        assert len({asked.body.pop("rid") for asked in fake.asked[1:]}) == 3
        assert [(asked.path, asked.body) for asked in fake.asked[1:]] == [
            ("/score_choices", {**shared, "unconditional": False}),
            ("/score_choices", {**shared, "unconditional": True}),
            ("/select", {**shared, "max_rows": 7, "temperature": 0.0, "sampling_seed": 3}),
        ]


async def test_an_answer_that_is_none_is_an_error() -> None:
    with FakeServer(lambda path, body: Answer([]), {"model_path": "m", "segments": True, "select": True}) as fake:
        endpoint = RuntimeEndpoint(fake.url)
        with pytest.raises(BackendError, match="'input_token_logprobs' and 'meta_info' were asked for"):
            await endpoint.select(PROMPT, ["a", "b"], token_length_normalized)
        with pytest.raises(BackendError, match="'decision' and 'meta_info' were asked for"):
            await endpoint.select_exact(PROMPT, ["a", "b"], Exact())
        await endpoint.aclose()


async def test_exact_is_refused_where_a_server_cannot_do_it() -> None:
    with (
        FakeServer(lambda path, body: Answer({})) as fake,
        pytest.raises(UnsupportedError, match="exact needs a server of this project"),
    ):
        await with_endpoint(fake, lambda endpoint: endpoint.select_exact(PROMPT, ["a", "b"], Exact()))


async def test_a_server_that_scores_no_prompts_cannot_select() -> None:
    with (
        FakeServer(
            lambda path, body: Answer(
                [result("")] * 3 if isinstance(body["text"], list) else result("", prompt_tokens=2)
            )
        ) as fake,
        pytest.raises(BackendError, match="select needs 'input_token_logprobs'"),
    ):
        await with_endpoint(fake, lambda endpoint: endpoint.select(PROMPT, ["a", "b"], token_length_normalized))


async def test_roles_come_from_the_table_and_end_answers() -> None:
    with FakeServer(lambda path, body: Answer(result("!"))) as fake:
        asked = Prompt("...", ("...",), (), "assistant", "")
        await generate(fake, SamplingArguments(stop="a"), asked)
        await generate(fake, ANY, asked)
        await generate(fake, SamplingArguments(stop="a"))
        assert [body["sampling_params"].get("stop") for body in fake.generate_bodies] == [
            ["a", "<|im_end|>"],
            ["<|im_end|>"],
            "a",
        ]
        around = await with_endpoint(fake, lambda endpoint: endpoint.role_text(["system", "user"]))
        assert around == RoleText("<|im_start|>user\n", "<|im_end|>\n")
        named = await with_endpoint(
            fake, lambda endpoint: endpoint.role_text(["user"]), chat_template_name="llama-3-instruct"
        )
        assert named == RoleText("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>")


async def test_of_many_programs_that_begin_alike_one_asks_for_the_role_text() -> None:
    answer = Answer({"prefix": "<", "suffix": ">"})
    with FakeServer(lambda path, body: answer, {"model_path": "m", "segments": True}) as fake:

        async def ask(endpoint: RuntimeEndpoint) -> list[RoleText]:
            return await asyncio.gather(*[endpoint.role_text(["user"]) for _ in range(20)])

        assert await with_endpoint(fake, ask) == [RoleText("<", ">")] * 20
        assert [asked.body for asked in fake.asked if asked.path == "/role_text"] == [{"roles": ["user"]}]


async def test_a_template_that_is_not_there() -> None:
    with pytest.raises(UnsupportedError, match="did you mean 'chatml'"):
        RuntimeEndpoint("http://localhost:1", chat_template_name="chatlm")


# --- streams ----------------------------------------------------------------------------------------------------------


async def test_line_separators_of_unicode_do_not_end_an_event() -> None:
    texts = ["a\u2028", "a\u2028b\x85", "a\u2028b\x85c\r\n"]
    with FakeServer(lambda path, body: events(*map(result, texts))) as fake:
        assert await stream(fake) == texts
        assert fake.generate_bodies[0]["stream"] is True


async def test_a_stream_that_breaks_off() -> None:
    server = FakeServer(lambda path, body: events(result("a"), done=False))
    with server as fake, pytest.raises(BackendError, match="ended before the answer was complete"):
        await stream(fake)


async def test_an_error_in_a_stream() -> None:
    error = {"error": {"message": "it broke", "type": "engine_dead", "code": 503}}
    server = FakeServer(lambda path, body: events(result("a"), error))
    with server as fake, pytest.raises(EngineDeadError, match="it broke"):
        await stream(fake)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, {"error": {"message": "bad value"}}, InvalidRequestError, "bad value"),
        (400, {"error": {"message": "no such", "type": "unsupported"}}, UnsupportedError, "no such"),
        (401, {"error": "Unauthorized"}, AuthenticationError, "Unauthorized"),
        (422, {"detail": "field required"}, InvalidRequestError, "field required"),
        (500, {"object": "error", "message": "oh", "type": "500"}, RequestFailedError, "oh"),
        (503, {"error": {"message": "gone", "type": "engine_dead"}}, EngineDeadError, "gone"),
        (502, b"<html>bad gateway", BackendError, "<html>bad gateway"),
        (404, {"detail": "Not Found"}, BackendError, "Not Found"),
    ],
)
async def test_errors_of_the_server(status: int, body: Any, kind: type[SglangError], message: str) -> None:
    with FakeServer(lambda path, _: Answer(body, status)) as fake:
        for ask in (generate, stream):
            with pytest.raises(SglangError, match=f"/generate answered {status}: .*{message}") as raised:
                await ask(fake)
            assert type(raised.value) is kind


@pytest.mark.parametrize("body", [b"not JSON", {"result": 1}, [1], "text"])
async def test_an_answer_that_is_none(body: Any) -> None:
    with FakeServer(lambda path, _: Answer(body)) as fake, pytest.raises(BackendError, match="answered"):
        await generate(fake)


async def test_an_aborted_request_is_no_answer() -> None:
    aborted = {"text": "half", "meta_info": {"finish_reason": {"type": "abort", "message": "by the operator"}}}
    server = FakeServer(lambda path, _: Answer(aborted))
    with server as fake, pytest.raises(RequestAbortedError, match="by the operator"):
        await generate(fake)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_no_server_there() -> None:
    url = f"http://127.0.0.1:{unused_port()}"
    with pytest.raises(BackendError, match=f"{url} cannot be reached"):
        RuntimeEndpoint(url)


@pytest.mark.parametrize("url", ["localhost:30000", "ftp://localhost", "http://", "", "http://[::1"])
def test_no_url(url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        RuntimeEndpoint(url)


def test_a_server_of_something_else() -> None:
    server = FakeServer(lambda path, _: Answer(None), model_info=[])  # type: ignore[arg-type]
    with server as fake, pytest.raises(BackendError, match="which is no JSON object"):
        RuntimeEndpoint(fake.url)


async def test_a_server_that_goes_away() -> None:
    with FakeServer(lambda path, _: Answer(result("!"))) as fake:
        endpoint = RuntimeEndpoint(fake.url)
    with pytest.raises(BackendError, match="cannot be reached"):
        await endpoint.generate(PROMPT, ANY)
    await endpoint.aclose()


async def test_the_key_goes_along() -> None:
    with FakeServer(lambda path, _: Answer(result("!"))) as fake:
        await with_endpoint(fake, lambda endpoint: endpoint.generate(PROMPT, ANY), api_key="secret")
        assert {asked.headers.get("authorization") for asked in fake.asked} == {"Bearer secret"}
