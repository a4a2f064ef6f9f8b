"""The backend of the native kernels: the model as a program over packed weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sglang.srt.args import EngineArgs
from sglang.srt.device import Device
from sglang.srt.executor.capture import capture
from sglang.srt.executor.loading_bar import OnProgress
from sglang.srt.executor.lowering import paired_weights
from sglang.srt.executor.model_runner import ModelRunner
from sglang.srt.executor.native_network import NativeNetwork
from sglang.srt.executor.native_sampler import NativeSampler
from sglang.srt.kernels._native import KvCache, ThreadPool
from sglang.srt.kernels.native import KernelChoice
from sglang.srt.model.config import ModelConfig
from sglang.srt.model.loader.packed_weights import load_packed_weights
from sglang.srt.model.models import model_class


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
        self._config = config
        self.kernels = choice.level
        self.description = str(choice)
        model = model_class(config.architecture)(config)
        self._tables = dict(model.named_buffers())
        self._forward, self._compute_logits = capture(model, "forward"), capture(model, "compute_logits")
        self._pool = ThreadPool(device.num_threads)
        self._weights = load_packed_weights(
            path, config, model, paired_weights(self._forward), args.dtype, device.num_threads, on_progress
        )
        self.dtype = self._weights.type_name
        self.kv_cache_dtype = str("bfloat16" if args.kv_cache_dtype == "auto" else args.kv_cache_dtype)
        self._kv_shape = (config.num_hidden_layers, config.num_key_value_heads, config.head_dim)
        self.kv_bytes_per_token = KvCache.bytes_per_slot(*self._kv_shape, self.kv_cache_dtype)

    def make_runner(self, num_slots: int) -> ModelRunner[Any]:
        cache = KvCache(*self._kv_shape, num_slots, self.kv_cache_dtype)
        network = NativeNetwork(
            self.kernels, self._pool, self._forward, self._compute_logits, self._weights, self._tables, cache
        )
        return ModelRunner(network, NativeSampler(self.kernels, self._pool, self._config.vocab_size))
