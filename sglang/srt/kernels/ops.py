"""The one place where an op is bound to its implementation. Models call these and nothing below them.

Given a stand-in, an op computes nothing and becomes one node of its graph (`graph.py`). Given tensors it computes what
`reference` says; torch is imported when that first happens.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from sglang.srt.kernels.graph import StandIn

__all__ = ["argmax_rows", "embedding", "linear", "rms_norm", "rotary", "rotary_angles", "silu_and_mul"]

if TYPE_CHECKING:
    from collections.abc import Callable

    from sglang.srt.kernels.reference import (
        argmax_rows,
        embedding,
        linear,
        rms_norm,
        rotary,
        rotary_angles,
        silu_and_mul,
    )
else:

    def _op(name: str) -> Callable[..., Any]:
        def op(*args: Any) -> Any:
            for argument in args:
                if isinstance(argument, StandIn):
                    return argument.graph.add("call_function", op, args)
            return _implementation(name)(*args)

        op.__name__ = op.__qualname__ = name
        return op

    @functools.cache
    def _implementation(name: str) -> Callable[..., Any]:
        from sglang.srt.kernels import reference

        return getattr(reference, name)

    argmax_rows, embedding, linear, rms_norm, rotary, rotary_angles, silu_and_mul = map(_op, __all__)
