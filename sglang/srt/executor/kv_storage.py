"""The memory behind the slots: one key and one value tensor per layer, indexed by slot."""

from __future__ import annotations

import torch

from sglang.srt.model.config import ModelConfig


class KVStorage:
    """keys[layer] and values[layer] are [kv_heads, slots, head_dim]. Untouched pages cost no memory."""

    def __init__(self, config: ModelConfig, num_slots: int, dtype: torch.dtype, device: str) -> None:
        shape = (config.num_key_value_heads, num_slots, config.head_dim)
        layers = range(config.num_hidden_layers)
        self.keys = [torch.empty(shape, dtype=dtype, device=device) for _ in layers]
        self.values = [torch.empty(shape, dtype=dtype, device=device) for _ in layers]

    @staticmethod
    def bytes_per_slot(config: ModelConfig, dtype: torch.dtype) -> int:
        return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * dtype.itemsize
