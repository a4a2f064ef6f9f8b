"""The backend without native kernels: torch, op by op, in one dtype."""

from __future__ import annotations

from pathlib import Path

import torch

from sglang.srt.args import Dtype, EngineArgs
from sglang.srt.device import Device
from sglang.srt.errors import ConfigurationError
from sglang.srt.executor.kv_storage import KVStorage
from sglang.srt.executor.loading_bar import OnProgress
from sglang.srt.executor.model_runner import ModelRunner
from sglang.srt.executor.torch_network import TorchNetwork, TorchSampler
from sglang.srt.kernels.native import KernelChoice
from sglang.srt.model.config import ModelConfig
from sglang.srt.model.loader.load import load_model


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
        torch.set_num_threads(device.num_threads)
        self._device = device.name
        self._dtype = _compute_dtype(args.dtype)
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


def _compute_dtype(name: Dtype) -> torch.dtype:
    """float32 unless asked otherwise: only its products agree between batches closely enough."""
    dtype: torch.dtype = getattr(torch, "float32" if name == "auto" else name)
    return dtype
