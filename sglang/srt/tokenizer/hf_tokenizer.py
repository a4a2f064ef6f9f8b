"""A tokenizer from a Hugging Face model folder: tokenizer.json and the small files beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import tokenizers

from sglang.srt.errors import ModelLoadError
from sglang.srt.tokenizer.chat_template import ChatTemplate
from sglang.srt.tokenizer.parts import TokenizerParts
from sglang.srt.tokenizer.token_bytes import byte_level_bytes, byte_of_piece

# One step of turning a token's spelling into bytes. A step that knows the bytes returns them, and ends the walk.
_Step = Callable[[str], "str | bytes"]


def build_hf_tokenizer(folder: Path, template_source: str | None = None) -> TokenizerParts:
    """Which tokens go around a text is up to tokenizer.json alone; ``add_bos_token`` beside it is a leftover.
    ``template_source`` replaces the model's own chat templates.

    Raises ModelLoadError where tokenizer.json is missing, unreadable, or spells tokens in an unsupported way.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelLoadError(f"{folder} has no tokenizer.json; save the model's fast tokenizer there with transformers")
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ModelLoadError(f"cannot read {path}: {error}") from error
    backend.no_padding()
    backend.no_truncation()
    config = {**_read_json(folder / "special_tokens_map.json"), **_read_json(folder / "tokenizer_config.json")}
    sources = _template_sources(folder, config) if template_source is None else {"default": template_source}
    bos_token, eos_token = (_token_text(config.get(name)) for name in ("bos_token", "eos_token"))
    return TokenizerParts(
        backend=backend,
        token_bytes=_token_bytes(backend),
        special_ids=[token_id for token_id, token in backend.get_added_tokens_decoder().items() if token.special],
        bos_token_id=None if bos_token is None else backend.token_to_id(bos_token),
        chat_template=_chat_template(sources, bos_token, eos_token),
    )


def _token_bytes(backend: tokenizers.Tokenizer) -> list[bytes]:
    """Ids that no token has stand for nothing."""
    steps = list(_decoding_steps(backend))
    spellings: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    result = [b""] * (1 + max(spellings.values(), default=-1))
    for spelling, token_id in spellings.items():
        result[token_id] = _walk(steps, spelling)
    literal = _added_tokens_are_literal(steps)
    for token_id, token in backend.get_added_tokens_decoder().items():
        if token.special or literal:
            result[token_id] = token.content.encode()
    return result


def _walk(steps: Iterable[_Step], spelling: str) -> bytes:
    value: str | bytes = spelling
    for step in steps:
        if isinstance(value, bytes):
            break
        value = step(value)
    return value if isinstance(value, bytes) else value.encode()


def _added_tokens_are_literal(steps: Iterable[_Step]) -> bool:
    """Byte-level spelling is for the model's own pieces; other spellings are shared by tokens added to them."""
    return byte_level_bytes in steps


def _decoding_steps(backend: tokenizers.Tokenizer) -> Iterator[_Step]:
    if backend.decoder is None:
        raise ModelLoadError("tokenizer.json has no decoder: it does not say which bytes a token stands for")
    state = json.loads(backend.decoder.__getstate__())
    for decoder in state["decoders"] if state["type"] == "Sequence" else [state]:
        step = _decoding_step(decoder)
        if step is not None:
            yield step


def _decoding_step(decoder: Mapping[str, Any]) -> _Step | None:
    """None for a decoder that only concerns the text as a whole, such as stripping its first space."""
    match decoder:
        case {"type": "ByteLevel"}:
            return byte_level_bytes
        case {"type": "ByteFallback"}:
            return _byte_fallback
        case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)}:
            return partial(_replace, old=old, new=new)
        case {"type": "Metaspace", "replacement": str(old)}:
            return partial(_replace, old=old, new=" ")
        case {"type": "WordPiece", "prefix": str(prefix)}:
            return partial(_join_word_piece, prefix=prefix)
        case {"type": "Fuse" | "Strip"}:
            return None
    raise ModelLoadError(f"unsupported decoder in tokenizer.json: {json.dumps(decoder)}")


def _byte_fallback(spelling: str) -> str | bytes:
    byte = byte_of_piece(spelling)
    return spelling if byte is None else byte


def _replace(spelling: str, old: str, new: str) -> str:
    return spelling.replace(old, new)


def _join_word_piece(spelling: str, prefix: str) -> str:
    return spelling[len(prefix) :] if spelling.startswith(prefix) else " " + spelling


def _chat_template(sources: Mapping[str, str], bos_token: str | None, eos_token: str | None) -> ChatTemplate | None:
    if not sources:
        return None
    return ChatTemplate(sources["default"], bos_token, eos_token, sources.get("tool_use"))


def _template_sources(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Templates by name, from the first of the places where one is kept."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return {"default": path.read_text(encoding="utf-8")}
    found = _read_json(folder / "chat_template.json").get("chat_template", config.get("chat_template"))
    if found is None:
        return {}
    if isinstance(found, str):
        return {"default": found}
    sources = {entry["name"]: entry["template"] for entry in found}
    if "default" not in sources:
        raise ModelLoadError(f"{folder} has the chat templates {sorted(sources)} but none named 'default'")
    return sources


def _token_text(value: str | Mapping[str, Any] | None) -> str | None:
    """Configurations write a token as its text or as an object with its ``content``."""
    return value["content"] if isinstance(value, Mapping) else value


def _read_json(path: Path) -> dict[str, Any]:
    """Empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelLoadError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise ModelLoadError(f"cannot read {path}: expected an object, found {type(content).__name__}")
    return content
