"""OpenVINO GenAI's ContinuousBatchingPipeline, driven by JSON lines. Runs in the peer's own interpreter, alone.

    python openvino_child.py model.gguf --threads 2 --cache-gib 2

Input: lines, each a list of requests {"id", "prompt", "new_tokens", "json_schema"} to be added together; a prompt is
token ids. Output: {"ready": version} once; then for each request, when it has ended, {"id", "token_ids", "times"}, the
monotonic clock at which each token was there. With no work it blocks on its input; at its end it exits.
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import sys
import threading
import time
from typing import Any

import numpy as np
import openvino  # type: ignore[import-not-found]
import openvino_genai  # type: ignore[import-not-found]


class Running:
    """One request in the pipeline, and what has come of it so far."""

    def __init__(self, pipeline: Any, number: int, message: dict[str, Any]) -> None:
        self.id = message["id"]
        self.token_ids: list[int] = []
        self.times: list[float] = []
        prompt = openvino.Tensor(np.array([message["prompt"]], dtype=np.int64))
        self._handle = pipeline.add_request(number, prompt, generation_config(message))

    def read(self, now: float) -> bool:
        """Take what the last step gave; whether that was the end."""
        while self._handle.can_read():
            for output in self._handle.read().values():
                self.token_ids += output.generated_ids
                self.times += [now] * len(output.generated_ids)
        return bool(self._handle.get_status() != openvino_genai.GenerationStatus.RUNNING)


def generation_config(message: dict[str, Any]) -> Any:
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = message["new_tokens"]
    config.do_sample = False
    schema = message["json_schema"]
    if schema is None:
        config.ignore_eos = True
    else:
        config.structured_output_config = openvino_genai.StructuredOutputConfig(json_schema=json.dumps(schema))
    return config


def read_lines(incoming: queue.SimpleQueue[list[dict[str, Any]] | None]) -> None:
    for line in sys.stdin:
        incoming.put(json.loads(line))
    incoming.put(None)


def serve(pipeline: Any) -> None:
    incoming: queue.SimpleQueue[list[dict[str, Any]] | None] = queue.SimpleQueue()
    threading.Thread(target=read_lines, args=(incoming,), daemon=True).start()
    running: list[Running] = []
    numbers = itertools.count()
    while True:
        while not running or not incoming.empty():
            messages = incoming.get()
            if messages is None:
                return
            running += [Running(pipeline, next(numbers), message) for message in messages]
        pipeline.step()
        now = time.monotonic()
        ended = [request for request in running if request.read(now)]
        for request in ended:
            answer = {"id": request.id, "token_ids": request.token_ids, "times": request.times}
            print(json.dumps(answer), flush=True)
        running = [request for request in running if request not in ended]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--cache-gib", type=int, default=2)
    parser.add_argument("--max-batched-tokens", type=int, default=256, help="the library's own default")
    options = parser.parse_args()
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.enable_prefix_caching = True
    scheduler.cache_size = options.cache_gib
    scheduler.max_num_batched_tokens = options.max_batched_tokens
    properties = {"INFERENCE_NUM_THREADS": options.threads}
    pipeline = openvino_genai.ContinuousBatchingPipeline(options.model, scheduler, "CPU", properties)
    print(json.dumps({"ready": openvino_genai.__version__}), flush=True)
    serve(pipeline)


if __name__ == "__main__":
    main()
