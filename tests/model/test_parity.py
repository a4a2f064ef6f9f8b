"""The same weights give what transformers gives: logits to rounding, greedy continuations token for token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from sglang.srt.device import HOST
from sglang.srt.model.config import ModelConfig, load_config
from sglang.srt.model.loader.checkpoint import as_floats, iterate_stored_weights
from sglang.srt.model.loader.load import load_model
from sglang.srt.model.models.llama import LlamaForCausalLM
from tests.helpers.tiny_models import TINY, load_reference, make_tiny_llama
from tests.model.dense_attention import forward_logits, generate_greedy
from tests.model.prompts import PROMPTS

RELATIVE_TOLERANCE = 1e-4
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
TINY_VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "mistral": {"mistral": True, "sliding_window": None},
    "rope linear": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
    "rope llama3": {"rope_parameters": LLAMA3_ROPE},
    "attention bias": {"attention_bias": True},
    "mlp bias": {"mlp_bias": True},
    "head_dim of its own": {"head_dim": 24},
    "multi-head": {"num_key_value_heads": 4},
    "multi-query": {"num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True},
}


def load_on_cpu(path: Path, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    return load_model(path, load_config(path), dtype, HOST)


def relative_difference(ours: torch.Tensor, reference: torch.Tensor) -> float:
    return float((ours - reference).abs().max() / reference.abs().max())


@torch.inference_mode()
def reference_logits(reference: Any, token_ids: list[int]) -> torch.Tensor:
    logits: torch.Tensor = reference(torch.tensor([token_ids])).logits[0]
    return logits


@pytest.fixture(scope="module")
def default_model(default_model_path: Path) -> LlamaForCausalLM:
    return load_on_cpu(default_model_path)


@pytest.fixture(scope="module")
def default_reference(default_model_path: Path) -> Any:
    config = load_config(default_model_path)
    reference = transformers.LlamaForCausalLM(_transformers_config(config))
    stored = iterate_stored_weights(default_model_path, config)
    weights = {weight.name: torch.from_numpy(as_floats(weight)) for weight in stored}
    result = reference.load_state_dict(weights, strict=False)
    assert result.missing_keys == ["lm_head.weight"]  # tied to the embeddings
    assert result.unexpected_keys == []
    return reference.eval()


def _transformers_config(config: ModelConfig) -> Any:
    names = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads "
        "head_dim max_position_embeddings rms_norm_eps tie_word_embeddings bos_token_id"
    )
    values = {name: getattr(config, name) for name in names.split()}
    rope = {"rope_type": "default", "rope_theta": config.rope_theta}
    return transformers.LlamaConfig(**values, rope_parameters=rope)


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: f"{len(prompt)} tokens")
def test_logits_of_the_default_model(
    default_model: LlamaForCausalLM, default_reference: Any, prompt: list[int]
) -> None:
    difference = relative_difference(forward_logits(default_model, prompt), reference_logits(default_reference, prompt))
    assert difference < RELATIVE_TOLERANCE


def test_greedy_continuations_of_the_default_model(default_model: LlamaForCausalLM, default_reference: Any) -> None:
    """Batched and cached on our side, each whole in one pass on the other: there the most likely token after every
    prefix must be the one we chose, which is to say that greedy decoding chooses the same 64."""
    continuations = generate_greedy(default_model, PROMPTS, 64)
    for prompt, continuation in zip(PROMPTS, continuations, strict=True):
        logits = reference_logits(default_reference, prompt + continuation[:-1])[len(prompt) - 1 :]
        assert logits.argmax(-1).tolist() == continuation, f"after the prompt {prompt}"


@pytest.mark.parametrize("variant", TINY_VARIANTS)
def test_logits_of_tiny_models(tmp_path: Path, variant: str) -> None:
    folder = make_tiny_llama(tmp_path, **TINY_VARIANTS[variant])
    token_ids = torch.randint(TINY["vocab_size"], (100,), generator=torch.Generator().manual_seed(1)).tolist()
    model = load_on_cpu(folder)
    expected = reference_logits(load_reference(folder), token_ids)
    assert relative_difference(forward_logits(model, token_ids), expected) < RELATIVE_TOLERANCE
    assert relative_difference(forward_logits(model, token_ids, chunk=7), expected) < RELATIVE_TOLERANCE


def test_bfloat16_is_as_close_to_float32_as_the_reference(tmp_path: Path) -> None:
    folder = make_tiny_llama(tmp_path)
    token_ids = list(range(3, 60))
    exact = reference_logits(load_reference(folder), token_ids)
    rounded = reference_logits(load_reference(folder).to(torch.bfloat16), token_ids).float()
    ours = forward_logits(load_on_cpu(folder, torch.bfloat16), token_ids)
    assert ours.dtype == torch.float32
    assert relative_difference(ours, exact) < 2 * relative_difference(rounded, exact) + 1e-3
