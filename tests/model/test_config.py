"""Configurations from folders and GGUF files: both layouts of transformers, defaults, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from sglang.srt.errors import ModelLoadError
from sglang.srt.model.config import SUPPORTED_ARCHITECTURES, FactorsRope, LinearRope, Llama3Rope, load_config
from sglang.srt.model.models import model_class
from tests.helpers.tiny_models import make_tiny_llama

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
LLAMA3 = {"factor": 8, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}


def write_folder(folder: Path, generation: dict[str, Any] | None = None, **values: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({**LLAMA, **values}))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def test_defaults_are_those_of_transformers(tmp_path: Path) -> None:
    config = load_config(write_folder(tmp_path))
    assert config.num_key_value_heads == 4
    assert config.head_dim == 16
    assert (config.rms_norm_eps, config.rope_theta, config.rope_scaling) == (1e-6, 10000.0, None)
    assert not (config.attention_bias or config.mlp_bias or config.tie_word_embeddings)
    assert (config.bos_token_id, config.eos_token_ids, config.generation_config) == (None, (), {})


def test_what_transformers_writes(tmp_path: Path) -> None:
    config = load_config(make_tiny_llama(tmp_path, head_dim=24, tie_word_embeddings=True, attention_bias=True))
    assert (config.architecture, config.head_dim, config.num_key_value_heads) == ("LlamaForCausalLM", 24, 2)
    assert config.tie_word_embeddings
    assert config.attention_bias
    assert (config.bos_token_id, config.eos_token_ids, config.torch_dtype) == (1, (2,), "float32")


@pytest.mark.parametrize(
    "layout",
    [
        {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
        {"rope_theta": 5e5, "rope_scaling": {"type": "llama3", **LLAMA3}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}},
        {"rope_theta": 5e5, "rope_parameters": {"rope_type": "llama3", **LLAMA3}, "rope_scaling": None},
    ],
)
def test_llama3_rope_in_every_layout(tmp_path: Path, layout: dict[str, Any]) -> None:
    config = load_config(write_folder(tmp_path, **layout))
    assert config.rope_theta == 5e5
    assert config.rope_scaling == Llama3Rope(8.0, 1.0, 4.0, 64)


def test_linear_and_default_rope(tmp_path: Path) -> None:
    scaling = {"type": "linear", "factor": 4.0}
    assert load_config(write_folder(tmp_path, rope_scaling=scaling)).rope_scaling == LinearRope(4.0)
    scaling = {"rope_type": "default", "rope_theta": 7.0}
    config = load_config(write_folder(tmp_path, rope_parameters=scaling))
    assert (config.rope_theta, config.rope_scaling) == (7.0, None)


@pytest.mark.parametrize(
    ("own", "generation", "expected"),
    [
        (5, None, (5,)),
        ([5, 6], None, (5, 6)),
        (5, {"temperature": 0.6}, (5,)),
        (5, {"eos_token_id": 7}, (7,)),
        (5, {"eos_token_id": [7, 8]}, (7, 8)),
        (None, None, ()),
    ],
)
def test_end_tokens(tmp_path: Path, own: Any, generation: dict[str, Any] | None, expected: tuple[int, ...]) -> None:
    config = load_config(write_folder(tmp_path, generation, eos_token_id=own))
    assert config.eos_token_ids == expected
    assert config.generation_config == (generation or {})


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"architectures": ["GPT2LMHeadModel"]}, "'GPT2LMHeadModel' is not supported.*LlamaForCausalLM"),
    "no architecture": ({"architectures": None}, "architectures must be"),
    "activation": ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported; supported: silu"),
    "rope type": ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope type 'yarn'.*default, linear, llama3"),
    "rope factor": ({"rope_scaling": {"rope_type": "linear"}}, "factor must be a positive number, not None"),
    "rope factors": (
        {"rope_scaling": {"rope_type": "llama3", **LLAMA3, "high_freq_factor": 1.0}},
        "high_freq_factor must be more than low_freq_factor",
    ),
    "rope shape": ({"rope_scaling": "linear"}, "rope_scaling must be an object"),
    "partial rotary": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1"),
    "window": ({"architectures": ["MistralForCausalLM"], "sliding_window": 128}, "sliding_window=128"),
    "quantised": ({"quantization_config": {"quant_method": "awq"}}, "'awq' are not supported"),
    "missing": ({"vocab_size": None}, "vocab_size must be a positive integer, not None"),
    "negative": ({"hidden_size": -64}, "hidden_size must be a positive integer, not -64"),
    "string": ({"num_hidden_layers": "2"}, "num_hidden_layers must be a positive integer, not '2'"),
    "flag": ({"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false"),
    "heads": ({"num_key_value_heads": 3}, "4 attention heads cannot share 3"),
    "odd head": ({"head_dim": 15}, "even head_dim, not 15"),
    "end token": ({"eos_token_id": 128}, "end token 128 is past the vocabulary of 128"),
    "end token type": ({"eos_token_id": "</s>"}, "eos_token_id must be a token id or a list"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(tmp_path: Path, case: str) -> None:
    values, message = REFUSED[case]
    with pytest.raises(ModelLoadError, match=message):
        load_config(write_folder(tmp_path, **values))


def test_an_inactive_window_is_no_window(tmp_path: Path) -> None:
    values: dict[str, Any] = {"architectures": ["MistralForCausalLM"], "sliding_window": 512}
    assert load_config(write_folder(tmp_path, **values)).architecture == "MistralForCausalLM"


@pytest.mark.parametrize("content", ["", "[]", "{", "\0"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        load_config(tmp_path)


def test_every_supported_architecture_has_a_class() -> None:
    for architecture in SUPPORTED_ARCHITECTURES:
        assert model_class(architecture).__name__.endswith("ForCausalLM")
    with pytest.raises(ModelLoadError, match="no model class"):
        model_class("GPT2LMHeadModel")


def test_the_default_model(default_model_path: Path) -> None:
    config = load_config(default_model_path)
    assert (config.architecture, config.vocab_size, config.hidden_size) == ("LlamaForCausalLM", 49152, 576)
    assert (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads) == (30, 9, 3)
    assert (config.head_dim, config.intermediate_size, config.max_position_embeddings) == (64, 1536, 8192)
    assert config.rope_theta == 100000.0
    assert config.tie_word_embeddings
    assert (config.bos_token_id, config.eos_token_ids) == (1, (2,))


def write_gguf_config(
    path: Path, architecture: str = "llama", rope_factors: list[float] | None = None, **values: Any
) -> Path:
    """A GGUF file without weights; `values` are further keys, dots written as double underscores."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_vocab_size(128)
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_layer_norm_rms_eps(1e-5)
    for name, value in values.items():
        add = {str: writer.add_string, float: writer.add_float32, int: writer.add_uint32}[type(value)]
        add(name.replace("__", "."), value)
    if rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", np.array(rope_factors, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_gguf_end_tokens_and_sampling(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        f"tokenizer__ggml__{name}_token_id": value for name, value in (("eos", 5), ("eot", 6), ("eom", 5))
    }
    values |= {"general__sampling__temp": 0.5, "general__sampling__top_k": 20}
    config = load_config(write_gguf_config(tmp_path / "m.gguf", **values))
    assert config.eos_token_ids == (5, 6)
    assert config.generation_config == {"temperature": 0.5, "top_k": 20}


