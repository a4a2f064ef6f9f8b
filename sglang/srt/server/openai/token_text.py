"""How a token is written where a client reads tokens."""

from __future__ import annotations

from sglang.srt.vocab import Vocab


def token_bytes(vocab: Vocab, token_id: int) -> bytes:
    return vocab.visible_bytes(token_id, skip_special_tokens=False)


def token_text(vocab: Vocab, token_id: int) -> str:
    """Its text; of one that holds a part of a character, its bytes as in ``bytes:\\\\xe2\\\\x82``, as OpenAI has it."""
    data = token_bytes(vocab, token_id)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
