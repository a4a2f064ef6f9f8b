"""Llama and what shares its arithmetic (Mistral without sliding windows, SmolLM2). Names are the checkpoint's.

Shapes: rows are tokens of any sequences, in any order; what a row attends to is the affair of ``batch.attention``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sglang.srt.kernels import ops
from sglang.srt.model.config import ModelConfig
from sglang.srt.model.forward_batch import Attention, ForwardBatch
from sglang.srt.model.layers import Embedding, Linear, MergedLinear, RMSNorm, RotaryEmbedding
from sglang.srt.model.module import Module

if TYPE_CHECKING:
    from torch import Tensor


class LlamaAttention(Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        self.layer = layer
        self.head_dim = config.head_dim
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads
        query_size, kv_size = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        projections = {"q_proj": query_size, "k_proj": kv_size, "v_proj": kv_size}
        self.qkv_proj = MergedLinear(config.hidden_size, projections, config.attention_bias)
        self.o_proj = Linear(query_size, config.hidden_size, config.attention_bias)

    def __call__(self, hidden: Tensor, cos_sin: Tensor, attention: Attention) -> Tensor:
        num_rotated = self.num_heads + self.num_kv_heads
        qkv = self.qkv_proj(hidden).view(-1, num_rotated + self.num_kv_heads, self.head_dim)
        rotated, value = qkv.split_with_sizes((num_rotated, self.num_kv_heads), dim=1)
        query, key = ops.rotary(rotated, cos_sin).split_with_sizes((self.num_heads, self.num_kv_heads), dim=1)
        return self.o_proj(attention.forward(self.layer, query, key, value))


class LlamaMLP(Module):
    def __init__(self, config: ModelConfig) -> None:
        projections = {"gate_proj": config.intermediate_size, "up_proj": config.intermediate_size}
        self.gate_up_proj = MergedLinear(config.hidden_size, projections, config.mlp_bias)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, config.mlp_bias)

    def __call__(self, hidden: Tensor) -> Tensor:
        return self.down_proj(ops.silu_and_mul(self.gate_up_proj(hidden)))


class LlamaDecoderLayer(Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = LlamaAttention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = LlamaMLP(config)

    def __call__(self, hidden: Tensor, cos_sin: Tensor, attention: Attention) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), cos_sin, attention)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class LlamaModel(Module):
    def __init__(self, config: ModelConfig) -> None:
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = [LlamaDecoderLayer(config, layer) for layer in range(config.num_hidden_layers)]
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(config)

    def __call__(self, batch: ForwardBatch) -> Tensor:
        hidden = self.embed_tokens(batch.token_ids)
        cos_sin = self.rotary_emb(batch.positions)
        for layer in self.layers:
            hidden = layer(hidden, cos_sin, batch.attention)
        return self.norm(hidden)


class LlamaForCausalLM(Module):
    def __init__(self, config: ModelConfig) -> None:
        self.model = LlamaModel(config)
        self.lm_head = None if config.tie_word_embeddings else Linear(config.hidden_size, config.vocab_size)

    def forward(self, batch: ForwardBatch) -> Tensor:
        """The hidden states after the final norm, [rows, hidden_size] in the model's dtype."""
        return self.model(batch)

    def compute_logits(self, hidden: Tensor) -> Tensor:
        """hidden: [rows, hidden_size], any of the rows `forward` returned. Returns [rows, vocab_size] float32."""
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return ops.linear(hidden, head.weight).float()
