"""What computes the model: the native kernels where there are any, else torch. Each reads weights in its own form."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from sglang.srt.args import EngineArgs
from sglang.srt.device import Device
from sglang.srt.executor.loading_bar import OnProgress
from sglang.srt.executor.model_runner import ModelRunner
from sglang.srt.kernels.native import TORCH, KernelChoice, choose_kernels
from sglang.srt.model.config import ModelConfig

MAX_HEAD_DIM = 256
"""What the native attention has room for."""


class Backend(Protocol):
    """A loaded model that waits for room for its keys and values.

    dtype: of the weights, kv_cache_dtype: of keys and values, both as reported to users. kernels: what computes, in a
    word; description: in a line.
    """

    dtype: str
    kv_cache_dtype: str
    kernels: str
    description: str
    kv_bytes_per_token: int

    def make_runner(self, num_slots: int) -> ModelRunner[Any]: ...


def open_backend(
    device: Device, path: Path, config: ModelConfig, args: EngineArgs, on_progress: OnProgress = None
) -> Backend:
    """Load the model at `path` for the best kernels there are. With native ones, torch is not imported.

    on_progress(done, total) is called with numbers of parameters. Raises ModelLoadError, or ConfigurationError if an
    argument or the environment asks for what those kernels do not have.
    """
    choice = choose_kernels()
    if choice.is_native and config.head_dim > MAX_HEAD_DIM:
        choice = KernelChoice(TORCH, f"the native kernels have heads of at most {MAX_HEAD_DIM}, not {config.head_dim}")
    if choice.is_native:
        from sglang.srt.executor.native_backend import NativeBackend

        return NativeBackend(choice, device, path, config, args, on_progress)
    from sglang.srt.executor.torch_backend import TorchBackend

    return TorchBackend(choice, device, path, config, args, on_progress)
