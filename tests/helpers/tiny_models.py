"""Random models small enough to write and load in milliseconds, made by transformers and by gguf's writer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from sglang.srt.model.config import FactorsRope, ModelConfig, load_config
from sglang.srt.model.layers import inverse_frequencies
from tests.helpers.stored_blocks import K_QUANTS, random_blocks

TINY = {
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}


def make_tiny_llama(
    folder: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str = "1GB",
    mistral: bool = False,
    **overrides: Any,
) -> Path:
    """Save a random model as a Hugging Face folder, created if need be, and return it.

    overrides: values of config.json other than `TINY`. Biases and norms are random too, so none can be forgotten.
    max_shard_size: below the size of the weights, they are split over several files with an index.
    """
    config_class, model_class = (MistralConfig, MistralForCausalLM) if mistral else (LlamaConfig, LlamaForCausalLM)
    torch.manual_seed(seed)
    model = model_class(config_class(**{**TINY, **overrides}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.1)
    model.to(dtype).save_pretrained(folder, max_shard_size=max_shard_size)
    return folder


def load_reference(folder: Path) -> Any:
    """The same model in transformers, in float32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def write_gguf(
    folder: Path, path: Path, kind: Kind, exceptions: Mapping[str, Kind] | None = None
) -> dict[str, torch.Tensor]:
    """Write the model of `folder` as a GGUF file, its matrices of type `kind`, laid out as llama.cpp's converter does.

    exceptions: other types of matrices whose names contain such a text. Of types that cannot be quantised to here the
    blocks are random. Returns what the weights became by this, float32 under the checkpoint's names.
    """
    config = load_config(folder)
    writer = gguf.GGUFWriter(path, "llama")
    _write_config(writer, config)
    stored: dict[str, torch.Tensor] = {}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in load_reference(folder).state_dict().items():
        if config.tie_word_embeddings and name == "lm_head.weight":
            continue
        tensor_type = Kind.F32
        if weight.ndim == 2:
            tensor_type = next((other for part, other in (exceptions or {}).items() if part in name), kind)
        blocks = _quantized(weight.float().numpy(), tensor_type)
        rows = np.ascontiguousarray(_interleaved(name, blocks, config))
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), rows, raw_dtype=tensor_type)
        stored[name] = torch.from_numpy(np.array(gguf.dequantize(blocks, tensor_type))).reshape(weight.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


def _quantized(weight: np.ndarray[Any, Any], kind: Kind) -> np.ndarray[Any, Any]:
    if kind in K_QUANTS:
        rows, inputs = weight.shape
        return random_blocks(np.random.default_rng(weight.size), kind, rows, inputs, size=0.1)
    blocks: np.ndarray[Any, Any] = gguf.quantize(weight, kind)
    return blocks


def _write_config(writer: gguf.GGUFWriter, config: ModelConfig) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_ids[0])
    if config.rope_scaling is not None:
        writer.add_tensor("rope_freqs.weight", rope_factors(config), raw_dtype=Kind.F32)


def rope_factors(config: ModelConfig) -> npt.NDArray[np.float32]:
    """What a config's rope scaling divides each frequency by: [head_dim / 2]."""
    ones = FactorsRope((1.0,) * (config.head_dim // 2))
    unscaled = {name: getattr(config, name) for name in ModelConfig.__dataclass_fields__} | {"rope_scaling": ones}
    return np.divide(inverse_frequencies(ModelConfig(**unscaled)), inverse_frequencies(config))


def _interleaved(name: str, rows: np.ndarray[Any, Any], config: ModelConfig) -> np.ndarray[Any, Any]:
    """The row order of GGUF: within a head, rows i and i + head_dim / 2 side by side."""
    if "q_proj" in name:
        num_heads = config.num_attention_heads
    elif "k_proj" in name:
        num_heads = config.num_key_value_heads
    else:
        return rows
    halves = rows.reshape(num_heads, 2, config.head_dim // 2, *rows.shape[1:])
    reordered: np.ndarray[Any, Any] = halves.swapaxes(1, 2).reshape(rows.shape)
    return reordered
