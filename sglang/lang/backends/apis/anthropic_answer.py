"""An answer of Anthropic's Messages API, put together from the events of its stream."""

from __future__ import annotations

from typing import Any

from sglang.lang.backends.base import Generated
from sglang.srt.errors import RequestFailedError

FINISH_REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length"}
"""Theirs and ours. Others keep their name."""


class AnthropicAnswer:
    """is_complete: whether the last event has come."""

    def __init__(self) -> None:
        self.is_complete = False
        self._text = ""
        self._reasoning = ""
        self._meta_info: dict[str, Any] = {"finish_reason": None}

    def add(self, event: Any) -> bool:
        """Whether there is something new to show. Raises RequestFailedError if the model refuses to answer."""
        match event.type:
            case "message_start":
                self._meta_info |= {"id": event.message.id, **_prompt_tokens(event.message.usage)}
            case "content_block_start" if event.content_block.type == "text":
                self._text += event.content_block.text
            case "content_block_delta" if event.delta.type == "text_delta":
                self._text += event.delta.text
                return True
            case "content_block_delta" if event.delta.type == "thinking_delta":
                self._reasoning += event.delta.thinking
            case "message_delta":
                self._end(event)
            case "message_stop":
                self.is_complete = True
                return True
        return False

    def generated(self, *, with_reasoning: bool = False) -> Generated:
        thoughts = {"reasoning_content": self._reasoning} if with_reasoning else {}
        return Generated(self._text, {**self._meta_info, **thoughts})

    def _end(self, event: Any) -> None:
        reason = event.delta.stop_reason
        if reason == "refusal":
            details = getattr(event.delta, "stop_details", None)
            why = getattr(details, "explanation", None) or "it does not say why"
            error = RequestFailedError(f"the model refuses to answer: {why}")
            error.request_id = self._meta_info.get("id")
            raise error
        if reason is not None:
            matched = event.delta.stop_sequence
            finish = {"type": FINISH_REASONS.get(reason, reason)}
            self._meta_info["finish_reason"] = finish if matched is None else {**finish, "matched": matched}
        self._meta_info["completion_tokens"] = event.usage.output_tokens


def _prompt_tokens(usage: Any) -> dict[str, int]:
    """The API counts those that it read from its cache, and those that it put there, apart from the others."""
    cached = usage.cache_read_input_tokens or 0
    return {
        "prompt_tokens": usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0),
        "cached_tokens": cached,
    }
