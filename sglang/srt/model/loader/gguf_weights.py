"""The weights of a llama-architecture GGUF file, under the names and in the row order of the original checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sglang.srt.errors import ModelLoadError
from sglang.srt.model.config import ModelConfig
from sglang.srt.model.loader.gguf_file import TensorInfo, map_file, read_gguf_header
from sglang.srt.model.loader.stored_weights import StoredWeight

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LAYER_TENSOR = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")
_IN_CONFIG = "rope_freqs.weight"  # `load_config` has read it


def iterate_gguf_weights(path: Path, config: ModelConfig) -> Iterator[StoredWeight]:
    """Every weight in its stored, possibly quantised form, mapped from the file where its rows need no reordering.

    Raises ModelLoadError for a damaged file or a tensor that the llama architecture does not have.
    """
    data = map_file(path)  # not closed here: the arrays are views of it, and the last of them closes it
    for tensor in read_gguf_header(path).tensors.values():
        if tensor.name == _IN_CONFIG:
            continue
        if len(tensor.shape) == 1 and tensor.num_bytes % tensor.shape[0]:
            raise ModelLoadError(
                f"{path}: {tensor.name} is a vector of type {tensor.type.name}; F32, F16 or BF16 is possible"
            )
        blocks = np.frombuffer(data, np.uint8, tensor.num_bytes, tensor.offset).reshape(tensor.shape[0], -1)
        yield StoredWeight(checkpoint_name(tensor.name), tensor.shape, tensor.type, _in_order(tensor, blocks, config))


def checkpoint_name(name: str) -> str:
    """blk.0.attn_q.weight -> model.layers.0.self_attn.q_proj.weight. Raises ModelLoadError for an unknown name."""
    if match := _LAYER_TENSOR.fullmatch(name):
        layer, part, kind = match.groups()
        if part in _LAYER_NAMES:
            return f"model.layers.{layer}.{_LAYER_NAMES[part]}.{kind}"
    part, _, kind = name.partition(".")
    if part in _NAMES and kind == "weight":
        return f"{_NAMES[part]}.weight"
    raise ModelLoadError(f"the GGUF tensor {name!r} is not part of the llama architecture")


def _in_order(tensor: TensorInfo, blocks: npt.NDArray[np.uint8], config: ModelConfig) -> npt.NDArray[np.uint8]:
    """Undo the reordering that GGUF makes for interleaved rotary positions: rows 0, 1, 2, 3... of a head of size d
    are the checkpoint's rows 0, d/2, 1, d/2 + 1..."""
    if ".attn_q." in tensor.name:
        num_heads = config.num_attention_heads
    elif ".attn_k." in tensor.name:
        num_heads = config.num_key_value_heads
    else:
        return blocks
    rows, row_bytes = blocks.shape
    if rows != num_heads * config.head_dim:
        raise ModelLoadError(f"{tensor.name} has {rows} rows; {num_heads} heads of {config.head_dim} were expected")
    pairs = blocks.reshape(num_heads, config.head_dim // 2, 2, row_bytes)
    reordered: npt.NDArray[np.uint8] = pairs.swapaxes(1, 2).reshape(rows, row_bytes)
    return reordered
