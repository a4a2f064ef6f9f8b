"""From messages to the text of a prompt, by the model's own chat template."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.formats.tool_prompt import with_tool_prompt, without_tool_turns
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.fields import MAX_STEP
from sglang.srt.server.openai.formats import ModelFormats
from sglang.srt.server.openai.requests import ChatCompletionRequest, Message, MessageToolCall
from sglang.srt.server.openai.tools import ToolUse
from sglang.srt.tokenizer.chat_template import ChatTemplate

_SHOWS_RESULTS = re.compile(r"\btool_call_id\b|['\"]tool['\"]")
_REFUSES_SYSTEM = re.compile(r"system role (is )?not supported", re.IGNORECASE)


def chat_prompt(
    template: ChatTemplate | None, request: ChatCompletionRequest, use: ToolUse | None, formats: ModelFormats
) -> str:
    """Up to where the answer begins. Raises InvalidRequestError if the template refuses the messages."""
    if template is None:
        raise InvalidRequestError("this model has no chat template; give the whole prompt as text, to /v1/completions")
    messages = [_plain(index, message, template) for index, message in enumerate(request.messages)]
    variables = _variables(template, request)
    if not template.knows_tools:
        return _rendered(template, request, _with_tools_told(template, messages, use, formats), variables)
    if use is not None:
        variables["tools"] = [tool.as_given for tool in use.tools]
    return _rendered(template, request, messages, variables)


def _with_tools_told(
    template: ChatTemplate, messages: list[dict[str, Any]], use: ToolUse | None, formats: ModelFormats
) -> list[dict[str, Any]]:
    """For a template that knows no tools."""
    notation = formats.tools.notation
    if not _SHOWS_RESULTS.search(template.source):
        messages = without_tool_turns(messages, notation)
    if use is None:
        return messages
    role = "user" if _REFUSES_SYSTEM.search(template.source) else "system"
    return with_tool_prompt(messages, use.tools, notation, role)


def _rendered(
    template: ChatTemplate, request: ChatCompletionRequest, messages: list[dict[str, Any]], variables: dict[str, Any]
) -> str:
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


def _plain(index: int, message: Message, template: ChatTemplate) -> dict[str, Any]:
    """The message as templates know it: text content, and no role that this template has never heard of."""
    role = message.role
    if role == "developer" and "developer" not in template.source:
        role = "system"
    plain: dict[str, Any] = {"role": role, "content": _text(message)}
    if message.name is not None:
        plain["name"] = message.name
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    if message.reasoning_content is not None:
        plain["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        if role != "assistant":
            raise FieldError(f"tool_calls are an assistant's, not of role {role!r}", f"messages[{index}].tool_calls")
        plain["tool_calls"] = [
            _plain_call(f"messages[{index}].tool_calls[{number}]", call, template)
            for number, call in enumerate(message.tool_calls)
        ]
    return plain


def _plain_call(place: str, call: MessageToolCall, template: ChatTemplate) -> dict[str, Any]:
    given = call.function.arguments or {}
    try:
        arguments = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        param = f"{place}.function.arguments"
        raise FieldError(f"{param} must be an object, or the text of one in JSON, not {shown(given)}", param)
    if template.wants_argument_text:
        arguments = given if isinstance(given, str) else json.dumps(arguments, ensure_ascii=False)
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


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
    if "tools" in variables:
        raise FieldError("use the field tools instead of a variable of the chat template", "chat_template_kwargs")
    if "add_generation_prompt" in variables:
        raise FieldError("use continue_final_message instead of add_generation_prompt", "chat_template_kwargs")
    for name, value in variables.items():
        if value is not None and value is not False:
            _check_known(template, name, f"chat_template_kwargs.{name[:MAX_STEP]}")
    if request.reasoning_effort is not None:
        _check_known(template, "reasoning_effort", "reasoning_effort")
        variables["reasoning_effort"] = request.reasoning_effort
    return variables


def _check_known(template: ChatTemplate, name: str, field: str) -> None:
    if name not in template.source and name not in template.tool_use_source:
        raise FieldError(f"{field} means nothing to this model's chat template; leave it out", field)
