"""What products of 4-bit codes may lose to fixed point, for rows as products read them.

Scales are counted in units: a weight's in the power of two that gives the largest of its column at most 32,767, a row's
in what csrc/kernels/elementwise.inl chooses for each segment of 2,048 inputs. All that is lost is by rounding them to
whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Kind
from gguf.quants import Q4_K

from tests.helpers.stored_blocks import Bytes, Floats

Doubles = npt.NDArray[np.float64]

BLOCK = 32
SEGMENT_BLOCKS = 64
CENTRE_STEPS = 32
MOST_CENTRE = 4
MOST, MOST_SUM = 2.0**31 / 12 - 2.0**18, 2.0**25 - 2.0**12


@dataclass
class CodedRows:
    """[rows, blocks, ...]"""

    codes: Doubles
    scales: Doubles

    @classmethod
    def of(cls, rows: Floats) -> CodedRows:
        blocks = rows.astype(np.float64).reshape(len(rows), -1, BLOCK)
        largest = np.abs(blocks).max(-1)
        codes = np.rint(np.divide(127.0, largest, out=np.zeros_like(largest), where=largest > 0)[..., None] * blocks)
        return cls(codes, largest / 127)

    def steps(self) -> Doubles:
        """How many units of 2^-15 the largest scale of each segment is, about. Of each block: [rows, blocks]."""
        parts = []
        for first in range(0, self.scales.shape[1], SEGMENT_BLOCKS):
            scales = self.scales[:, first : first + SEGMENT_BLOCKS]
            magnitudes = np.abs(self.codes[:, first : first + SEGMENT_BLOCKS]).sum(-1)
            largest = scales.max(1, keepdims=True)
            share = np.divide(scales, largest, out=np.zeros_like(scales), where=largest > 0)
            load = np.maximum((share * magnitudes).sum(1, keepdims=True), 1)
            sums = np.abs(share * self.codes[:, first : first + SEGMENT_BLOCKS].sum(-1)).max(1, keepdims=True)
            steps = np.minimum(np.minimum(MOST / load, MOST_SUM / np.maximum(sums, 1)), 32767)
            parts.append(np.broadcast_to(steps, scales.shape))
        return np.concatenate(parts, 1)

    def units(self) -> Doubles:
        largest = [
            np.broadcast_to(part.max(1, keepdims=True), part.shape)
            for part in np.array_split(self.scales, range(SEGMENT_BLOCKS, self.scales.shape[1], SEGMENT_BLOCKS), axis=1)
        ]
        return np.concatenate(largest, 1) / self.steps() * 2**15


@dataclass
class CodedColumns:
    """[columns, blocks, ...]; a weight is scale * code + centre."""

    codes: Doubles
    scales: Doubles
    centres: Doubles

    @classmethod
    def of(cls, stored: Bytes, kind: Kind) -> CodedColumns:
        if kind == Kind.Q4_K:
            return cls._of_super_blocks(stored)
        header = {Kind.Q4_0: 2, Kind.Q4_1: 4}[kind]
        blocks = stored.reshape(len(stored), -1, header + BLOCK // 2)
        halves = np.ascontiguousarray(blocks[..., :header]).view(np.float16).astype(np.float64)
        codes = np.concatenate([blocks[..., header:] & 15, blocks[..., header:] >> 4], -1).astype(np.float64) - 8
        centres = 8 * halves[..., 0] + halves[..., 1] if kind == Kind.Q4_1 else np.zeros_like(halves[..., 0])
        return cls(codes, halves[..., 0], centres)

    @classmethod
    def _of_super_blocks(cls, stored: Bytes) -> CodedColumns:
        """Of 256 weights in 144 bytes: two float16, 12 bytes of scales and minima, codes of two blocks in 32 bytes."""
        blocks = stored.reshape(-1, 144)
        halves = np.ascontiguousarray(blocks[:, :4]).view(np.float16).astype(np.float64)
        steps, minima = Q4_K.get_scale_min(np.ascontiguousarray(blocks[:, 4:16]))
        scales = (halves[:, :1] * steps).reshape(len(stored), -1)
        least = -(halves[:, 1:] * minima).reshape(len(stored), -1)
        both = blocks[:, 16:].reshape(-1, 4, 1, BLOCK)
        codes = np.concatenate([both & 15, both >> 4], 2).reshape(len(stored), -1, BLOCK)
        return cls(codes.astype(np.float64) - 8, scales, least + 8 * scales)

    def units(self) -> Doubles:
        """[columns]"""
        largest = np.maximum(np.abs(self.scales).max(1), np.abs(self.centres).max(1) / MOST_CENTRE)
        units: Doubles = 2.0 ** np.ceil(np.log2(np.maximum(largest, 2.0**-40) / 32767))
        return units


def most_lost(rows: Floats, stored: Bytes, kind: Kind) -> Doubles:
    """[rows, columns]: a bound of what rounding scales changes in rows @ matrix.T.

    A product of scales is out by at most 3/2: its own rounding, and that of both. The centre codes' part by half a sum
    of the row's codes, and by a centre for the two roundings of that sum.
    """
    x, w = CodedRows.of(rows), CodedColumns.of(stored, kind)
    column_units, steps = w.units(), x.steps()
    lost = np.zeros((len(rows), len(stored)))
    sums = x.codes.sum(-1)
    largest = x.units() * steps / 2**15
    share = np.divide(x.scales, largest, out=np.zeros_like(largest), where=largest > 0)
    for block in range(x.scales.shape[1]):
        dots = np.abs(x.codes[:, block] @ w.codes[:, block].T)
        centres = np.abs(w.centres[:, block] / column_units / CENTRE_STEPS) + 0.5
        fixed_sums = np.abs(share[:, block] * steps[:, block] * sums[:, block]) / 2**10
        units = 1.5 * dots + 0.5 * fixed_sums[:, None] + (0 if kind == Kind.Q4_0 else centres)
        lost += units * x.units()[:, block, None] * column_units
    return lost
