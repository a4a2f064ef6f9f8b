"""Buffers for results, filled with what no kernel computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

POISON = 0xFF
"""As every byte of a number: NaN in all float formats, bfloat16 as uint16 included."""


def poisoned(shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """An array that shows, after a kernel has written its results to it, what the kernel left out."""
    array = np.empty(shape, dtype)
    array.view(np.uint8).fill(POISON)
    return array
