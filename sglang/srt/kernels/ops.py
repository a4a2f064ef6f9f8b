"""The one place where an op is bound to its implementation. Models call these and nothing below them.

Each is also one node when a model is traced (`executor/capture.py`): given a stand-in for a tensor it calls nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from sglang.srt.kernels import reference
from sglang.srt.kernels.reference import argmax_rows

__all__ = ["argmax_rows", "embedding", "linear", "rms_norm", "rotary", "silu_and_mul"]

P = ParamSpec("P")
R = TypeVar("R")


def _traceable(function: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Tensor, P], R]:
    """The op itself, or what torch's override protocol makes of it if the first argument is no plain tensor."""

    @functools.wraps(function)
    def op(x: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if has_torch_function_unary(x):
            result: R = handle_torch_function(op, (x,), x, *args, **kwargs)
            return result
        return function(x, *args, **kwargs)

    return op


embedding = _traceable(reference.embedding)
linear = _traceable(reference.linear)
rms_norm = _traceable(reference.rms_norm)
rotary = _traceable(reference.rotary)
silu_and_mul = _traceable(reference.silu_and_mul)
