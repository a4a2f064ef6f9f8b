"""Weights from safetensors and GGUF end up in the right place, or the checkpoint is refused by the names at fault."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file, save_file

from sglang.srt.device import HOST
from sglang.srt.errors import ModelLoadError
from sglang.srt.model.config import Llama3Rope, load_config
from sglang.srt.model.layers import inverse_frequencies
from sglang.srt.model.loader.checkpoint import as_floats, iterate_stored_weights
from sglang.srt.model.loader.gguf_weights import checkpoint_name
from sglang.srt.model.loader.load import checkpoint_tensors, load_model
from sglang.srt.model.models.llama import LlamaForCausalLM
from tests.helpers.tiny_models import make_tiny_llama, write_gguf

VARIANTS: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "head_dim of its own": {"head_dim": 32},
}


def load(path: Path, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    return load_model(path, load_config(path), dtype, HOST)


def assert_holds(model: LlamaForCausalLM, expected: dict[str, torch.Tensor]) -> None:
    ours = checkpoint_tensors(model)
    assert ours.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(ours[name].float(), weight.float()), name


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("max_shard_size", ["1GB", "100KB"], ids=["single", "sharded"])
def test_safetensors(tmp_path: Path, variant: str, max_shard_size: str) -> None:
    make_tiny_llama(tmp_path, max_shard_size=max_shard_size, **VARIANTS[variant])
    files = sorted(tmp_path.glob("*.safetensors"))
    assert (len(files) > 1) == (max_shard_size == "100KB")
    assert_holds(load(tmp_path), {name: weight for file in files for name, weight in load_file(file).items()})


@pytest.mark.parametrize("stored", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16])
def test_float_types_are_converted(tmp_path: Path, stored: torch.dtype, wanted: torch.dtype) -> None:
    model = load(make_tiny_llama(tmp_path, dtype=stored), wanted)
    saved = load_file(tmp_path / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {stored}
    assert {tensor.dtype for tensor in checkpoint_tensors(model).values()} == {wanted}
    assert_holds(model, {name: weight.to(wanted) for name, weight in saved.items()})


@pytest.mark.parametrize("variant", VARIANTS)
def test_gguf_variants(tmp_path: Path, variant: str) -> None:
    folder = make_tiny_llama(tmp_path / "hf", **VARIANTS[variant])
    path = tmp_path / "model.gguf"
    expected = write_gguf(folder, path, Kind.F32)
    ours, original = load_config(path), load_config(folder)
    assert ours.rms_norm_eps == pytest.approx(original.rms_norm_eps)  # a float32 in GGUF
    ours = dataclasses.replace(ours, rms_norm_eps=original.rms_norm_eps, torch_dtype=original.torch_dtype)
    assert dataclasses.replace(ours, generation_config=original.generation_config) == original
    assert_holds(load(path), expected)


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1])
def test_gguf_types(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "model.gguf"
    expected = write_gguf(make_tiny_llama(tmp_path / "hf", attention_bias=True), path, kind)
    assert_holds(load(path), expected)


def test_gguf_llama3_rope_by_its_factors(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    folder = make_tiny_llama(tmp_path / "hf", rope_parameters={**rope, "original_max_position_embeddings": 32})
    path = tmp_path / "model.gguf"
    write_gguf(folder, path, Kind.F32)
    assert isinstance(load_config(folder).rope_scaling, Llama3Rope)
    torch.testing.assert_close(inverse_frequencies(load_config(path)), inverse_frequencies(load_config(folder)))
    load(path)


@pytest.mark.parametrize("kind", [Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K, Kind.IQ4_XS, Kind.MXFP4])
def test_gguf_types_that_are_only_read(tmp_path: Path, kind: Kind) -> None:
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.random.default_rng(0).integers(0, 60, (3, 2 * block_bytes), np.uint8)  # below 60: finite scales
    path = write_tensor(tmp_path, blocks, kind)
    (weight,) = iterate_stored_weights(path, load_config(make_tiny_llama(tmp_path / "hf")))
    assert (weight.name, weight.shape, weight.type) == ("lm_head.weight", (3, 2 * block_size), kind)
    assert np.array_equal(weight.blocks, blocks)
    assert np.array_equal(as_floats(weight), gguf.dequantize(blocks, kind))


def test_gguf_type_without_a_dequantiser(tmp_path: Path) -> None:
    path = write_tensor(tmp_path, np.zeros((2, 8), np.int8), Kind.I8)
    (weight,) = iterate_stored_weights(path, load_config(make_tiny_llama(tmp_path / "hf")))
    with pytest.raises(ModelLoadError, match=r"lm_head\.weight has type I8"):
        as_floats(weight)


def write_tensor(folder: Path, data: np.ndarray[Any, Any], kind: Kind) -> Path:
    path = folder / "one.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("output.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_gguf_names() -> None:
    assert checkpoint_name("blk.12.attn_output.bias") == "model.layers.12.self_attn.o_proj.bias"
    for name in ("blk.0.attn_q_norm.weight", "blk.0.attn_q", "output.bias", "rope.weight", "blk.x.attn_q.weight"):
        with pytest.raises(ModelLoadError, match="not part of the llama architecture"):
            checkpoint_name(name)


def test_a_tied_model_ignores_a_saved_copy_and_old_buffers(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path, tie_word_embeddings=True)
    weights = load_file(tmp_path / "model.safetensors")
    extra = {"lm_head.weight": torch.zeros(160, 64), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    save_file({**weights, **extra}, tmp_path / "model.safetensors")
    assert_holds(load(tmp_path), weights)


def test_missing_and_unexpected_weights_are_named(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.layers.0.mlp.gated_proj.weight"] = weights.pop("model.layers.0.mlp.gate_proj.weight")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelLoadError) as raised:
        load(tmp_path)
    assert "missing weights: model.layers.0.mlp.gate_proj.weight" in str(raised.value)
    assert "unexpected weights: model.layers.0.mlp.gated_proj.weight" in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(64, 65), r"has shape \(64, 65\); the configuration needs shape \(64, 64\)"),
        (torch.zeros(64), r"has shape \(64,\); the configuration needs shape \(64, 64\)"),
        (torch.tensor(1.0), r"has shape \(\); the configuration needs shape \(64, 64\)"),
        (torch.zeros(64, 64, dtype=torch.int8), "is of type I8; possible are F32, F16, BF16, F64"),
    ],
)
def test_a_weight_of_the_wrong_shape_or_type_is_named(tmp_path: Path, wrong: torch.Tensor, message: str) -> None:
    make_tiny_llama(tmp_path)
    name = "model.layers.1.self_attn.o_proj.weight"
    save_file({**load_file(tmp_path / "model.safetensors"), name: wrong}, tmp_path / "model.safetensors")
    with pytest.raises(ModelLoadError, match=f"{name} {message}"):
        load(tmp_path)


def test_gguf_heads_that_do_not_fit_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(make_tiny_llama(tmp_path / "hf"), path, Kind.F32)
    config = dataclasses.replace(load_config(path), num_key_value_heads=4)
    with pytest.raises(ModelLoadError, match=r"attn_k\.weight has 32 rows; 4 heads of 16 were expected"):
        load_model(path, config, torch.float32, HOST)


@pytest.mark.parametrize("keep", [0, 4, 100, 20_000])
def test_a_truncated_safetensors_file_is_named(tmp_path: Path, keep: int) -> None:
    file = make_tiny_llama(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelLoadError, match=r"cannot read .*model\.safetensors"):
        load(tmp_path)


def test_a_folder_without_safetensors_says_what_it_found(tmp_path: Path) -> None:
    file = make_tiny_llama(tmp_path) / "model.safetensors"
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(file.read_bytes())
    file.unlink()
    with pytest.raises(ModelLoadError, match=r"files found: a\.safetensors, b\.safetensors"):
        load(tmp_path)
    (tmp_path / "b.safetensors").unlink()
    load(tmp_path)  # a single file is taken whatever its name
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="files found: none"):
        load(tmp_path)


@pytest.mark.parametrize(
    "index", [{"weight_map": {"a": "../other.safetensors"}}, {"weight_map": {"a": "gone"}}, {}, []]
)
def test_a_wrong_index_is_refused(tmp_path: Path, index: Any) -> None:
    make_tiny_llama(tmp_path / "hf")
    (tmp_path / "other.safetensors").write_bytes((tmp_path / "hf" / "model.safetensors").read_bytes())
    (tmp_path / "hf" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelLoadError, match=r"index\.json"):
        load(tmp_path / "hf")


def test_progress_grows_to_the_number_of_parameters(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    calls: list[tuple[int, int]] = []
    config = load_config(tmp_path)
    model = load_model(tmp_path, config, torch.float32, HOST, lambda *call: calls.append(call))
    total = sum(tensor.numel() for tensor in checkpoint_tensors(model).values())
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert calls[-1] == (total, total)
    assert not any(tensor.requires_grad for tensor in checkpoint_tensors(model).values())
