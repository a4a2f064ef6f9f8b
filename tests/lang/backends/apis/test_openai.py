"""OpenAI: against the server's own ``/v1``, and what is sent to others."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import openai
import pytest
import pytest_asyncio

import sglang as sgl
from sglang.lang.backends.apis.openai import OpenAI
from sglang.lang.backends.base import Backend, Prompt
from sglang.lang.backends.engine import EngineBackend
from sglang.lang.backends.runtime import Runtime
from sglang.lang.choices import greedy_token_selection, token_length_normalized, unconditional_likelihood_normalized
from sglang.lang.execution import loop
from sglang.lang.ir import SamplingArguments
from sglang.srt.errors import AuthenticationError, BackendError, RequestFailedError, UnsupportedError
from tests.lang.backends.fake_server import Answer, FakeServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

GREEDY = SamplingArguments(max_new_tokens=12, temperature=0.0, ignore_eos=True)
RUN_DEFAULTS = SamplingArguments(top_p=1.0, top_k=-1, min_p=0.0, stop=(), stop_token_ids=(), stop_regex=(), n=1)
"""What a run sends along where the program says nothing."""


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def chat(runtime: Runtime) -> AsyncIterator[OpenAI]:
    backend = OpenAI("tiny", base_url=f"{runtime.url}/v1", api_key="EMPTY")
    yield backend
    await backend.aclose()


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def completion(runtime: Runtime) -> AsyncIterator[OpenAI]:
    backend = OpenAI("tiny", is_chat_model=False, base_url=f"{runtime.url}/v1", api_key="EMPTY")
    yield backend
    await backend.aclose()


async def conversation(backend: Backend, *messages: tuple[str, str]) -> Prompt:
    """The state of a program that has these messages and has begun the answer."""
    roles = [role for role, _ in messages]
    text = ""
    for index, (_, content) in enumerate(messages):
        around = await backend.role_text(roles[: index + 1])
        text += around.prefix + content + around.suffix
    text += (await backend.role_text([*roles, "assistant"])).prefix
    closed = tuple({"role": role, "content": content} for role, content in messages)
    return Prompt(text, (text,), closed, "assistant", "")


def text_prompt(text: str) -> Prompt:
    return Prompt(text, (text,))


# --- our own server ---------------------------------------------------------------------------------------------------


async def test_a_chat_is_what_the_engine_says(chat: OpenAI, tiny_engine: sgl.Engine) -> None:
    engine = EngineBackend(tiny_engine)
    messages = (("system", "Be brief."), ("user", "Who are you?"))
    (expected,) = await engine.generate(await conversation(engine, *messages), GREEDY)
    (generated,) = await chat.generate(await conversation(chat, *messages), GREEDY)
    assert generated.text == expected.text
    for name in ("prompt_tokens", "completion_tokens"):
        assert generated.meta_info[name] == expected.meta_info[name]
    assert generated.meta_info["finish_reason"] == {"type": "length"}


async def test_a_completion_is_what_the_engine_says(completion: OpenAI, tiny_engine: sgl.Engine) -> None:
    (expected,) = await EngineBackend(tiny_engine).generate(text_prompt("Once"), GREEDY)
    (generated,) = await completion.generate(text_prompt("Once"), GREEDY)
    assert generated.text == expected.text


@pytest.mark.parametrize("name", ["chat", "completion"])
async def test_streams_grow_to_the_whole(name: str, chat: OpenAI, completion: OpenAI) -> None:
    backend = {"chat": chat, "completion": completion}[name]
    prompt = await conversation(chat, ("user", "Go on"))
    (whole,) = await backend.generate(prompt, GREEDY)
    async with aclosing(backend.stream(prompt, GREEDY)) as items:
        grown = [item async for item in items]
    for item, later in pairwise(grown):
        assert later.text.startswith(item.text)
    assert grown[-1].text == whole.text
    for key in ("finish_reason", "prompt_tokens", "completion_tokens"):
        assert grown[-1].meta_info[key] == whole.meta_info[key]


async def test_samples_and_seeds(completion: OpenAI) -> None:
    seeded = SamplingArguments(max_new_tokens=8, n=3, sampling_seed=5, ignore_eos=True)
    samples = [sample.text for sample in await completion.generate(text_prompt("dice"), seeded)]
    assert samples == [sample.text for sample in await completion.generate(text_prompt("dice"), seeded)]
    assert len(set(samples)) == 3


@pytest.mark.parametrize("name", ["chat", "completion"])
async def test_log_probabilities(name: str, chat: OpenAI, completion: OpenAI) -> None:
    backend = {"chat": chat, "completion": completion}[name]
    sampling = SamplingArguments(max_new_tokens=3, return_logprob=True, ignore_eos=True)
    (generated,) = await backend.generate(await conversation(chat, ("user", "1")), sampling)
    rows = generated.meta_info["output_token_logprobs"]
    assert len(rows) == 3 and all(logprob < 0 for logprob, *_ in rows)


async def test_usage_adds_up(chat: OpenAI) -> None:
    chat.token_usage.reset()
    prompt = await conversation(chat, ("user", "Count"))
    answers = [(await chat.generate(prompt, GREEDY))[0] for _ in range(2)]
    async with aclosing(chat.stream(prompt, GREEDY)) as items:
        answers += [[item async for item in items][-1]]
    assert chat.token_usage.completion_tokens == 3 * 12
    assert chat.token_usage.prompt_tokens == sum(answer.meta_info["prompt_tokens"] for answer in answers)


async def test_constraints_reach_the_server(chat: OpenAI, completion: OpenAI) -> None:
    prompt = await conversation(chat, ("user", "A number?"))
    number = SamplingArguments(max_new_tokens=8, regex="[0-9]{4}")
    schema = SamplingArguments(max_new_tokens=16, json_schema='{"type": "string", "maxLength": 3}')
    for backend in (chat, completion):
        (generated,) = await backend.generate(prompt, number)
        assert generated.text.isdigit() and len(generated.text) == 4
        (generated,) = await backend.generate(prompt, schema)
        assert isinstance(json.loads(generated.text), str)


async def test_select_agrees_with_the_engine(completion: OpenAI, tiny_engine: sgl.Engine) -> None:
    prompt, choices = text_prompt("The answer:"), [" yes", " no", " 42"]
    for method in (token_length_normalized, greedy_token_selection):
        expected = await EngineBackend(tiny_engine).select(prompt, choices, method)
        decision = await completion.select(prompt, choices, method)
        assert decision.decision == expected.decision
        scores = "normalized_prompt_logprobs"
        assert decision.meta_info[scores] == pytest.approx(expected.meta_info[scores], abs=1e-4)


async def test_errors_are_the_client_s(chat: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature"):
        await chat.generate(await conversation(chat, ("user", "Hi")), SamplingArguments(temperature=-1.0))


async def test_cancelling_frees_the_request(chat: OpenAI, runtime: Runtime) -> None:
    async def reach(wanted: int) -> None:
        while (await runtime.get_server_info())["internal_states"][0]["num_running"] != wanted:
            await asyncio.sleep(0.005)

    forever = SamplingArguments(max_new_tokens=90_000, ignore_eos=True)
    task = asyncio.ensure_future(chat.generate(await conversation(chat, ("user", "Sing")), forever))
    await asyncio.wait_for(reach(1), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(reach(0), 60)


# --- what is refused --------------------------------------------------------------------------------------------------


async def test_a_chat_model_answers_only_where_a_turn_begins(chat: OpenAI) -> None:
    begun = await conversation(chat, ("user", "Hi"))
    with pytest.raises(UnsupportedError, match="not after 'Well, '"):
        await chat.generate(Prompt(begun.text + "Well, ", (), begun.messages, "assistant", "Well, "), GREEDY)
    with pytest.raises(UnsupportedError, match="not in role user"):
        await chat.generate(Prompt("USER:", (), (), "user", ""), GREEDY)
    with pytest.raises(UnsupportedError, match="gen must come first"):
        await chat.generate(text_prompt("Once"), GREEDY)
    with pytest.raises(UnsupportedError, match="text outside of them"):
        await chat.generate(Prompt("Psst!" + begun.text, (), begun.messages, "assistant", ""), GREEDY)


async def test_what_the_api_cannot_do(chat: OpenAI, completion: OpenAI) -> None:
    with pytest.raises(UnsupportedError, match="select"):
        await chat.select(text_prompt("?"), ["a", "b"], token_length_normalized)
    with pytest.raises(UnsupportedError, match="UnconditionalLikelihoodNormalized"):
        await completion.select(text_prompt("?"), ["a", "b"], unconditional_likelihood_normalized)
    with pytest.raises(UnsupportedError, match="a completion model does not support separate_reasoning"):
        await completion.generate(text_prompt("?"), SamplingArguments(separate_reasoning="auto"))
    with pytest.raises(UnsupportedError, match="logprob_start_len"):
        await completion.generate(text_prompt("?"), SamplingArguments(logprob_start_len=0))
    with pytest.raises(UnsupportedError, match="OpenAI does not support flush_cache"):
        chat.flush_cache()


async def test_what_the_client_refuses_it_refuses_at_once() -> None:
    with pytest.raises(TypeError, match="no_such_argument"):
        OpenAI("m", api_key="k", no_such_argument=1)


@pytest.mark.parametrize(
    ("options", "variable"),
    [
        ({}, "OPENAI_API_KEY"),
        ({"base_url": "http://127.0.0.1:1"}, "OPENAI_API_KEY"),
        ({"is_azure": True, "api_version": "1", "azure_endpoint": "http://127.0.0.1:1"}, "AZURE_OPENAI_API_KEY"),
    ],
)
async def test_without_a_key(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], variable: str) -> None:
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_OPENAI_"))]:
        monkeypatch.delenv(name)
    with pytest.raises(AuthenticationError, match=f"wants a key; set {variable}, or give api_key, which may be any"):
        OpenAI("m", **options)
    monkeypatch.setenv(variable, "k")
    OpenAI("m", **options)


# --- what is sent -----------------------------------------------------------------------------------------------------


def said(content: str, **of_message: str) -> Answer:
    message = {"role": "assistant", "content": content, **of_message}
    choice = {"index": 0, "finish_reason": "stop", "text": content, "message": message, "logprobs": None}
    return Answer({"id": "1", "object": "o", "created": 1, "model": "m", "choices": [choice]})


async def sent(is_chat_model: bool, sampling: SamplingArguments, model: str = "m", **options: Any) -> Any:
    """The request that a server gets."""
    with FakeServer(lambda path, body: said("!")) as fake:
        backend = OpenAI(model, is_chat_model, base_url=fake.url, api_key="k", **options)
        await backend.generate(await conversation(backend, ("user", "Q")), sampling)
        await backend.aclose()
        return fake.asked[0].body


async def test_a_chat_request() -> None:
    messages = [{"role": "user", "content": "Q"}]
    assert await sent(True, RUN_DEFAULTS) == {
        "model": "m",
        "messages": messages,
        "max_tokens": 128,
        "top_p": 1.0,
        "n": 1,
    }
    everything = SamplingArguments(
        max_new_tokens=5, min_new_tokens=1, stop="x", stop_token_ids=(3,), stop_regex="y", temperature=0.1, top_k=4,
        min_p=0.2, frequency_penalty=0.3, presence_penalty=0.4, repetition_penalty=1.1, ignore_eos=True,
        sampling_seed=7, return_logprob=True, top_logprobs_num=2, json_schema='{"type": "object"}',
    )  # fmt: skip
    schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert await sent(True, everything) == {
        "model": "m", "messages": messages, "max_tokens": 5, "stop": ["x"], "temperature": 0.1, "seed": 7,
        "frequency_penalty": 0.3, "presence_penalty": 0.4, "logprobs": True, "top_logprobs": 2,
        "response_format": {"type": "json_schema", "json_schema": schema},
        "min_tokens": 1, "stop_token_ids": [3], "stop_regex": "y", "top_k": 4, "min_p": 0.2,
        "repetition_penalty": 1.1, "ignore_eos": True,
    }  # fmt: skip


async def test_reasoning_models_have_their_own_name_for_the_limit() -> None:
    body = await sent(True, SamplingArguments(max_new_tokens=5), model="o3-mini")
    assert "max_tokens" not in body and body["max_completion_tokens"] == 5
    assert not {"max_tokens", "max_completion_tokens"} & (await sent(True, RUN_DEFAULTS, model="o3-mini")).keys()


async def test_a_completion_request() -> None:
    sampling = SamplingArguments(max_new_tokens=5, stop=("x", "y"), return_logprob=True, regex="a+", json_schema="{}")
    assert await sent(False, sampling) == {
        "model": "m", "prompt": "USER:Q\nASSISTANT:", "max_tokens": 5, "stop": ["x", "y"], "logprobs": 1,
        "regex": "a+", "json_schema": "{}",
    }  # fmt: skip
    body = await sent(False, SamplingArguments(stop="x"), chat_template="chatml")
    assert body["prompt"].endswith("<|im_start|>assistant\n") and body["stop"] == ["x", "<|im_end|>"]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_thoughts_are_told_apart_by_the_server(name: str) -> None:
    with FakeServer(lambda path, body: said("Blue.", **{name: "Hm."})) as fake:
        backend = OpenAI("m", base_url=fake.url, api_key="k")
        prompt = await conversation(backend, ("user", "Q"))
        (answer,) = await backend.generate(prompt, SamplingArguments(separate_reasoning="auto"))
        assert (answer.text, answer.meta_info["reasoning_content"]) == ("Blue.", "Hm.")
        (answer,) = await backend.generate(prompt, SamplingArguments())
        assert (answer.text, "reasoning_content" in answer.meta_info) == ("Blue.", False)
        with pytest.raises(UnsupportedError, match="takes no reasoning parser such as 'qwen3'"):
            await backend.generate(prompt, SamplingArguments(separate_reasoning="qwen3"))
        await backend.aclose()


async def test_images_are_parts_of_messages() -> None:
    @sgl.function
    def look(s: sgl.ProgramState) -> None:
        s += sgl.user(sgl.image("https://host/a.png") + "What is it?") + sgl.assistant(sgl.gen("x"))

    with FakeServer(lambda path, body: said("A cat.")) as fake:
        backend = OpenAI("m", base_url=fake.url, api_key="k")
        state = await look.arun(backend=backend)
        assert await state.aget("x") == "A cat."
        (asked,) = fake.asked
        error = await (await look.arun(backend=OpenAI("m", False, base_url=fake.url, api_key="k"))).aerror()
        loop.run(backend.aclose())
    image = {"type": "image_url", "image_url": {"url": "https://host/a.png"}}
    assert asked.body["messages"] == [{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}]
    assert "OpenAI does not support image" in str(error)


async def test_where_nobody_answers() -> None:
    with FakeServer(lambda path, body: said("never")) as fake:
        url = fake.url
    for is_chat_model in (True, False):
        backend = OpenAI("m", is_chat_model, base_url=url, api_key="k", max_retries=0)
        with pytest.raises(BackendError, match=f"{url}/? cannot be reached.*is a server running there"):
            await backend.generate(await conversation(backend, ("user", "Q")), GREEDY)
        await backend.aclose()


async def test_a_refusal_is_no_answer() -> None:
    message = {"role": "assistant", "content": None, "refusal": "I would rather not"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    answer = {"id": "1", "object": "o", "created": 1, "model": "m", "choices": [choice]}
    with FakeServer(lambda path, body: Answer(answer)) as fake:
        backend = OpenAI("m", base_url=fake.url, api_key="k")
        with pytest.raises(RequestFailedError, match="I would rather not"):
            await backend.generate(await conversation(backend, ("user", "Q")), GREEDY)
        await backend.aclose()


async def test_select_where_something_must_be_generated() -> None:
    """The token after the text is no part of it."""

    def answer(path: str, body: Any) -> Answer:
        if body["max_tokens"] == 0:
            return Answer({"error": {"message": "max_tokens must be positive"}}, 400)
        scores = {"It is yes": -0.5, "It is no": -1.5}
        choices = [
            {
                "index": index,
                "finish_reason": "length",
                "text": text,
                "logprobs": {
                    "tokens": ["It", " is", *([text[5:]] if text in scores else []), "?"],
                    "token_logprobs": [None, -1.0, *([scores[text]] if text in scores else []), -7.0],
                    "text_offset": [0, 2, *([5] if text in scores else []), len(text)],
                    "top_logprobs": None,
                },
            }
            for index, text in enumerate(body["prompt"])
        ]
        return Answer({"id": "1", "object": "o", "created": 1, "model": "m", "choices": choices})

    with FakeServer(answer) as fake:
        backend = OpenAI("m", False, base_url=fake.url, api_key="k")
        for _ in range(2):
            decision = await backend.select(text_prompt("It is"), [" no", " yes"], token_length_normalized)
            assert decision.decision == " yes"
            assert decision.meta_info["normalized_prompt_logprobs"] == [-1.5, -0.5]
        assert [asked.body["max_tokens"] for asked in fake.asked] == [0, 1, 1]
        await backend.aclose()
