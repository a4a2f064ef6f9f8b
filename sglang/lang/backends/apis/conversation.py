"""What chat APIs have in common: they are told messages, and answer where the assistant's turn begins."""

from __future__ import annotations

from collections.abc import Sequence

from sglang.lang.backends.base import Message, Prompt
from sglang.lang.chat_template import ChatTemplate
from sglang.lang.media import text_of
from sglang.srt.errors import UnsupportedError, shown


def check_answer_begins(prompt: Prompt) -> None:
    """Raises UnsupportedError unless what comes next is the assistant's, from its first word on."""
    if prompt.role_text:
        raise _misplaced(f"after {shown(prompt.role_text)}")
    check_is_answer(prompt)


def check_is_answer(prompt: Prompt) -> None:
    """Raises UnsupportedError unless what comes next is the assistant's."""
    if prompt.open_role != "assistant":
        raise _misplaced(f"in role {prompt.open_role}" if prompt.open_role else "outside of all roles")


def check_all_in_roles(prompt: Prompt, template: ChatTemplate) -> None:
    """Raises UnsupportedError for text that is in no message, which the model would never see."""
    if _without_spaces(prompt.text) != _without_spaces(_text(prompt, template)):
        raise UnsupportedError(
            "a chat model sees only what is in roles, but the program has text outside of them; "
            "write it as s += sgl.user(...)"
        )


def split_system(messages: Sequence[Message], api: str) -> tuple[str | None, Sequence[Message]]:
    """The system message that a conversation begins with, and the rest. Raises UnsupportedError for another one."""
    system, rest = (messages[0], messages[1:]) if messages and messages[0]["role"] == "system" else (None, messages)
    if any(message["role"] == "system" for message in rest):
        raise UnsupportedError(f"{api} takes one system message, before all others")
    if system is None:
        return None, rest
    if not isinstance(system["content"], str):
        raise UnsupportedError(f"{api} takes nothing but text in its system message")
    return system["content"], rest


def _misplaced(where: str) -> UnsupportedError:
    return UnsupportedError(
        f"a chat model answers where the assistant's turn begins, so gen must come first in it, not {where}: "
        "write s += sgl.assistant(sgl.gen(...))"
    )


def _text(prompt: Prompt, template: ChatTemplate) -> str:
    """What the program would hold if it had nothing but these messages."""
    roles = [str(message["role"]) for message in prompt.messages]
    text = ""
    for index, message in enumerate(prompt.messages):
        around = template.role_text(roles[: index + 1])
        text += around.prefix + text_of(message["content"]) + around.suffix
    return text + template.role_text([*roles, "assistant"]).prefix + prompt.role_text


def _without_spaces(text: str) -> str:
    """A message's content has lost the spaces it began with; nothing else tells the two texts apart."""
    return "".join(text.split())
