"""What the requests of a program come to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """Tokens of all prompts, what was cached of them, and new tokens. cached: None if the system does not say."""

    requests: int = 0
    prompt: int = 0
    cached: int | None = 0
    new: int = 0

    def add(self, prompt: int, cached: int | None, new: int) -> None:
        self.requests += 1
        self.prompt += prompt
        self.cached = None if cached is None or self.cached is None else self.cached + cached
        self.new += new

    @property
    def hit_rate(self) -> float | None:
        return None if self.cached is None else self.cached / self.prompt

    @property
    def uncached(self) -> int | None:
        return None if self.cached is None else self.prompt - self.cached