def test_gguf_rope(tmp_path: Path) -> None:
    linear: dict[str, Any] = {"llama__rope__scaling__type": "linear", "llama__rope__scaling__factor": 4.0}
    config = load_config(write_gguf_config(tmp_path / "m.gguf", llama__rope__freq_base=5e5, **linear))
    assert (config.rope_theta, config.rope_scaling) == (5e5, LinearRope(4.0))


GGUF_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"architecture": "gpt2"}, "general.architecture 'gpt2' is not supported; supported: llama"),
    "experts": ({"llama__expert_count": 8}, "llama.expert_count must be 0, or absent, not 8"),
    "partial rotary": ({"llama__rope__dimension_count": 8}, "llama.rope.dimension_count must be 16"),
    "value heads": ({"llama__attention__value_length": 8}, "llama.attention.value_length must be 16"),
    "rope type": ({"llama__rope__scaling__type": "yarn"}, "rope.scaling.type 'yarn'.*none, linear"),
}


@pytest.mark.parametrize("case", GGUF_REFUSED)
def test_gguf_refused_by_name(tmp_path: Path, case: str) -> None:
    values, message = GGUF_REFUSED[case]
    with pytest.raises(ModelLoadError, match=message):
        load_config(write_gguf_config(tmp_path / "m.gguf", **values))


def test_gguf_rope_factors(tmp_path: Path) -> None:
    config = load_config(write_gguf_config(tmp_path / "m.gguf", rope_factors=[2.0] * 8))
    assert config.rope_scaling == FactorsRope((2.0,) * 8)
    with pytest.raises(ModelLoadError, match="has 7 factors; head_dim=16 needs 8"):
        load_config(write_gguf_config(tmp_path / "m.gguf", rope_factors=[2.0] * 7))


def test_reading_a_configuration_imports_no_torch(default_model_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "import sglang.srt.model.source\nfrom sglang.srt.model.config import load_config\n"
        f"load_config(Path({str(default_model_path)!r}))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
