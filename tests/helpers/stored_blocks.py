"""Random rows of every GGUF type that is packed, as a checkpoint stores them."""

from __future__ import annotations

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Kind

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

FLOAT_KINDS = (Kind.F32, Kind.F16, Kind.BF16)
K_QUANTS = (Kind.Q4_K, Kind.Q5_K, Kind.Q6_K)
PACKED_KINDS = (*FLOAT_KINDS, Kind.Q4_0, Kind.Q4_1, Kind.Q8_0, *K_QUANTS)

_SCALES = {
    Kind.Q4_0: ([0], 4.6),
    Kind.Q4_1: ([0, 2], 8.9),
    Kind.Q8_0: ([0], 74.0),
    Kind.Q4_K: ([0, 2], 320.0),
    Kind.Q5_K: ([0, 2], 660.0),
    Kind.Q6_K: ([208], 1370.0),
}
"""At which bytes of a block its float16 numbers are, and how large weights are on average where these are 1."""


def fitting_inputs(kind: Kind, least: int) -> int:
    """The smallest number of inputs from `least` on that fills blocks."""
    block = int(gguf.GGML_QUANT_SIZES[kind][0])
    return -(-least // block) * block


def random_blocks(rng: np.random.Generator, kind: Kind, rows: int, inputs: int, size: float = 1.0) -> Bytes:
    """[rows, bytes per row]: weights of about `size`. Every code of the type occurs, and scales of either sign."""
    if kind in FLOAT_KINDS:
        weights = (size * rng.standard_normal((rows, inputs))).astype(np.float32)
        quantized: Bytes = gguf.quantize(weights, kind).view(np.uint8)
        return quantized
    places, unit = _SCALES[kind]
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows, inputs // block_size, block_bytes), np.uint8)
    for at in places:
        scales = rng.normal(0, size / unit, blocks.shape[:2]).astype(np.float16)
        blocks[..., at : at + 2] = scales[..., None].view(np.uint8)
    return blocks.reshape(rows, -1)


def dequantized(blocks: Bytes, kind: Kind) -> Floats:
    """[rows, inputs], by gguf's own reader."""
    values: Floats = gguf.dequantize(blocks, kind)
    return values
