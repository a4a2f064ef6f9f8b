"""A tokenizer from the metadata of a GGUF file. Ids equal llama.cpp's, which defines the format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import tokenizers
from tokenizers import AddedToken, normalizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

from sglang.srt.errors import ModelLoadError
from sglang.srt.tokenizer.chat_template import ChatTemplate
from sglang.srt.tokenizer.parts import TokenizerParts
from sglang.srt.tokenizer.pretokenizers import byte_level_pre_tokenizer, find_rule
from sglang.srt.tokenizer.token_bytes import METASPACE, byte_level_alphabet, byte_level_bytes, byte_of_piece


class TokenType(IntEnum):
    """The values of ``tokenizer.ggml.token_type``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


_SPECIAL = (TokenType.CONTROL, TokenType.UNKNOWN)

_TEMPLATE = "tokenizer.chat_template"
_TOOL_USE_TEMPLATE = "tokenizer.chat_template.tool_use"


def build_gguf_tokenizer(metadata: Mapping[str, Any], template_source: str | None = None) -> TokenizerParts:
    """``metadata`` maps GGUF keys to plain Python values. ``template_source`` replaces the model's own chat templates.

    Raises ModelLoadError for a kind of tokenizer, or a way to cut text into words, that is not supported.
    """
    if template_source is not None:
        metadata = {**metadata, _TEMPLATE: template_source, _TOOL_USE_TEMPLATE: None}
    kind = _require(metadata, "tokenizer.ggml.model")
    if kind == "gpt2":
        return _build_byte_level(metadata)
    if kind == "llama":
        return _build_sentencepiece(metadata)
    raise ModelLoadError(f"unsupported 'tokenizer.ggml.model' = {kind!r}; supported: gpt2, llama")


def _build_byte_level(metadata: Mapping[str, Any]) -> TokenizerParts:
    tokens: list[str] = _require(metadata, "tokenizer.ggml.tokens")
    types = _token_types(metadata, tokens)
    rule = find_rule(metadata.get("tokenizer.ggml.pre"))
    ids = _ids_by_token(tokens)
    merges = [_split_merge(merge) for merge in _require(metadata, "tokenizer.ggml.merges")]
    backend = tokenizers.Tokenizer(_bpe(ids, merges, ignore_merges=rule.whole_words))
    missing = "".join(character for character in byte_level_alphabet() if character not in ids)
    backend.pre_tokenizer = byte_level_pre_tokenizer(rule, missing)
    spelled = [
        byte_level_bytes(token) if kind is TokenType.NORMAL else _literal_bytes(token, kind)
        for token, kind in zip(tokens, types, strict=True)
    ]
    return _assemble(metadata, backend, spelled, types, add_bos=rule.add_bos)


def _build_sentencepiece(metadata: Mapping[str, Any]) -> TokenizerParts:
    tokens: list[str] = _require(metadata, "tokenizer.ggml.tokens")
    types = _token_types(metadata, tokens)
    defaults = {f"tokenizer.ggml.{name}_token_id": i for i, name in enumerate(("unknown", "bos", "eos"))}
    metadata = {**defaults, **metadata}
    unknown_id = metadata["tokenizer.ggml.unknown_token_id"]
    ids = _ids_by_token(tokens)
    merges = _merges_by_score(ids, _require(metadata, "tokenizer.ggml.scores"))
    backend = tokenizers.Tokenizer(_bpe(ids, merges, byte_fallback=True, fuse_unk=True, unk_token=tokens[unknown_id]))
    prefix = [normalizers.Prepend(METASPACE)] if metadata.get("tokenizer.ggml.add_space_prefix", True) else []
    backend.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", METASPACE)])
    spelled = [
        token.replace(METASPACE, " ").encode() if kind is TokenType.NORMAL else _literal_bytes(token, kind)
        for token, kind in zip(tokens, types, strict=True)
    ]
    return _assemble(metadata, backend, spelled, types, add_bos=True)


