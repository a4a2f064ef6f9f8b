"""Weights for the native kernels: in their own precision, merged where they are stored alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file, save_file

from sglang.srt.args import Dtype
from sglang.srt.device import HOST
from sglang.srt.errors import ModelLoadError
from sglang.srt.model.config import load_config
from sglang.srt.model.layers import checkpoint_parts
from sglang.srt.model.loader.load import load_model
from sglang.srt.model.loader.packed_weights import PackedWeights, load_packed_weights
from sglang.srt.model.models.llama import LlamaForCausalLM
from tests.helpers.tiny_models import make_tiny_llama, write_gguf

QKV = "model.layers.0.self_attn.qkv_proj.weight"
GATE_UP = "model.layers.0.mlp.gate_up_proj.weight"


def load(path: Path, dtype: Dtype = "auto", on_progress: Callable[[int, int], None] | None = None) -> PackedWeights:
    config = load_config(path)
    paired = {f"model.layers.{layer}.mlp.gate_up_proj.weight" for layer in range(config.num_hidden_layers)}
    return load_packed_weights(path, config, LlamaForCausalLM(config), paired, dtype, 2, on_progress)


def shapes(path: Path) -> list[tuple[int, ...]]:
    return [part.shape for part in checkpoint_parts(LlamaForCausalLM(load_config(path)))]


def first_columns(weights: PackedWeights, name: str) -> list[int]:
    return [part.first_column for part in weights.matrices[name].parts]


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wanted", ["auto", "float32", "float16", "bfloat16"])
def test_matrices_stay_as_they_are_stored_unless_asked(
    tmp_path: Path, stored: torch.dtype, wanted: Dtype, caplog: pytest.LogCaptureFixture
) -> None:
    weights = load(make_tiny_llama(tmp_path, dtype=stored), wanted)
    dtype = stored if wanted == "auto" else getattr(torch, wanted)
    assert weights.type_name == str(dtype).removeprefix("torch.")
    assert weights.num_bytes == dtype.itemsize * sum(math.prod(shape) for shape in shapes(tmp_path) if len(shape) == 2)
    assert not caplog.records


def test_a_quantised_file_may_be_converted_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(make_tiny_llama(tmp_path / "hf"), path, Kind.Q8_0, {"mlp": Kind.Q5_0})
    assert load(path, "bfloat16").type_name == "bfloat16"
    assert not caplog.records


def test_projections_stored_alike_are_one_matrix(tmp_path: Path) -> None:
    weights = load(make_tiny_llama(tmp_path))
    assert first_columns(weights, QKV) == first_columns(weights, GATE_UP) == [0]
    assert weights.matrices[GATE_UP].is_paired and not weights.matrices[QKV].is_paired
    assert (weights.matrices[QKV].columns, weights.matrices[GATE_UP].columns) == (128, 192)


@pytest.mark.parametrize(
    ("exceptions", "qkv"),
    [
        ({"v_proj": Kind.Q4_0}, [0, 96]),
        ({"q_proj": Kind.Q4_0}, [0, 64]),
        ({"k_proj": Kind.Q4_0}, [0, 64, 96]),
        ({"q_proj": Kind.Q4_0, "v_proj": Kind.Q4_0}, [0, 64, 96]),
    ],
)
def test_neighbours_stored_alike_are_one_part(tmp_path: Path, exceptions: dict[str, Kind], qkv: list[int]) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(make_tiny_llama(tmp_path / "hf"), path, Kind.Q8_0, {**exceptions, "gate_proj": Kind.F16})
    weights = load(path)
    assert first_columns(weights, QKV) == qkv
    assert first_columns(weights, GATE_UP) == [0, 96] and not weights.matrices[GATE_UP].is_paired


def test_progress_grows_to_the_number_of_parameters(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    load(make_tiny_llama(tmp_path, attention_bias=True), on_progress=lambda *call: calls.append(call))
    total = sum(map(math.prod, shapes(tmp_path)))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert calls[-1] == (total, total)


def test_missing_and_unexpected_weights_are_named(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.layers.0.mlp.gated_proj.weight"] = weights.pop("model.layers.0.mlp.gate_proj.weight")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelLoadError, match=r"missing weights: .*gate_proj.*; unexpected weights: .*gated_proj"):
        load(tmp_path)


def test_float64_keeps_the_precision_there_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = load(make_tiny_llama(tmp_path, dtype=torch.float64))
    assert weights.type_name == "float32"
    (record,) = caplog.records
    assert "23 matrices of type F64" in record.getMessage() and record.getMessage().endswith("converted to F32")


def test_weights_that_float16_cannot_hold_are_refused(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = -70_000.0
    save_file(weights, tmp_path / "model.safetensors")
    message = r"layers\.1\.mlp\.up_proj\.weight has a value of magnitude 70000; float16 ends at 65504\. Use dtype='bf"
    with pytest.raises(ModelLoadError, match=message):
        load(tmp_path, "float16")
    with pytest.raises(ModelLoadError, match=message):
        load_model(tmp_path, load_config(tmp_path), torch.float16, HOST)
    load(tmp_path)  # as they are stored
