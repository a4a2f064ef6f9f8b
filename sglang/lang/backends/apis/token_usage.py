"""What the answers of an API have cost, and what was not asked again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TokenUsage:
    """Of all answers so far, as the server counts.

    calls: requests sent. saved_calls: generations that were cut out of an earlier completion instead.
    saved_prompt_tokens: what their prompts would have had.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    saved_calls: int = 0
    saved_prompt_tokens: int = 0

    def reset(self) -> None:
        self.prompt_tokens = self.completion_tokens = 0
        self.calls = self.saved_calls = self.saved_prompt_tokens = 0
