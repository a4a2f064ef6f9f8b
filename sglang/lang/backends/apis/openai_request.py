"""Sampling arguments and prompts as the OpenAI API takes them. What it cannot take is refused by name."""

from __future__ import annotations

import json
from typing import Any

from sglang.lang.backends.apis.conversation import check_all_in_roles, check_answer_begins
from sglang.lang.backends.apis.sampling_options import asked_for, check_reasoning_is_the_api_s, limit, stops
from sglang.lang.backends.base import Message, Prompt
from sglang.lang.chat_template import ChatTemplate
from sglang.lang.ir import SamplingArguments
from sglang.lang.media import openai_content
from sglang.srt.errors import UnsupportedError

SAME = ("temperature", "top_p", "n", "frequency_penalty", "presence_penalty")

EXTENSIONS = ("min_new_tokens", "stop_token_ids", "stop_regex", "top_k", "min_p", "repetition_penalty", "ignore_eos",
              "regex", "ebnf", "structural_tag", "whitespace_pattern", "logprobs_mode")  # fmt: skip
"""What servers of open models take beside the API's own parameters. A server that does not know one refuses the
request."""

NAMES = {"min_new_tokens": "min_tokens"}
"""What this API calls otherwise."""


def completion_options(sampling: SamplingArguments) -> dict[str, Any]:
    """Parameters of ``/v1/completions`` but for the prompt."""
    if sampling.separate_reasoning is not None:
        raise UnsupportedError(
            "a completion model does not support separate_reasoning: thoughts are told apart in messages of chat models"
        )
    options = {**_common_options(sampling), "max_tokens": limit(sampling)}
    if sampling.json_schema is not None:
        options["extra_body"]["json_schema"] = sampling.json_schema
    if sampling.return_logprob:
        options["logprobs"] = sampling.top_logprobs_num or 1  # some servers take 0 for "none"
    return options


def chat_options(sampling: SamplingArguments, counts_reasoning: bool) -> dict[str, Any]:
    """Parameters of ``/v1/chat/completions`` but for the messages.

    counts_reasoning: the model thinks first, and its limit, under a name of its own, includes that. So there is none
    but what the program says.
    """
    check_reasoning_is_the_api_s(sampling, "the OpenAI API")
    options = _common_options(sampling)
    if not counts_reasoning:
        options["max_tokens"] = limit(sampling)
    elif sampling.max_new_tokens is not None:
        options["max_completion_tokens"] = sampling.max_new_tokens
    if sampling.json_schema is not None:
        schema = {"name": "answer", "schema": json.loads(sampling.json_schema), "strict": True}
        options["response_format"] = {"type": "json_schema", "json_schema": schema}
    if sampling.return_logprob:
        options["logprobs"] = True
        if sampling.top_logprobs_num:
            options["top_logprobs"] = sampling.top_logprobs_num
    return options


def messages_before(prompt: Prompt, template: ChatTemplate) -> list[Message]:
    """The conversation that an answer is asked for. Raises UnsupportedError where the API cannot be told the prompt."""
    check_answer_begins(prompt)
    check_all_in_roles(prompt, template)
    return [{**message, "content": openai_content(message["content"])} for message in prompt.messages]


def _common_options(sampling: SamplingArguments) -> dict[str, Any]:
    given = dict(sampling.given())
    if given.get("logprob_start_len", -1) != -1:
        raise UnsupportedError("the OpenAI API has no log-probabilities of the prompt: leave out logprob_start_len")
    options: dict[str, Any] = {name: given[name] for name in SAME if name in given}
    if stop := stops(sampling):
        options["stop"] = stop
    if "sampling_seed" in given:
        options["seed"] = given["sampling_seed"]
    asked = asked_for(sampling)
    options["extra_body"] = {NAMES.get(name, name): asked[name] for name in EXTENSIONS if name in asked}
    return options
