"""Random numbers without a state: a draw is a function of which draw it is.

The generator is Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3"
(SC 2011). It enciphers a 128-bit counter under a 64-bit key: the seed is the key, and position and sample index
are the two halves of the counter, so no two draws of one seed share a counter and no draw depends on another.
"""

from __future__ import annotations

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_MASK32 = 0xFFFFFFFF


def uniform(seed: int, position: int, sample_index: int) -> float:
    """One of the 2**53 equally spaced numbers in [0, 1). Each argument counts modulo 2**64."""
    first, second, _, _ = philox4x32((*_words(position), *_words(sample_index)), _words(seed))
    return ((first << 32 | second) >> 11) * 2.0**-53


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """The ten-round cipher on 32-bit words, least significant word first."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0 = _MULTIPLIERS[0] * c0
        product1 = _MULTIPLIERS[1] * c2
        c0, c1 = (product1 >> 32) ^ c1 ^ k0, product1 & _MASK32
        c2, c3 = (product0 >> 32) ^ c3 ^ k1, product0 & _MASK32
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK32, (k1 + _KEY_STEPS[1]) & _MASK32
    return c0, c1, c2, c3


def _words(value: int) -> tuple[int, int]:
    return value & _MASK32, (value >> 32) & _MASK32
