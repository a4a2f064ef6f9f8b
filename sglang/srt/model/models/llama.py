"""Llama and what shares its arithmetic (Mistral without sliding windows, SmolLM2). Names are the checkpoint's.

Shapes: rows are tokens of any sequences, in any order; what a row attends to is the affair of ``batch.attention``.
"""

from __future__ import annotations

import torch
from torch import nn

from sglang.srt.kernels import ops
from sglang.srt.model.config import ModelConfig
from sglang.srt.model.forward_batch import Attention, ForwardBatch
from sglang.srt.model.layers import Embedding, Linear, MergedLinear, RMSNorm, RotaryEmbedding


class LlamaAttention(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads
        query_size, kv_size = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        projections = {"q_proj": query_size, "k_proj": kv_size, "v_proj": kv_size}
        self.qkv_proj = MergedLinear(config.hidden_size, projections, config.attention_bias)
        self.o_proj = Linear(query_size, config.hidden_size, config.attention_bias)

    def forward(self, hidden: torch.Tensor, cos_sin: torch.Tensor, attention: Attention) -> torch.Tensor:
        num_rotated = self.num_heads + self.num_kv_heads
        qkv = self.qkv_proj(hidden).view(-1, num_rotated + self.num_kv_heads, self.head_dim)
        rotated, value = qkv.split_with_sizes((num_rotated, self.num_kv_heads), dim=1)
        query, key = ops.rotary(rotated, cos_sin).split_with_sizes((self.num_heads, self.num_kv_heads), dim=1)
        output: torch.Tensor = self.o_proj(attention.forward(self.layer, query, key, value))
        return output


class LlamaMLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        projections = {"gate_proj": config.intermediate_size, "up_proj": config.intermediate_size}
        self.gate_up_proj = MergedLinear(config.hidden_size, projections, config.mlp_bias)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, config.mlp_bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.down_proj(ops.silu_and_mul(self.gate_up_proj(hidden)))
        return output


class LlamaDecoderLayer(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = LlamaAttention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = LlamaMLP(config)

    def forward(self, hidden: torch.Tensor, cos_sin: torch.Tensor, attention: Attention) -> torch.Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), cos_sin, attention)
        output: torch.Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return output


class LlamaModel(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(LlamaDecoderLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(config)

    def forward(self, batch: ForwardBatch) -> torch.Tensor:
        hidden = self.embed_tokens(batch.token_ids)
        cos_sin = self.rotary_emb(batch.positions)
        for layer in self.layers:
            hidden = layer(hidden, cos_sin, batch.attention)
        output: torch.Tensor = self.norm(hidden)
        return output


class LlamaForCausalLM(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.model = LlamaModel(config)
        self.lm_head = None if config.tie_word_embeddings else Linear(config.hidden_size, config.vocab_size)

    def forward(self, batch: ForwardBatch) -> torch.Tensor:
        """The hidden states after the final norm, [rows, hidden_size] in the model's dtype."""
        hidden: torch.Tensor = self.model(batch)
        return hidden

    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """hidden: [rows, hidden_size], any of the rows `forward` returned. Returns [rows, vocab_size] float32."""
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return ops.linear(hidden, head.weight).float()
