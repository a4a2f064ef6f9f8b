"""A model's graph is what its forward pass does, read off without computing anything."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import replace

import pytest
import torch

from sglang.srt.executor.capture import capture
from sglang.srt.kernels import ops
from sglang.srt.model.config import ModelConfig
from sglang.srt.model.models.llama import LlamaForCausalLM

CONFIG = ModelConfig(
    architecture="LlamaForCausalLM",
    vocab_size=160,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=512,
)


@pytest.mark.parametrize("layers", [1, 3])
def test_every_op_is_one_node(layers: int) -> None:
    graph = capture(LlamaForCausalLM(replace(CONFIG, num_hidden_layers=layers)), "forward")
    counts = Counter(node.target for node in graph.nodes if node.op == "call_function")
    expected = {ops.embedding: 1, ops.rms_norm: 2 * layers + 1, ops.linear: 4 * layers, ops.silu_and_mul: layers}
    assert {op: counts[op] for op in expected} == expected
    assert counts[operator.add] == 2 * layers and counts[ops.rotary] == layers
    assert not [node.target for node in graph.nodes if node.op == "call_module"]


def test_weights_have_the_names_of_the_model() -> None:
    model = LlamaForCausalLM(replace(CONFIG, attention_bias=True, mlp_bias=True))
    graph = capture(model, "forward")
    named = {node.target for node in graph.nodes if node.op == "get_attr"}
    known = {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    assert named == known - {"lm_head.weight"}
    assert {node.target for node in capture(model, "compute_logits").nodes if node.op == "get_attr"} == {
        "lm_head.weight"
    }


def test_a_tied_head_reads_the_embeddings() -> None:
    graph = capture(LlamaForCausalLM(replace(CONFIG, tie_word_embeddings=True)), "compute_logits")
    assert [node.target for node in graph.nodes if node.op == "get_attr"] == ["model.embed_tokens.weight"]


def test_layers_are_told_apart() -> None:
    graph = capture(LlamaForCausalLM(CONFIG), "forward")
    assert [node.args[1] for node in graph.nodes if node.target == "forward"] == [0, 1, 2]


def test_ops_given_tensors_compute() -> None:
    """Being recordable changes nothing for torch."""
    x = torch.tensor([[1.0, 2.0]])
    assert torch.equal(ops.linear(x, torch.eye(2)), x)
    assert ops.rms_norm(x, torch.ones(2), 1e-5).shape == (1, 2)
