"""``/v1/chat/completions`` through the official client."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import openai
import pytest

from tests.helpers.runtime import Server
from tests.server.openai.conftest import async_client_of

QUESTION: list[Any] = [{"role": "user", "content": "Count from one to ten, with commas."}]
GREEDY: dict[str, Any] = {"model": "default", "messages": QUESTION, "temperature": 0, "max_tokens": 10}
SAMPLED: dict[str, Any] = {**GREEDY, "temperature": 1.0, "seed": 7, "n": 2, "max_tokens": 6}
WITH_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


def native(http: httpx.Client, messages: Any, params: dict[str, Any], **fields: Any) -> Any:
    """What the native API answers to the same prompt."""
    ids = http.post("/tokenize", json={"messages": messages}).json()["tokens"]
    return http.post("/generate", json={"input_ids": ids, "sampling_params": params, **fields}).json()


def texts(answer: openai.types.chat.ChatCompletion) -> list[str | None]:
    return [choice.message.content for choice in answer.choices]


def test_an_answer(real: openai.OpenAI, real_http: httpx.Client) -> None:
    answer = real.chat.completions.create(**GREEDY)
    expected = native(real_http, QUESTION, {"temperature": 0, "max_new_tokens": 10})
    (choice,) = answer.choices
    assert (choice.index, choice.message.role, choice.finish_reason, choice.logprobs) == (
        0,
        "assistant",
        "length",
        None,
    )
    assert choice.message.content == expected["text"]
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", "default")
    assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens == expected["meta_info"]["prompt_tokens"]
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (10, answer.usage.prompt_tokens + 10)


def test_usage_counts_cached_tokens_and_prompts_once(real: openai.OpenAI) -> None:
    request = {
        **GREEDY,
        "messages": [{"role": "user", "content": "Nobody asked this before."}],
        "max_tokens": 1,
        "n": 3,
    }
    cold, warm = real.chat.completions.create(**request), real.chat.completions.create(**request)
    assert cold.usage is not None and cold.usage.prompt_tokens_details is not None
    assert warm.usage is not None and warm.usage.prompt_tokens_details is not None
    assert cold.usage.prompt_tokens == warm.usage.prompt_tokens < 60
    assert cold.usage.completion_tokens == 3
    assert (cold.usage.prompt_tokens_details.cached_tokens or 0) < cold.usage.prompt_tokens - 4
    assert warm.usage.prompt_tokens_details.cached_tokens == warm.usage.prompt_tokens - 1


@pytest.mark.parametrize("request_fields", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_stream_is_the_whole(real: openai.OpenAI, request_fields: dict[str, Any]) -> None:
    whole = real.chat.completions.create(**request_fields)
    chunks = list(real.chat.completions.create(**request_fields, **WITH_USAGE))
    *parts, last = chunks
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in parts)
    assert last.choices == [] and last.usage is not None and whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert {(chunk.id, chunk.object, chunk.created) for chunk in chunks} == {
        (last.id, "chat.completion.chunk", last.created)
    }
    for choice in whole.choices:
        mine = [part.choices[0] for part in parts if part.choices[0].index == choice.index]
        first, *deltas, end = mine
        assert (first.delta.role, first.delta.content, first.finish_reason) == ("assistant", "", None)
        assert all(delta.finish_reason is None and delta.delta.content for delta in deltas)
        assert "".join(delta.delta.content or "" for delta in deltas) == choice.message.content
        assert (end.delta.content, end.finish_reason) == (None, choice.finish_reason)


def test_the_events_of_a_stream(tiny_http: httpx.Client) -> None:
    data = tiny_http.post("/v1/chat/completions", json={**GREEDY, "max_tokens": 2, "stream": True}).content
    *events, done, rest = data.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert all("usage" not in chunk for chunk in chunks)
    first, *deltas, last = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert first == {"role": "assistant", "content": ""} and last == {}
    assert deltas and all(delta.keys() == {"content"} for delta in deltas)


def test_usage_in_every_chunk(real: openai.OpenAI) -> None:
    options: Any = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(
        real.chat.completions.create(**{**GREEDY, "max_tokens": 3, "n": 2}, stream=True, stream_options=options)
    )
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert len(usages) == len(chunks)
    counts = [usage.completion_tokens for usage in usages]
    assert counts == sorted(counts) and counts[0] > 0 and counts[-1] == 6
    assert len({usage.prompt_tokens for usage in usages}) == 1


async def test_the_asynchronous_client(tiny_server: Server) -> None:
    async with async_client_of(tiny_server) as client:
        whole = await client.chat.completions.create(**GREEDY)
        stream: Any = await client.chat.completions.create(**GREEDY, stream=True)
        parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(parts) == whole.choices[0].message.content


def test_log_probabilities_are_those_of_the_native_api(real: openai.OpenAI, real_http: httpx.Client) -> None:
    answer = real.chat.completions.create(**GREEDY, logprobs=True, top_logprobs=2)
    params = {"temperature": 0, "max_new_tokens": 10}
    meta = native(real_http, QUESTION, params, return_logprob=True, top_logprobs_num=2, return_text_in_logprobs=True)
    expected = meta["meta_info"]["output_token_logprobs"]
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert [token.logprob for token in logprobs.content] == pytest.approx([row[0] for row in expected], abs=1e-4)
    assert [token.token for token in logprobs.content] == [row[2] for row in expected]
    assert (
        b"".join(bytes(token.bytes or ()) for token in logprobs.content).decode() == answer.choices[0].message.content
    )
    for token, row in zip(logprobs.content, meta["meta_info"]["output_top_logprobs"], strict=True):
        assert [top.token for top in token.top_logprobs] == [text for _, _, text in row]
        assert token.top_logprobs[0].logprob == token.logprob


def test_log_probabilities_of_a_stream_belong_to_its_text(real: openai.OpenAI) -> None:
    fields: dict[str, Any] = {**GREEDY, "logprobs": True, "stop": [" five"], "max_tokens": 15}
    whole = real.chat.completions.create(**fields).choices[0].logprobs
    assert whole is not None and whole.content is not None
    tokens = []
    for chunk in real.chat.completions.create(**fields, stream=True):
        (choice,) = chunk.choices
        if choice.delta.content:
            assert choice.logprobs is not None and choice.logprobs.content is not None
            tokens += choice.logprobs.content
            if choice.finish_reason is None and tokens[-1].token != " five":
                assert choice.delta.content.endswith(tokens[-1].token)
        elif choice.logprobs is not None:
            tokens += choice.logprobs.content or []
    assert [token.token for token in tokens] == [token.token for token in whole.content]
    assert [token.logprob for token in tokens] == pytest.approx([token.logprob for token in whole.content], abs=1e-4)


def test_log_probabilities_must_be_asked_for(real: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="top_logprobs=2 needs logprobs=true"):
        real.chat.completions.create(**GREEDY, top_logprobs=2)


def test_no_alternatives_need_no_log_probabilities(tiny: openai.OpenAI) -> None:
    answer = tiny.chat.completions.create(**GREEDY, logprobs=False, top_logprobs=0)
    assert answer.choices[0].logprobs is None


def test_a_seed_may_be_negative(tiny: openai.OpenAI) -> None:
    def answer(seed: int) -> list[str | None]:
        return texts(tiny.chat.completions.create(**{**SAMPLED, "seed": seed}))

    assert answer(-1) == answer(-1) != answer(-2)


def test_a_seed_repeats_and_samples_differ(real: openai.OpenAI) -> None:
    first, again = real.chat.completions.create(**SAMPLED), real.chat.completions.create(**SAMPLED)
    other = real.chat.completions.create(**{**SAMPLED, "seed": 8})
    assert texts(first) == texts(again)
    assert len({*texts(first), *texts(other)}) == 4


@pytest.mark.parametrize("stop", [", three", [", three", "never"]])
def test_a_stop_string_ends_the_answer_and_is_cut_off(real: openai.OpenAI, stop: Any) -> None:
    everything = real.chat.completions.create(**GREEDY).choices[0].message.content or ""
    stop = json.loads(json.dumps(stop).replace(", three", everything[5:11]))
    fields: dict[str, Any] = {**GREEDY, "stop": stop}
    choice = real.chat.completions.create(**fields).choices[0]
    assert (choice.message.content, choice.finish_reason) == (everything[:5], "stop")
    assert choice.model_dump()["matched_stop"] == everything[5:11]
    parts = [chunk.choices[0].delta.content or "" for chunk in real.chat.completions.create(**fields, stream=True)]
    assert "".join(parts) == everything[:5]


def test_two_names_of_the_limit(real: openai.OpenAI) -> None:
    given: dict[str, Any] = {"model": "a", "messages": QUESTION}
    answer = real.chat.completions.create(**given, max_completion_tokens=2)
    assert answer.usage is not None and answer.usage.completion_tokens == 2
    with pytest.raises(openai.BadRequestError, match="two names of one limit"):
        real.chat.completions.create(**given, max_completion_tokens=2, max_tokens=3)
    with pytest.raises(openai.BadRequestError, match="max_completion_tokens=1000; at most"):
        real.chat.completions.create(**given, max_completion_tokens=1000)


def test_without_a_limit_the_context_may_be_filled(tiny: openai.OpenAI) -> None:
    answer = tiny.chat.completions.create(model="a", messages=QUESTION, extra_body={"regex": "a{300}"})
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("a" * 300, "stop")


def test_a_conversation_of_all_roles(real: openai.OpenAI) -> None:
    messages: list[Any] = [
        {"role": "developer", "content": "You answer with one word."},
        {"role": "user", "content": [{"type": "text", "text": "Say "}, {"type": "text", "text": "red."}], "name": "me"},
        {"role": "assistant", "content": None, "tool_calls": [], "refusal": None},
        {"role": "tool", "content": "red", "tool_call_id": "1"},
    ]
    answer = real.chat.completions.create(model="a", messages=messages, max_tokens=1)
    assert answer.usage is not None and answer.usage.prompt_tokens > 20


def test_a_final_message_is_continued(real: openai.OpenAI, real_http: httpx.Client) -> None:
    begun = [*QUESTION, {"role": "assistant", "content": "One, two,"}]
    extra = {"continue_final_message": True}
    answer = real.chat.completions.create(**{**GREEDY, "messages": begun, "max_tokens": 4}, extra_body=extra)
    ids = real_http.post("/tokenize", json={"messages": QUESTION}).json()["tokens"]
    ids += real_http.post("/tokenize", json={"prompt": "One, two,"}).json()["tokens"]
    body = {"input_ids": ids, "sampling_params": {"temperature": 0, "max_new_tokens": 4}}
    assert answer.choices[0].message.content == real_http.post("/generate", json=body).json()["text"]


def test_null_means_not_given(tiny_http: httpx.Client) -> None:
    names = ["stop", "n", "stream", "stream_options", "logprobs", "top_logprobs", "tools", "tool_choice", "functions"]
    names += ["response_format", "seed", "top_p", "logit_bias", "max_completion_tokens", "user", "audio", "modalities"]
    names += ["frequency_penalty", "presence_penalty", "regex", "top_k", "parallel_tool_calls", "reasoning_effort"]
    plain = tiny_http.post("/v1/chat/completions", json=GREEDY).json()
    nulls = tiny_http.post("/v1/chat/completions", json={**dict.fromkeys(names), **GREEDY}).json()
    assert nulls["choices"] == plain["choices"]


def test_idle_tools_are_let_pass(tiny: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    idle = tiny.chat.completions.create(**GREEDY, tools=[tool], tool_choice="none")
    assert texts(idle) == texts(tiny.chat.completions.create(**GREEDY))


def test_text_of_many_bytes_streams_whole(tiny: openai.OpenAI) -> None:
    """Every token of this model is a byte, so every character but the first is made of several."""
    expected = "a½😀漢👩‍👩‍👧"
    extra = {"choices": [expected]}
    chunks = tiny.chat.completions.create(
        model="a", messages=QUESTION, stream=True, logprobs=True, temperature=1.0, extra_body=extra
    )
    parts = [chunk.choices[0] for chunk in chunks if chunk.choices[0].delta.content]
    assert "".join(part.delta.content or "" for part in parts) == expected
    for part in parts:
        assert part.logprobs is not None and part.logprobs.content is not None
        data = b"".join(bytes(token.bytes or ()) for token in part.logprobs.content)
        assert data.decode().removesuffix("<end>") == part.delta.content


def test_random_bytes_stream_as_they_come_whole(tiny: openai.OpenAI) -> None:
    for seed, skip in itertools.product(range(2), (True, False)):
        fields: dict[str, Any] = {
            "model": "a",
            "messages": QUESTION,
            "temperature": 1.5,
            "max_tokens": 200,
            "seed": seed,
        }
        extra = {"ignore_eos": True, "skip_special_tokens": skip, "stop": ["\n", "ab"]}
        whole = tiny.chat.completions.create(**fields, extra_body=extra).choices[0]
        chunks = tiny.chat.completions.create(**fields, extra_body=extra, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.message.content
