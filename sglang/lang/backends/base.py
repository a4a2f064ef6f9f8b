"""What a program needs of a model: the one protocol between the language and whatever generates text.

What programs ask for runs in the language's own event loop (`lang/execution/loop.py`), many programs at a time. A
backend implements the methods it can and refuses the rest by name.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from sglang.lang.choices import ChoicesDecision, ChoicesSamplingMethod, Exact
from sglang.lang.ir import SamplingArguments
from sglang.lang.media import MediaKind
from sglang.srt.errors import UnsupportedError

Segment = str | tuple[int, ...]
"""Text, or the ids of tokens that a model generated. Generated ids are never tokenized again."""

Message = dict[str, Any]
"""``{"role", "content"}``. In a `Prompt` the content is a `media.Content`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The state of a program at one point, immutable, in the three forms that backends want.

    text: all of it. segments: the same for a runtime that takes generated ids back as they are.
    messages: the roles that are closed; open_role and role_text: the one that is open, and what it holds so far.
    """

    text: str
    segments: tuple[Segment, ...]
    messages: tuple[Message, ...] = ()
    open_role: str | None = None
    role_text: str = ""


@dataclass(frozen=True, slots=True)
class Generated:
    """One continuation of a prompt. segments: how it goes into later prompts; joined, they are the text."""

    text: str
    meta_info: dict[str, Any] = field(default_factory=dict)
    segments: tuple[Segment, ...] | None = None

    @property
    def as_segments(self) -> tuple[Segment, ...]:
        return (self.text,) if self.segments is None else self.segments


@dataclass(frozen=True, slots=True)
class RoleText:
    """What a chat template puts before and after the content of a message."""

    prefix: str
    suffix: str


class Backend:
    """Every method raises SglangError, or what the client library raises, if the model cannot be asked."""

    wants_prefix_first = True
    """Whether requests that share a prefix are cheaper once a request for the prefix alone is answered. A runtime that
    shares prefixes between simultaneous requests does not need it."""

    media_kinds: frozenset[MediaKind] = frozenset()
    """What may stand in the messages of a prompt beside text."""

    async def generate(self, prompt: Prompt, sampling: SamplingArguments) -> list[Generated]:
        """``sampling.n`` continuations (one if None).

        With ``separate_reasoning`` their texts are the answers alone, and the meta info has the thoughts under
        ``reasoning_content``: a text, empty if there are none.
        """
        self._refuse("gen")

    def stream(self, prompt: Prompt, sampling: SamplingArguments) -> AsyncGenerator[Generated, None]:
        """One continuation as it grows: each item has all the text so far, the last one all of it and its meta info.

        Closing the generator cancels the request. Is never asked for ``separate_reasoning``.
        """
        self._refuse("stream=True")

    async def select(self, prompt: Prompt, choices: Sequence[str], method: ChoicesSamplingMethod) -> ChoicesDecision:
        """The choice, out of two or more, that `method` ranks first after the prompt."""
        self._refuse("select")

    async def select_exact(self, prompt: Prompt, choices: Sequence[str], exact: Exact) -> ChoicesDecision:
        """The choice, out of one or more that differ, by its probability as a text after the prompt."""
        self._refuse("choices_method=exact")

    async def role_text(self, roles: Sequence[str]) -> RoleText:
        """What goes around the last of `roles` in a conversation whose messages have these roles, in this order.

        The prefixes and suffixes of a conversation, joined with its contents, are its prompt.
        """
        self._refuse("roles")

    async def cache_prefix(self, prompt: Prompt) -> None:
        """Compute the prompt, so that requests that begin with it find it cached. Does nothing where that is no use."""

    async def count_tokens(self, text: str) -> int:
        """How many tokens a prompt of this text has."""
        self._refuse("count_tokens")

    def speculating(self, num_tokens: int) -> Backend:
        """This backend for one run, which asks for at least so many tokens at a time and answers from what is left."""
        self._refuse("num_api_spec_tokens, which saves calls of a completion API (sgl.OpenAI, is_chat_model=False)")

    def flush_cache(self) -> None:
        """Forget what is cached. For code outside of programs, as the next one: waits for the answer."""
        self._refuse("flush_cache")

    def get_server_info(self) -> dict[str, Any]:
        self._refuse("get_server_info")

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedError(f"{type(self).__name__} does not support {what}")
