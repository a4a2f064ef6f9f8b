"""Who wants to know of every request that passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sglang.srt.messages import GenerateRequest, RequestOutput


class RequestObserver(Protocol):
    """Called in the manager's event loop, between a message and whoever waits for it: must be quick, and not raise."""

    def on_submit(self, requests: Sequence[GenerateRequest]) -> None:
        """These have been sent to the engine."""

    def on_outputs(self, outputs: Sequence[RequestOutput]) -> None:
        """What one step added. One with ``finish`` is the last of its request, also if nobody waits for it any more."""
