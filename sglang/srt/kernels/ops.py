"""The one place where an op is bound to its implementation. Models call these and nothing below them."""

from __future__ import annotations

from sglang.srt.kernels.reference import argmax_rows, embedding, linear, rms_norm, rotary, silu_and_mul

__all__ = ["argmax_rows", "embedding", "linear", "rms_norm", "rotary", "silu_and_mul"]
