"""An answer of a Gemini model: one of the candidates of a response, or of the responses of a stream."""

from __future__ import annotations

from typing import Any

from sglang.lang.backends.base import Generated
from sglang.srt.errors import RequestFailedError

FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
"""Theirs and ours. With any other the model was kept from answering."""


class VertexAnswer:
    def __init__(self) -> None:
        self._text = ""
        self._reasoning = ""
        self._meta_info: dict[str, Any] = {"finish_reason": None}

    @property
    def is_complete(self) -> bool:
        return self._meta_info["finish_reason"] is not None

    def add(self, response: Any, index: int) -> None:
        """What a response says of the candidate `index`.

        Raises RequestFailedError if something keeps the model from answering.
        """
        self._meta_info["id"] = response.response_id
        self._meta_info |= _usage(response.usage_metadata)
        feedback = response.prompt_feedback
        if feedback is not None and feedback.block_reason is not None:
            blocked = getattr(feedback, "block_reason_message", None) or feedback.block_reason.name
            raise self._named(RequestFailedError(f"the prompt is blocked: {blocked}"))
        for place, candidate in enumerate(response.candidates or ()):
            if index == (place if candidate.index is None else candidate.index):
                self._add_candidate(candidate)

    def generated(self, *, with_reasoning: bool = False) -> Generated:
        thoughts = {"reasoning_content": self._reasoning} if with_reasoning else {}
        return Generated(self._text, {**self._meta_info, **thoughts})

    def _add_candidate(self, candidate: Any) -> None:
        for part in (candidate.content and candidate.content.parts) or ():
            if part.thought:
                self._reasoning += part.text or ""
            else:
                self._text += part.text or ""
        if candidate.finish_reason is None:
            return
        reason = candidate.finish_reason.name
        if reason not in FINISH_REASONS:
            why = candidate.finish_message or reason
            raise self._named(RequestFailedError(f"the model was kept from answering: {why}"))
        self._meta_info["finish_reason"] = {"type": FINISH_REASONS[reason]}

    def _named(self, error: RequestFailedError) -> RequestFailedError:
        error.request_id = self._meta_info["id"]
        return error


def _usage(usage: Any) -> dict[str, int]:
    """Thoughts are completion tokens. Numbers are of all candidates together."""
    if usage is None:
        return {}
    return {
        "prompt_tokens": usage.prompt_token_count or 0,
        "cached_tokens": usage.cached_content_token_count or 0,
        "completion_tokens": (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
    }