def _assemble(
    metadata: Mapping[str, Any],
    backend: tokenizers.Tokenizer,
    token_bytes: list[bytes],
    types: Sequence[TokenType],
    add_bos: bool,
) -> TokenizerParts:
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    written_out = (*_SPECIAL, TokenType.USER_DEFINED)
    backend.add_tokens(
        [
            AddedToken(token, normalized=False, special=kind in _SPECIAL)
            for token, kind in zip(tokens, types, strict=True)
            if kind in written_out
        ]
    )
    bos_id, eos_id = (_token_id(metadata, f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos"))
    _surround_with(backend, _affix(metadata, "bos", bos_id, add_bos), _affix(metadata, "eos", eos_id, False))
    return TokenizerParts(
        backend=backend,
        token_bytes=token_bytes,
        special_ids=[token_id for token_id, kind in enumerate(types) if kind in _SPECIAL],
        bos_token_id=bos_id,
        chat_template=_chat_template(metadata, bos_id, eos_id),
    )


def _chat_template(metadata: Mapping[str, Any], bos_id: int | None, eos_id: int | None) -> ChatTemplate | None:
    source = metadata.get(_TEMPLATE)
    if source is None:
        return None
    bos_token, eos_token = (
        None if token_id is None else metadata["tokenizer.ggml.tokens"][token_id] for token_id in (bos_id, eos_id)
    )
    return ChatTemplate(source, bos_token, eos_token, metadata.get(_TOOL_USE_TEMPLATE))


def _require(metadata: Mapping[str, Any], key: str) -> Any:
    if key not in metadata:
        raise ModelLoadError(f"the GGUF file has no tokenizer: {key!r} is missing")
    return metadata[key]


def _token_types(metadata: Mapping[str, Any], tokens: Sequence[str]) -> list[TokenType]:
    """Files without types have only normal tokens."""
    values = metadata.get("tokenizer.ggml.token_type", [TokenType.NORMAL] * len(tokens))
    if len(values) != len(tokens):
        raise ModelLoadError(f"the GGUF file has {len(tokens)} tokens but {len(values)} token types")
    by_value = {kind.value: kind for kind in TokenType}
    if unknown := set(values) - by_value.keys():
        raise ModelLoadError(f"the GGUF file has tokens of an unknown type: {min(unknown)}")
    return [by_value[value] for value in values]


def _token_id(metadata: Mapping[str, Any], key: str) -> int | None:
    token_id: int | None = metadata.get(key)
    size = len(metadata["tokenizer.ggml.tokens"])
    if token_id is not None and not 0 <= token_id < size:
        raise ModelLoadError(f"{key!r} = {token_id} is outside the GGUF file's vocabulary of {size} tokens")
    return token_id


def _surround_with(backend: tokenizers.Tokenizer, first_id: int | None, last_id: int | None) -> None:
    """Makes ``backend`` put these tokens, and no others, around a text encoded with special tokens."""
    affixes = {name: token for name, token in (("first", first_id), ("last", last_id)) if token is not None}
    backend.post_processor = TemplateProcessing(
        single=[name for name in ("first", "$A", "last") if name == "$A" or name in affixes],
        special_tokens=[
            {"id": name, "ids": [token], "tokens": [backend.id_to_token(token)]} for name, token in affixes.items()
        ],
    )


def _affix(metadata: Mapping[str, Any], name: str, token_id: int | None, default: bool) -> int | None:
    """The token to put around every text; None where the file wants none."""
    if not metadata.get(f"tokenizer.ggml.add_{name}_token", default):
        return None
    if token_id is None:
        raise ModelLoadError(f"the GGUF file says to add a token but has no 'tokenizer.ggml.{name}_token_id'")
    return token_id


def _ids_by_token(tokens: Sequence[str]) -> dict[str, int]:
    """Of tokens with the same spelling the last one counts."""
    return {token: token_id for token_id, token in enumerate(tokens) if token}


def _literal_bytes(token: str, kind: TokenType) -> bytes:
    """For tokens that are no ordinary text; an unused one stands for nothing."""
    if kind is TokenType.UNUSED:
        return b""
    byte = byte_of_piece(token) if kind is TokenType.BYTE else None
    return token.encode() if byte is None else byte


def _split_merge(merge: str) -> tuple[str, str]:
    """``merge`` is two pieces around a space; the first may itself begin with one."""
    space = merge.find(" ", 1)
    if space < 0:
        raise ModelLoadError(f"the GGUF file has the merge {merge!r}, which is not two pieces around a space")
    return merge[:space], merge[space + 1 :]


def _merges_by_score(ids: Mapping[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """Merge rules equal to SentencePiece's "join the neighbours whose joint piece scores best".

    Every way to write a piece as two pieces becomes a rule, in the order of the scores of the joint pieces.
    """
    merges: list[tuple[str, str]] = []
    for piece in sorted(ids, key=lambda piece: -scores[ids[piece]]):
        halves = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        merges.extend((left, right) for left, right in halves if left in ids and right in ids)
    return merges


def _bpe(ids: dict[str, int], merges: list[tuple[str, str]], **options: Any) -> BPE:
    try:
        return BPE(vocab=ids, merges=merges, **options)
    except Exception as error:  # the library raises nothing narrower
        raise ModelLoadError(f"the GGUF file's merges do not fit its tokens: {error}") from error
