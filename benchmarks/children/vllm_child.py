"""vLLM's engine, driven by JSON lines. Runs in the peer's own interpreter, alone.

python vllm_child.py folder
"""

from __future__ import annotations

import argparse
from typing import Any

import vllm  # type: ignore[import-not-found]
from vllm.sampling_params import (  # type: ignore[import-not-found]
    RequestOutputKind,
    SamplingParams,
    StructuredOutputsParams,
)

from benchmarks.children.serving import Running, serve


class Generation(Running):
    def __init__(self, message: dict[str, Any]) -> None:
        super().__init__(message)
        self._outputs: list[Any] = []

    def take(self, output: Any) -> None:
        """What a step gave for this request."""
        self._outputs.append(output)

    def read(self, now: float) -> bool:
        outputs, self._outputs = self._outputs, []
        for output in outputs:
            self.add(list(output.outputs[0].token_ids), now)
            self.cached_tokens = output.num_cached_tokens
        return any(output.finished for output in outputs)


class Pipeline:
    """Its engine in this process, without threads of its own."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._running: dict[str, Generation] = {}

    def start(self, number: int, message: dict[str, Any]) -> Generation:
        name = str(number)
        self._running[name] = Generation(message)
        self._engine.add_request(name, {"prompt_token_ids": message["prompt"]}, sampling_params(message))
        return self._running[name]

    def step(self) -> None:
        for output in self._engine.step():
            self._running[output.request_id].take(output)
            if output.finished:
                del self._running[output.request_id]


def sampling_params(message: dict[str, Any]) -> Any:
    schema = message["json_schema"]
    return SamplingParams(
        temperature=0.0,
        max_tokens=message["new_tokens"],
        ignore_eos=schema is None,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    options = parser.parse_args()
    llm = vllm.LLM(
        options.model,
        dtype="bfloat16",
        enable_prefix_caching=True,
        disable_log_stats=True,
    )
    pipeline = Pipeline(llm.llm_engine)
    serve(vllm.__version__, pipeline.start, pipeline.step)


if __name__ == "__main__":
    main()
