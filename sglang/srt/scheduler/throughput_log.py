"""A line in the log now and then while there is work: how much of it, and how fast it goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sglang.srt.messages import EngineStats

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0


class ThroughputLog:
    """stats: asked only when a line is due."""

    def __init__(self, stats: Callable[[], EngineStats], clock: Callable[[], float] = time.monotonic) -> None:
        self._stats = stats
        self._clock = clock
        self._last = stats()
        self._last_time = clock()

    def begin(self) -> None:
        """There is work again: the time since the last line, in which there was none, does not count."""
        self._last, self._last_time = self._stats(), self._clock()

    def after_step(self) -> None:
        now = self._clock()
        seconds = now - self._last_time
        if seconds < INTERVAL_SECONDS:
            return
        stats, last = self._stats(), self._last
        generated, computed = (
            stats.generated_tokens - last.generated_tokens,
            stats.computed_tokens - last.computed_tokens,
        )
        logger.info(
            "#running-req: %d, #queue-req: %d, token usage: %.2f, gen throughput (token/s): %.1f, "
            "computed (token/s): %.1f, #cached-token: %d",
            stats.num_running, stats.num_waiting, 1 - (stats.free_tokens + stats.evictable_tokens) / stats.total_tokens,
            generated / seconds, computed / seconds, stats.cached_tokens - last.cached_tokens,
        )  # fmt: skip
        self._last, self._last_time = stats, now
