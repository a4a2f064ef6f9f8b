"""From how a vocabulary writes a token to the bytes the token stands for.

Two spellings cover the models in use. *Byte-level* vocabularies (GPT-2 and its heirs) write each byte as one printable
character. *SentencePiece* vocabularies write text as it is, a space as ``▁`` and a lone byte as ``<0xAB>``.
"""

from __future__ import annotations

import re
from functools import lru_cache

METASPACE = "\u2581"
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@lru_cache(maxsize=1)
def byte_level_alphabet() -> dict[str, int]:
    """The character that byte-level vocabularies write for each byte, mapped to the byte.

    Printable Latin-1 characters stand for themselves; the other bytes, in order, are U+0100 and up.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def byte_level_bytes(piece: str) -> bytes:
    """A piece with a character outside the alphabet was not written byte-level: it stands for its literal text."""
    alphabet = byte_level_alphabet()
    try:
        return bytes([alphabet[character] for character in piece])
    except KeyError:
        return piece.encode()


def byte_of_piece(piece: str) -> bytes | None:
    """The byte that a piece spelled ``<0xAB>`` stands for; None for every other piece."""
    match = _BYTE_PIECE.fullmatch(piece)
    return bytes.fromhex(match[1]) if match else None
