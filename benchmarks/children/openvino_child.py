"""OpenVINO GenAI's ContinuousBatchingPipeline, driven by JSON lines. Runs in the peer's own interpreter, alone.

python openvino_child.py model.gguf --threads 2 --cache-gib 2
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import openvino  # type: ignore[import-not-found]
import openvino_genai  # type: ignore[import-not-found]

from benchmarks.children.serving import Running, serve


class Generation(Running):
    def __init__(self, pipeline: Any, number: int, message: dict[str, Any]) -> None:
        super().__init__(message)
        prompt = openvino.Tensor(np.array([message["prompt"]], dtype=np.int64))
        self._handle = pipeline.add_request(number, prompt, generation_config(message))

    def read(self, now: float) -> bool:
        while self._handle.can_read():
            for output in self._handle.read().values():
                self.add(output.generated_ids, now)
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
    serve(
        openvino_genai.__version__,
        lambda number, message: Generation(pipeline, number, message),
        pipeline.step,
    )


if __name__ == "__main__":
    main()
