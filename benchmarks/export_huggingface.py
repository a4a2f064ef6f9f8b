"""A Hugging Face folder of bfloat16 weights from a GGUF file, for peers that read no GGUF.

    python -m benchmarks.export_huggingface FOLDER [--model smollm2]

Weights are what the file's blocks stand for, rounded to bfloat16; queries and keys are in the order of the original.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.options import run
from benchmarks.systems.base import BenchmarkError
from sglang.srt.model.config import ModelConfig, load_config
from sglang.srt.model.loader.checkpoint import as_floats, iterate_stored_weights
from sglang.srt.model.loader.gguf_file import read_gguf_metadata
from sglang.srt.model.source import resolve_model
from sglang.srt.tokenizer.gguf_tokenizer import build_gguf_tokenizer

SAME_NAMES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "attention_bias",
    "mlp_bias",
    "tie_word_embeddings",
    "hidden_act",
    "bos_token_id",
)


def export(path: Path, folder: Path) -> None:
    """Raises BenchmarkError for a file that cannot be written so."""
    config = load_config(path)
    if path.is_dir() or config.rope_scaling is not None:
        raise BenchmarkError(f"{path}: only a GGUF file without scaled positions can be exported")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights(path, config), folder / "model.safetensors", metadata={"format": "pt"})
    write(folder / "config.json", config_json(config))
    export_tokenizer(path, config, folder)


def export_tokenizer(path: Path, config: ModelConfig, folder: Path) -> None:
    backend = build_gguf_tokenizer(read_gguf_metadata(path)).backend
    backend.save(str(folder / "tokenizer.json"))
    end = backend.id_to_token(config.eos_token_ids[0])
    write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end})


def weights(path: Path, config: ModelConfig) -> dict[str, torch.Tensor]:
    return {
        weight.name: torch.from_numpy(as_floats(weight)).bfloat16() for weight in iterate_stored_weights(path, config)
    }


def config_json(config: ModelConfig) -> dict[str, Any]:
    return {
        **{name: getattr(config, name) for name in SAME_NAMES},
        "architectures": [config.architecture],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "eos_token_id": list(config.eos_token_ids),
    }


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2", help="a GGUF file, or its name (default: %(default)s)")
    options = parser.parse_args()
    export(resolve_model(options.model), options.folder)


if __name__ == "__main__":
    run(main)
