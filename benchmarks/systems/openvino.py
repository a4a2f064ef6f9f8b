"""OpenVINO GenAI, its ContinuousBatchingPipeline in an interpreter of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.systems.base import REQUEST_SECONDS
from benchmarks.systems.child_pipeline import CHILDREN, ChildPipeline

CHILD = CHILDREN / "openvino_child.py"


class OpenVino(ChildPipeline):
    """``options`` are those of openvino_child.py, after the model and the threads."""

    def __init__(
        self,
        name: str,
        python: str,
        model: Path,
        threads: int,
        options: Sequence[str] = (),
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        command = [python, str(CHILD), str(model), "--threads", str(threads), *options]
        super().__init__(name, command, {}, request_seconds)
