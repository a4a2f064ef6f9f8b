"""What computes the model: the native kernels where there are any, else torch. Each reads weights in its own form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from sglang.srt.args import EngineArgs
from sglang.srt.device import Device
from sglang.srt.errors import ConfigurationError
from sglang.srt.executor.capture import capture
from sglang.srt.executor.kv_storage import KVStorage
from sglang.srt.executor.model_runner import ModelRunner
from sglang.srt.executor.torch_network import TorchNetwork, TorchSampler
from sglang.srt.kernels.native import TORCH, KernelChoice, choose_kernels
from sglang.srt.model.config import ModelConfig
from sglang.srt.model.loader.load import load_model
from sglang.srt.model.models import model_class

MAX_HEAD_DIM = 256
"""What the native attention has room for."""

OnProgress = Callable[[int, int], None] | None


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
    """Load the model at `path` for the best kernels there are.

    on_progress(done, total) is called with numbers of parameters. Raises ModelLoadError, or ConfigurationError if an
    argument or the environment asks for what those kernels do not have.
    """
    choice = choose_kernels()
    if choice.is_native and config.head_dim > MAX_HEAD_DIM:
        choice = KernelChoice(TORCH, f"the native kernels have heads of at most {MAX_HEAD_DIM}, not {config.head_dim}")
    if choice.is_native:
        return NativeBackend(choice, device, path, config, args, on_progress)
    return TorchBackend(choice, device, path, config, args, on_progress)


class TorchBackend:
    kernels = "torch"

    def __init__(
        self,
        choice: KernelChoice,
        device: Device,
        path: Path,
        config: ModelConfig,
        args: EngineArgs,
        on_progress: OnProgress,
    ) -> None:
        if args.kv_cache_dtype == "int8":
            raise ConfigurationError(f"kv_cache_dtype='int8' needs the native kernels; {choice}")
        self._config = config
        self._device = device.torch_device
        self._dtype = device.torch_dtype(args.dtype)
        self.dtype = self.kv_cache_dtype = str(self._dtype).removeprefix("torch.")
        if args.kv_cache_dtype not in ("auto", self.kv_cache_dtype):
            raise ConfigurationError(
                f"kv_cache_dtype={args.kv_cache_dtype!r} needs the native kernels, or dtype={args.kv_cache_dtype!r}; "
                f"{choice}"
            )
        self.description = str(choice)
        self.kv_bytes_per_token = KVStorage.bytes_per_slot(config, self._dtype)
        self._model = load_model(path, config, self._dtype, self._device, on_progress)

    def make_runner(self, num_slots: int) -> ModelRunner[torch.Tensor]:
        config = self._config
        storage = KVStorage(config, num_slots, self._dtype, self._device)
        heads_per_kv_head = config.num_attention_heads // config.num_key_value_heads
        return ModelRunner(TorchNetwork(self._model, storage, heads_per_kv_head, self._device), TorchSampler())


class NativeBackend:
    def __init__(
        self,
        choice: KernelChoice,
        device: Device,
        path: Path,
        config: ModelConfig,
        args: EngineArgs,
        on_progress: OnProgress,
    ) -> None:
        from sglang.srt.executor.lowering import paired_weights
        from sglang.srt.kernels._native import KvCache, ThreadPool
        from sglang.srt.model.loader.packed_weights import load_packed_weights

        self._config = config
        self.kernels = choice.level
        self.description = str(choice)
        with torch.device("meta"):
            model = model_class(config.architecture)(config)
        self._tensors = dict(model.named_buffers())
        self._forward, self._compute_logits = capture(model, "forward"), capture(model, "compute_logits")
        self._pool = ThreadPool(device.num_threads)
        dtype = None if args.dtype == "auto" else device.torch_dtype(args.dtype)
        self._weights = load_packed_weights(
            path, config, model, paired_weights(self._forward), dtype, device.num_threads, on_progress
        )
        self.dtype = self._weights.type_name
        self.kv_cache_dtype = str("bfloat16" if args.kv_cache_dtype == "auto" else args.kv_cache_dtype)
        self._kv_shape = (config.num_hidden_layers, config.num_key_value_heads, config.head_dim)
        self.kv_bytes_per_token = KvCache.bytes_per_slot(*self._kv_shape, self.kv_cache_dtype)

    def make_runner(self, num_slots: int) -> ModelRunner[Any]:
        from sglang.srt.executor.native_network import NativeNetwork
        from sglang.srt.executor.native_sampler import NativeSampler
        from sglang.srt.kernels._native import KvCache

        cache = KvCache(*self._kv_shape, num_slots, self.kv_cache_dtype)
        network = NativeNetwork(
            self.kernels, self._pool, self._forward, self._compute_logits, self._weights, self._tensors, cache
        )
        return ModelRunner(network, NativeSampler(self.kernels, self._pool, self._config.vocab_size))
