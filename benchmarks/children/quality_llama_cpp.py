"""The process that computes llama.cpp's logits for `benchmarks.quality`. It needs llama-cpp-python, nothing of ours.

    python quality_llama_cpp.py MODEL_PATH WINDOW NUM_THREADS KV_TYPE

On standard output: a line of JSON, {"version": ..., "vocab_size": ...}; then, for every WINDOW int32 token ids read
from standard input, WINDOW x vocab_size float32 logits. It ends when its input does.
"""

from __future__ import annotations

import json
import os
import sys

import llama_cpp
import numpy as np


def main(model_path: str, window: int, num_threads: int, kv_type: str) -> None:
    ggml_type = getattr(llama_cpp, f"GGML_TYPE_{kv_type.upper()}")
    # llama.cpp itself may print: what it writes to descriptor 1 goes to standard error, the answers to the real one.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        model = llama_cpp.Llama(
            model_path=model_path,
            n_ctx=window,
            n_batch=window,
            n_threads=num_threads,
            n_threads_batch=num_threads,
            type_k=ggml_type,
            type_v=ggml_type,
            flash_attn=kv_type != "f16",  # off is the default; quantised values need it
            logits_all=True,
            verbose=False,
        )
        header = {"version": llama_cpp.__version__, "vocab_size": model.n_vocab()}
        answers.write(json.dumps(header).encode() + b"\n")
        answers.flush()
        while token_ids := sys.stdin.buffer.read(4 * window):
            model.reset()
            model.eval(np.frombuffer(token_ids, np.int32).tolist())
            answers.write(np.ascontiguousarray(model.scores[:window], np.float32).tobytes())
            answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
