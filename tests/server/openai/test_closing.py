"""Answers with a constraint whose tokens run out, and requests for which there are too few."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema
import openai
import pytest

from sglang.srt.messages import FinishReason, GenerateRequest, RequestOutput
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.server.openai.answer import ending
from sglang.srt.tokenizer.completion import Completion
from tests.server.openai.test_tools import calls_of, gathered

TEXTS = {"type": "array", "items": {"type": "string"}}
ASK: list[Any] = [{"role": "user", "content": "What is new?"}]
LIST: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": TEXTS}}}
BUDGET: dict[str, Any] = {"model": "a", "seed": 1, "max_tokens": 12, "logit_bias": {str(ord("]")): -100}}
"""Of a model whose tokens are bytes: without the bias it may end an answer by itself."""


def test_an_answer_that_runs_out_of_tokens_is_whole(tiny: openai.OpenAI) -> None:
    chat = tiny.chat.completions.create(**BUDGET, messages=ASK, **LIST).choices[0]
    completed = tiny.completions.create(**BUDGET, prompt="a", extra_body=LIST).choices[0]
    for choice, text in ((chat, chat.message.content), (completed, completed.text)):
        jsonschema.validate(json.loads(text or ""), TEXTS)
        assert choice.finish_reason == "length" and choice.model_dump()["closed"] is True


def test_the_last_chunk_of_a_stream_says_so(tiny: openai.OpenAI) -> None:
    chat: Any = tiny.chat.completions.create(**BUDGET, messages=ASK, **LIST, stream=True)
    completed: Any = tiny.completions.create(**BUDGET, prompt="a", extra_body=LIST, stream=True)
    for stream in (chat, completed):
        *before, last = [chunk.choices[0].model_dump() for chunk in stream]
        assert (last["finish_reason"], last["closed"]) == ("length", True)
        assert not any("closed" in choice for choice in before)


def test_other_answers_say_nothing_of_it(tiny: openai.OpenAI) -> None:
    free = tiny.completions.create(model="a", prompt="a", max_tokens=2, extra_body={"ignore_eos": True}).choices[0]
    whole = tiny.completions.create(model="a", prompt="a", extra_body={"choices": ["b"]}).choices[0]
    assert (free.finish_reason, whole.finish_reason) == ("length", "stop")
    assert "closed" not in {**free.model_dump(), **whole.model_dump()}


def test_an_answer_that_could_not_be_closed_says_so() -> None:
    request = GenerateRequest(rid="a", input_ids=bytes(4), max_new_tokens=9, params=SamplingParams(), seed=0)
    completion = Completion(request, 0, None)
    completion.update(RequestOutput("a", [0], b"x", FinishReason("length", length=1, closed=False)))
    assert ending(completion) == {"finish_reason": "length", "matched_stop": None, "closed": False}


NOTE = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TOOLS: Any = [{"type": "function", "function": {"name": "note", "parameters": NOTE}}]
NAMED: Any = {"type": "function", "function": {"name": "note"}}


@pytest.mark.parametrize("choice", [NAMED, "required"], ids=["named", "several"])
def test_demanded_calls_that_run_out_of_tokens_are_whole(tiny: openai.OpenAI, choice: Any) -> None:
    request: dict[str, Any] = {"model": "a", "messages": ASK, "tools": TOOLS, "tool_choice": choice, "n": 2, "seed": 4}
    request |= {"max_tokens": 90, "logit_bias": {str(ord('"')): -100}}
    whole = tiny.chat.completions.create(**request)
    chunks = list(tiny.chat.completions.create(**request, stream=True))
    for one in whole.choices:
        ((name, arguments),) = calls_of(one.message)
        jsonschema.validate(json.loads(arguments), NOTE)
        assert (name, one.message.content, one.finish_reason) == ("note", None, "length")
        assert one.model_dump()["closed"] is True
        assert gathered(chunks, one.index) == ("", "", [(name, arguments)], "length")


TOO_FEW: dict[str, Any] = {"regex": "a{20}", "max_tokens": 19}


@pytest.mark.parametrize("stream", [False, True])
def test_too_few_tokens_for_any_answer_are_refused(tiny: openai.OpenAI, tiny_http: httpx.Client, stream: bool) -> None:
    """By the engine, before a stream begins."""
    message = "the shortest output found that satisfies the constraint has 20 tokens, but at most 19"
    given = {**TOO_FEW, "stream": stream}
    with pytest.raises(openai.BadRequestError, match=message):
        tiny.chat.completions.create(model="a", messages=ASK, extra_body=given)
    with pytest.raises(openai.BadRequestError, match=message):
        tiny.completions.create(model="a", prompt="a", n=2, extra_body=given)
    params = {"regex": "a{20}", "max_new_tokens": 19}
    response = tiny_http.post("/generate", json={"text": "a", "sampling_params": params, "stream": stream})
    assert response.status_code == 400 and message in response.json()["error"]["message"]
    assert tiny.completions.create(model="a", prompt="a", extra_body={**TOO_FEW, "max_tokens": 20}).choices[0].text
