"""What a chat template puts around the messages of a conversation that is written piece by piece.

A template renders whole conversations. A program writes one role after the other and generates in between, so it needs
the text before and after each content, and these must not change when the conversation goes on. They are found by
rendering conversations of placeholders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sglang.srt.errors import InvalidRequestError
from sglang.srt.tokenizer.chat_template import ChatTemplate

MAX_ROLES = 2048


class RoleText(NamedTuple):
    """What stands before and after the content of a message."""

    prefix: str
    suffix: str


def role_text(template: ChatTemplate | None, roles: Sequence[str]) -> RoleText:
    """What goes around the last message of a conversation whose messages have these roles.

    The prefixes, contents and suffixes of a conversation, joined, are what the template makes of it. Without a template
    it is ``USER:content`` and a line break. Raises InvalidRequestError if the template refuses the roles in this order.
    """
    if not roles or len(roles) > MAX_ROLES:
        raise InvalidRequestError(f"roles must be 1 to {MAX_ROLES} names of roles, not {len(roles)}")
    if template is None:
        return RoleText(f"{roles[-1].upper()}:", "\n")
    before, after = _around_last(template, roles)
    if len(roles) == 1:
        return RoleText(before, after)
    # What follows the content before ours, without what was already said to follow it.
    earlier = _around_last(template, roles[:-1])[1]
    _, found, between = before.rpartition(_placeholder(len(roles) - 2))
    if not found:
        raise InvalidRequestError(f"the model's chat template does not keep the {roles[-2]} message before {roles[-1]}")
    return RoleText(between.removeprefix(earlier), after)


def _around_last(template: ChatTemplate, roles: Sequence[str]) -> tuple[str, str]:
    """All the text before the content of the last message, and what closes it."""
    mine = _placeholder(len(roles) - 1)
    rendered = _try_render(template, roles)
    if isinstance(rendered, InvalidRequestError) or mine not in rendered:
        return _before_next_user(template, roles, rendered), ""
    before, _, after = rendered.partition(mine)
    if roles[-1] == "assistant" and len(roles) > 1:  # as the model is asked to answer; may differ from an answer shown
        asked = _try_render(template, roles[:-1], add_generation_prompt=True)
        if not isinstance(asked, InvalidRequestError):
            before = asked
    return before, after


def _before_next_user(template: ChatTemplate, roles: Sequence[str], reason: str | InvalidRequestError) -> str:
    """Some templates write the system message into the user's that follows it: then that is what begins here."""
    rendered = _try_render(template, [*roles, "user"]) if roles[-1] != "user" else ""
    before, found, _ = str(rendered).partition(_placeholder(len(roles) - 1))
    if found and not isinstance(rendered, InvalidRequestError):
        return before
    if isinstance(reason, InvalidRequestError):
        raise reason
    raise InvalidRequestError(f"the model's chat template shows no {roles[-1]!r} message after {list(roles[:-1])}")


def _try_render(
    template: ChatTemplate, roles: Sequence[str], add_generation_prompt: bool = False
) -> str | InvalidRequestError:
    messages = [{"role": role, "content": _placeholder(index)} for index, role in enumerate(roles)]
    try:
        return template.render(messages, add_generation_prompt=add_generation_prompt)
    except InvalidRequestError as error:
        return error


def _placeholder(index: int) -> str:
    return f"[content-{index}-of-a-message]"
