"""The models compared: each gives, for a window of token ids, the logits of every row."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
import torch

from benchmarks.quality_scores import Logits
from sglang.srt.args import EngineArgs
from sglang.srt.device import HOST
from sglang.srt.errors import BackendError
from sglang.srt.executor.build import load_engine_model
from sglang.srt.executor.kv_storage import KVStorage
from sglang.srt.executor.model_runner import ModelRunner
from sglang.srt.executor.step import IntArray, SequenceRows, StepInput
from sglang.srt.executor.torch_network import TorchNetwork, TorchSampler
from sglang.srt.model.config import load_config
from sglang.srt.model.loader.load import load_model

LLAMA_CPP_PROCESS = Path(__file__).parent / "children" / "quality_llama_cpp.py"


class WindowModel(Protocol):
    name: str

    def window_logits(self, token_ids: IntArray) -> Logits:
        """token_ids: [window], the beginning of a text of their own. Returns [window, vocab]."""
        ...


class StepRunner(Protocol):
    def logits(self, step: StepInput, rows: IntArray) -> Logits: ...


class RunnerModel:
    """One of our runners, a window in one step."""

    def __init__(self, name: str, runner: StepRunner) -> None:
        self.name = name
        self._runner = runner

    def window_logits(self, token_ids: IntArray) -> Logits:
        rows, nothing = np.arange(len(token_ids)), np.empty(0, np.int64)
        step = StepInput(
            token_ids=token_ids,
            positions=rows,
            slots=rows,
            sequences=[SequenceRows(0, len(rows), np.array([[0, len(rows)]]))],
            sample_rows=nothing,
            samples=[],
            prompt_logprobs=[],
        )
        return self._runner.logits(step, rows)


def reference_model(model_path: Path, window: int) -> RunnerModel:
    """The file's weights in float32, computed by torch: what everything else approximates."""
    config = load_config(model_path)
    model = load_model(model_path, config, torch.float32, HOST)
    storage = KVStorage(config, window, torch.float32, HOST)
    heads_per_kv_head = config.num_attention_heads // config.num_key_value_heads
    network = TorchNetwork(model, storage, heads_per_kv_head, HOST)
    return RunnerModel("float32 of the file", ModelRunner(network, TorchSampler()))


def engine_model(args: EngineArgs) -> RunnerModel:
    """The engine as it would run with these arguments."""
    loaded = load_engine_model(args, args.model_path)
    info = loaded.info
    return RunnerModel(f"sglang, {info.dtype}, KV {info.kv_cache_dtype} ({info.kernels})", loaded.runner)


class LlamaCppModel:
    """llama.cpp through llama-cpp-python, in the process that `start_llama_cpp` started."""

    def __init__(self, process: subprocess.Popen[bytes], window: int, kv_type: str) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._token_ids, self._answers = process, process.stdin, process.stdout
        header = json.loads(self._answers.readline() or self._fail())
        self.name = f"llama-cpp-python {header['version']}, KV {kv_type}"
        self._shape = (window, int(header["vocab_size"]))

    def window_logits(self, token_ids: IntArray) -> Logits:
        """Raises BackendError if the process ends instead of answering."""
        self._token_ids.write(token_ids.astype(np.int32).tobytes())
        self._token_ids.flush()
        size = 4 * self._shape[0] * self._shape[1]
        answer = bytearray(self._answers.read(size))
        if len(answer) < size:
            self._fail()
        return np.frombuffer(answer, np.float32).reshape(self._shape)

    def _fail(self) -> NoReturn:
        raise BackendError(f"llama.cpp's process ended with status {self._process.wait()}; it says why above")


@contextmanager
def start_llama_cpp(
    python: str, model_path: Path, window: int, num_threads: int, kv_type: str
) -> Iterator[LlamaCppModel]:
    """python: an interpreter that has llama-cpp-python; kv_type: ``f16`` or another of ggml's types.

    Raises BackendError if there is no such interpreter, or its process ends before it has loaded the model.
    """
    command = [python, str(LLAMA_CPP_PROCESS), str(model_path), str(window), str(num_threads), kv_type]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
        raise BackendError(f"cannot start {python!r}, which should be a Python interpreter: {error}") from error
    with process:
        yield LlamaCppModel(process, window, kv_type)
