"""Sampling arguments and prompts as the OpenAI API takes them. What it cannot take is refused by name."""

from __future__ import annotations

import json
from typing import Any

from sglang.lang.backends.base import Message, Prompt
from sglang.lang.chat_template import ChatTemplate
from sglang.lang.ir import DEFAULT_MAX_NEW_TOKENS, SamplingArguments
from sglang.srt.errors import UnsupportedError, shown

SAME = ("temperature", "top_p", "n", "frequency_penalty", "presence_penalty")

EXTENSIONS = {
    "min_new_tokens": ("min_tokens", 0),
    "stop_token_ids": ("stop_token_ids", ()),
    "stop_regex": ("stop_regex", ()),
    "top_k": ("top_k", -1),
    "min_p": ("min_p", 0.0),
    "repetition_penalty": ("repetition_penalty", 1.0),
    "ignore_eos": ("ignore_eos", False),
    "regex": ("regex", None),
    "ebnf": ("ebnf", None),
}
"""What servers of open models take beside the API's own parameters: their name for it, and the value that changes
nothing and is not sent. A server that does not know one refuses the request."""


def completion_options(sampling: SamplingArguments) -> dict[str, Any]:
    """Parameters of ``/v1/completions`` but for the prompt."""
    options = {**_common_options(sampling), "max_tokens": _limit(sampling)}
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
    options = _common_options(sampling)
    if not counts_reasoning:
        options["max_tokens"] = _limit(sampling)
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
    if prompt.open_role != "assistant" or prompt.role_text:
        where = f"after {shown(prompt.role_text)}" if prompt.role_text else f"in role {prompt.open_role}"
        raise UnsupportedError(
            f"a chat model answers where the assistant's turn begins, so gen must come first in it, not {where}: "
            "write s += sgl.assistant(sgl.gen(...))"
        )
    if _without_spaces(prompt.text) != _without_spaces(_conversation_text(prompt, template)):
        raise UnsupportedError(
            "a chat model sees only what is in roles, but the program has text outside of them; "
            "write it as s += sgl.user(...)"
        )
    return list(prompt.messages)


def _limit(sampling: SamplingArguments) -> int:
    """As with the other backends; servers of this API have defaults of their own, from 16 to no limit."""
    return DEFAULT_MAX_NEW_TOKENS if sampling.max_new_tokens is None else sampling.max_new_tokens


def _common_options(sampling: SamplingArguments) -> dict[str, Any]:
    given = dict(sampling.given())
    if given.get("logprob_start_len", -1) != -1:
        raise UnsupportedError("the OpenAI API has no log-probabilities of the prompt: leave out logprob_start_len")
    options: dict[str, Any] = {name: given[name] for name in SAME if name in given}
    if stop := given.get("stop"):
        options["stop"] = [stop] if isinstance(stop, str) else list(stop)
    if "sampling_seed" in given:
        options["seed"] = given["sampling_seed"]
    options["extra_body"] = {
        theirs: given[name] for name, (theirs, neutral) in EXTENSIONS.items() if given.get(name, neutral) != neutral
    }
    return options


def _conversation_text(prompt: Prompt, template: ChatTemplate) -> str:
    roles = [str(message["role"]) for message in prompt.messages]
    text = ""
    for index, message in enumerate(prompt.messages):
        around = template.role_text(roles[: index + 1])
        text += around.prefix + str(message["content"]) + around.suffix
    return text + template.role_text([*roles, "assistant"]).prefix


def _without_spaces(text: str) -> str:
    """A message's content has lost the spaces it began with; nothing else tells the two texts apart."""
    return "".join(text.split())
