"""vLLM on the processor: its engine in an interpreter of its own, and its server."""

from __future__ import annotations

from pathlib import Path

from benchmarks.systems.base import REQUEST_SECONDS
from benchmarks.systems.child_pipeline import CHILDREN, ChildPipeline
from benchmarks.systems.http_server import HttpServer
from benchmarks.systems.openai_api import OpenAiEndpoint

CHILD = CHILDREN / "vllm_child.py"
CACHE_GIB = 2


def environment(threads: int) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(threads),
        "VLLM_CPU_KVCACHE_SPACE": str(CACHE_GIB),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        "VLLM_NO_USAGE_STATS": "1",
    }


class Vllm(ChildPipeline):
    """Its engine without a server: the way in which it is fastest. ``model``: a Hugging Face folder."""

    def __init__(
        self, name: str, python: str, model: Path, threads: int, request_seconds: float = REQUEST_SECONDS
    ) -> None:
        super().__init__(name, [python, str(CHILD), str(model)], environment(threads), request_seconds)


class VllmServer(HttpServer, OpenAiEndpoint):
    """``vllm serve``."""

    model = "default"

    def __init__(
        self, name: str, python: str, model: Path, threads: int, request_seconds: float = REQUEST_SECONDS
    ) -> None:
        super().__init__(name, environment(threads), request_seconds=request_seconds)
        self._start = [
            *(python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)),
            *("--served-model-name", self.model, "--dtype", "bfloat16", "--enable-prompt-tokens-details"),
        ]

    def command(self, port: int) -> list[str]:
        return [*self._start, "--host", "127.0.0.1", "--port", str(port)]
