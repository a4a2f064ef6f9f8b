"""``/v1/completions`` through the official client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

PROMPTS = ["The capital of France is", "1, 2, 3,"]
GREEDY: dict[str, Any] = {"model": "default", "temperature": 0, "max_tokens": 6}
SAMPLED: dict[str, Any] = {**GREEDY, "temperature": 1.0, "seed": 3}


def native(http: httpx.Client, text: Any, **fields: Any) -> Any:
    params = {"temperature": 0, "max_new_tokens": 6}
    return http.post("/generate", json={"text": text, "sampling_params": params, **fields}).json()


def texts(answer: openai.types.Completion) -> list[str]:
    return [choice.text for choice in answer.choices]


def token_ids(http: httpx.Client, text: str) -> list[int]:
    ids: list[int] = http.post("/tokenize", json={"prompt": text}).json()["tokens"]
    return ids


def test_one_prompt(real: openai.OpenAI, real_http: httpx.Client) -> None:
    answer = real.completions.create(**GREEDY, prompt=PROMPTS[0])
    expected = native(real_http, PROMPTS[0])
    (choice,) = answer.choices
    assert (choice.index, choice.text, choice.finish_reason, choice.logprobs) == (0, expected["text"], "length", None)
    assert answer.id.startswith("cmpl-")
    assert (answer.object, answer.model) == ("text_completion", "default")
    assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
    assert answer.usage.total_tokens == expected["meta_info"]["prompt_tokens"] + 6


def test_prompts_as_text_and_as_token_ids(real: openai.OpenAI, real_http: httpx.Client) -> None:
    expected = [result["text"] for result in native(real_http, PROMPTS)]
    ids = [token_ids(real_http, prompt) for prompt in PROMPTS]
    assert texts(real.completions.create(**GREEDY, prompt=PROMPTS)) == expected
    assert texts(real.completions.create(**GREEDY, prompt=ids)) == expected
    assert texts(real.completions.create(**GREEDY, prompt=ids[0])) == expected[:1]


def test_sixteen_tokens_by_default(tiny: openai.OpenAI) -> None:
    answer = tiny.completions.create(model="a", prompt=PROMPTS[1], extra_body={"ignore_eos": True})
    assert answer.usage is not None and answer.usage.completion_tokens == 16


def test_samples_are_numbered_within_their_prompt(real: openai.OpenAI) -> None:
    answer = real.completions.create(**GREEDY, prompt=PROMPTS, n=2, best_of=2)
    one, two = texts(real.completions.create(**GREEDY, prompt=PROMPTS))
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert texts(answer) == [one, one, two, two]
    sampled = real.completions.create(**SAMPLED, prompt=PROMPTS, n=2)
    assert len(set(texts(sampled))) == 4
    assert texts(sampled) == texts(real.completions.create(**SAMPLED, prompt=PROMPTS, n=2))


@pytest.mark.parametrize(
    "fields", [{}, {"echo": True}, {"n": 2, "temperature": 1.0, "seed": 3}, {"echo": True, "n": 2}]
)
def test_a_stream_is_the_whole(real: openai.OpenAI, fields: dict[str, Any]) -> None:
    given: dict[str, Any] = {**GREEDY, "prompt": PROMPTS, "logprobs": 1, **fields}
    whole = real.completions.create(**given)
    *parts, last = real.completions.create(**given, stream=True, stream_options={"include_usage": True})
    assert last.choices == [] and last.usage is not None and whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    for choice in whole.choices:
        mine = [part.choices[0] for part in parts if part.choices[0].index == choice.index]
        assert "".join(part.text for part in mine) == choice.text
        assert [part.finish_reason for part in mine[:-1]] == [None] * (len(mine) - 1)
        assert mine[-1].finish_reason == choice.finish_reason
        assert choice.logprobs is not None
        for name in ("tokens", "text_offset"):
            assert [value for part in mine for value in getattr(part.logprobs, name)] == getattr(choice.logprobs, name)


def test_an_echoed_prompt_and_its_log_probabilities(real: openai.OpenAI, real_http: httpx.Client) -> None:
    answer = real.completions.create(**GREEDY, prompt=PROMPTS[0], echo=True, logprobs=2)
    expected = native(real_http, PROMPTS[0], return_logprob=True, logprob_start_len=0, return_text_in_logprobs=True)
    rows = [*expected["meta_info"]["input_token_logprobs"], *expected["meta_info"]["output_token_logprobs"]]
    (choice,) = answer.choices
    assert choice.text == PROMPTS[0] + expected["text"]
    logprobs = choice.logprobs
    assert logprobs is not None and logprobs.tokens is not None and logprobs.token_logprobs is not None
    assert logprobs.tokens == [text for _, _, text in rows]
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs is not None and logprobs.top_logprobs[0] is None
    assert logprobs.token_logprobs[1:] == pytest.approx([row[0] for row in rows[1:]], abs=1e-4)
    for token, own, top in zip(
        logprobs.tokens[1:], logprobs.token_logprobs[1:], logprobs.top_logprobs[1:], strict=True
    ):
        assert top[token] == own and 2 <= len(top) <= 3
    assert logprobs.text_offset is not None
    starts_and_ends = zip(logprobs.text_offset, [*logprobs.text_offset[1:], len(choice.text)], strict=True)
    assert [choice.text[start:end] for start, end in starts_and_ends] == logprobs.tokens


def test_a_prompt_is_scored_without_generating(real: openai.OpenAI, real_http: httpx.Client) -> None:
    fields: dict[str, Any] = {**GREEDY, "max_tokens": 0, "echo": True, "logprobs": 0}
    (choice,) = real.completions.create(**fields, prompt=PROMPTS[0]).choices
    assert choice.text == PROMPTS[0] and choice.logprobs is not None and choice.logprobs.tokens is not None
    assert "".join(choice.logprobs.tokens) == PROMPTS[0]
    assert all(len(top) == 1 for top in (choice.logprobs.top_logprobs or ())[1:])
    by_ids = real.completions.create(**fields, prompt=token_ids(real_http, PROMPTS[0])).choices[0]
    assert (by_ids.text, by_ids.logprobs) == (choice.text, choice.logprobs)


def test_stop_strings_and_stop_tokens(real: openai.OpenAI, real_http: httpx.Client) -> None:
    everything = real.completions.create(**GREEDY, prompt=PROMPTS[1]).choices[0].text
    stop = everything[2:5]
    given: dict[str, Any] = {**GREEDY, "prompt": PROMPTS[1]}
    cut = real.completions.create(**given, stop=[stop]).choices[0]
    assert (cut.text, cut.finish_reason, cut.model_dump()["matched_stop"]) == (everything[:2], "stop", stop)
    kept = real.completions.create(**given, stop=stop, extra_body={"no_stop_trim": True}).choices[0]
    assert kept.text == everything[:5]
    (first, *_) = native(real_http, PROMPTS[1])["output_ids"]
    at_once = real.completions.create(**given, extra_body={"stop_token_ids": [first]}).choices[0]
    assert (at_once.text, at_once.finish_reason, at_once.model_dump()["matched_stop"]) == ("", "stop", first)


def test_null_means_not_given(tiny_http: httpx.Client) -> None:
    names = ["stop", "n", "best_of", "echo", "logprobs", "suffix", "stream", "stream_options", "user", "seed", "top_p"]
    plain = {**GREEDY, "prompt": PROMPTS[0]}
    nulls = tiny_http.post("/v1/completions", json={**dict.fromkeys(names), **plain})
    assert nulls.json()["choices"] == tiny_http.post("/v1/completions", json=plain).json()["choices"]


def test_the_last_event_says_that_it_is_over(real_http: httpx.Client) -> None:
    body = {**GREEDY, "prompt": PROMPTS[0], "max_tokens": 2, "stream": True}
    *events, done, rest = real_http.post("/v1/completions", json=body).content.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    *reasons, last = [json.loads(event.removeprefix(b"data: "))["choices"][0]["finish_reason"] for event in events]
    assert (set(reasons) <= {None}, last) == (True, "length")


def test_hidden_tokens_of_a_prompt_are_echoed_as_nothing(tiny: openai.OpenAI, tiny_http: httpx.Client) -> None:
    prompt = token_ids(tiny_http, "a<end>b")
    given: dict[str, Any] = {"model": "a", "prompt": prompt, "max_tokens": 0, "echo": True, "logprobs": 0}
    hidden = tiny.completions.create(**given).choices[0]
    assert hidden.text == "ab" and hidden.logprobs is not None
    assert (hidden.logprobs.tokens, hidden.logprobs.text_offset) == (["a", "<end>", "b"], [0, 1, 1])
    shown = tiny.completions.create(**given, extra_body={"skip_special_tokens": False}).choices[0]
    assert shown.text == "a<end>b" and shown.logprobs is not None
    assert shown.logprobs.text_offset == [0, 1, 6]
