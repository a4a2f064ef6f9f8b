"""From messages to the tokens of a prompt, by the model's own chat template."""

from __future__ import annotations

import uuid
from typing import Any

from sglang.srt.errors import InvalidRequestError
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.requests import ChatCompletionRequest, Message
from sglang.srt.tokenizer.chat_template import ChatTemplate
from sglang.srt.tokenizer.manager import TokenizerManager


async def chat_prompt(request: ChatCompletionRequest, manager: TokenizerManager) -> list[int]:
    """Up to where the answer begins. Raises InvalidRequestError if the template refuses the messages."""
    template = manager.tokenizer.chat_template
    if template is None:
        raise InvalidRequestError("this model has no chat template; give the whole prompt as text, to /v1/completions")
    (ids,) = await manager.encode([render(template, request)], add_special_tokens=False)
    return ids


def render(template: ChatTemplate, request: ChatCompletionRequest) -> str:
    messages = [_plain(message, template) for message in request.messages]
    variables = _variables(template, request)
    if not request.continue_final_message:
        return template.render(messages, **variables)
    # What a template writes after the content is cut off. The mark keeps it from trimming the content's own end.
    last, mark = messages[-1], uuid.uuid4().hex
    if last["role"] != "assistant":
        raise FieldError(
            f"continue_final_message needs an assistant's message at the end, not one of role {last['role']!r}",
            "messages",
        )
    marked = [*messages[:-1], {**last, "content": last["content"] + mark}]
    text, found, _ = template.render(marked, add_generation_prompt=False, **variables).rpartition(mark)
    if not found:
        raise FieldError("the model's chat template does not show the final message", "messages")
    return text


def _plain(message: Message, template: ChatTemplate) -> dict[str, Any]:
    """The message as templates know it: text content, and no role that this template has never heard of."""
    role = message.role
    if role == "developer" and "developer" not in template.source:
        role = "system"
    plain: dict[str, Any] = {"role": role, "content": _text(message)}
    if message.name is not None:
        plain["name"] = message.name
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    return plain


def _text(message: Message) -> str:
    if message.content is None:
        if message.role != "assistant":
            raise FieldError(f"a message of role {message.role!r} needs content", "messages")
        return ""
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content)


def _variables(template: ChatTemplate, request: ChatCompletionRequest) -> dict[str, Any]:
    variables = dict(request.chat_template_kwargs or {})
    if "add_generation_prompt" in variables:
        raise FieldError("use continue_final_message instead of add_generation_prompt", "chat_template_kwargs")
    if request.reasoning_effort is not None:
        if "reasoning_effort" not in template.source:
            raise FieldError("reasoning_effort means nothing to this model's chat template", "reasoning_effort")
        variables["reasoning_effort"] = request.reasoning_effort
    return variables
