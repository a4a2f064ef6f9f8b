"""Tools for models whose chat template knows none: told in the system message, in words that any model can follow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from sglang.srt.formats.tool import PastCall, Tool, write_calls
from sglang.srt.formats.tool_format import Notation

_PROMPT = """You can call functions to help with the user's request. These are the functions, one JSON object a line:
<tools>
{tools}
</tools>
To call functions, answer with nothing but this, with their names and arguments:
{example}
The results are then given to you between <tool_response> and </tool_response>. If no function helps, just answer."""

Message = dict[str, Any]


def with_tool_prompt(
    messages: Sequence[Message], tools: Sequence[Tool], notation: Notation, role: str
) -> list[Message]:
    """The messages with the tools told to the model in the first, of `role`, which is put there if it is not."""
    example = write_calls(notation, [PastCall("NAME", '{"ARGUMENT": "VALUE"}')])
    listed = "\n".join(json.dumps(tool.as_given["function"], ensure_ascii=False) for tool in tools)
    prompt = _PROMPT.format(tools=listed, example=example)
    if not messages or messages[0]["role"] != role:
        return [{"role": role, "content": prompt}, *messages]
    first, *others = messages
    return [{**first, "content": f"{first['content']}\n\n{prompt}" if first["content"] else prompt}, *others]


def without_tool_turns(messages: Sequence[Message], notation: Notation) -> list[Message]:
    """The messages with calls as text of the assistant, and results, those in a row together, as a user's."""
    plain: list[Message] = []
    for is_result, group in groupby(messages, lambda message: message["role"] in ("tool", "function")):
        if is_result:
            results = "\n".join(f"<tool_response>\n{message['content']}\n</tool_response>" for message in group)
            plain.append({"role": "user", "content": results})
        else:
            plain.extend(_calls_as_text(list(group), notation))
    return plain


def _calls_as_text(messages: Sequence[Message], notation: Notation) -> Iterator[Message]:
    for message in messages:
        calls = message.get("tool_calls")
        if not calls:
            yield message
            continue
        functions = [call["function"] for call in calls]
        text = write_calls(notation, [PastCall(one["name"], _json(one["arguments"])) for one in functions])
        others = {name: value for name, value in message.items() if name != "tool_calls"}
        yield {**others, "content": "\n".join(filter(None, [message["content"], text]))}


def _json(arguments: Any) -> str:
    return json.dumps(arguments, ensure_ascii=False)
