"""The HTTP server. Importing this package loads none of it."""

from __future__ import annotations

import contextlib
from typing import Any


def launch_server(**options: Any) -> None:
    """Start an engine and serve it; returns when interrupted.

    Options are those of ``python -m sglang.launch_server`` and of ``sgl.Engine``: ``model_path``, ``host``, ``port``,
    and so on. Raises ConfigurationError, ModelLoadError or EngineDeadError if it cannot start.
    """
    from sglang.srt.args import launch_args
    from sglang.srt.server.launch import run_server

    with contextlib.suppress(KeyboardInterrupt):
        run_server(*launch_args(**options))
