"""Text to token ids and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import tokenizers

from sglang.srt.errors import InvalidRequestError, ModelLoadError
from sglang.srt.model.loader.gguf_file import read_gguf_metadata
from sglang.srt.tokenizer.chat_template import ChatTemplate
from sglang.srt.tokenizer.gguf_tokenizer import build_gguf_tokenizer
from sglang.srt.tokenizer.hf_tokenizer import build_hf_tokenizer
from sglang.srt.tokenizer.parts import TokenizerParts
from sglang.srt.tokenizer.role_text import RoleText, role_text
from sglang.srt.tokenizer.seams import Segments, continuation_backend
from sglang.srt.vocab import Vocab


class Tokenizer:
    """A model's tokenizer. Immutable; safe to use from several threads.

    ``vocab`` is the one truth about what a token means: ``decode`` is the concatenation of its bytes. So a leading
    space that a SentencePiece model puts before a text is part of the decoded text, as it is of a generated one.
    """

    def __init__(self, parts: TokenizerParts, eos_ids: Sequence[int]) -> None:
        self._backend = parts.backend
        self.vocab = Vocab(
            token_bytes=parts.token_bytes,
            special_ids=sorted(parts.special_ids),
            eos_ids=sorted(set(eos_ids)),
            tokenizer_json=self._continuation_backend.to_str(),
        )
        self.bos_token_id: int | None = parts.bos_token_id
        self.chat_template: ChatTemplate | None = parts.chat_template
        self._role_text = lru_cache(maxsize=1024)(lambda roles: role_text(self.chat_template, roles))

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of ``text``. Special tokens written out in it become their ids.

        ``add_special_tokens`` puts around it what the model wants there, such as a beginning-of-text token; leave it
        out for text that a chat template rendered, which has those already.
        """
        return self.encode_batch([text], add_special_tokens)[0]

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[list[int]]:
        for text in texts:
            _check_encodable(text)
        encodings = self._backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        return [encoding.ids for encoding in encodings]

    def encode_prompts(self, prompts: Sequence[str | Sequence[int] | Segments]) -> list[list[int]]:
        """The ids of whole prompts: texts, ids, which stay as they are, or a mixture.

        Like `encode`; but a text that begins with the model's beginning-of-text token is not given another one.
        """
        texts = (text for prompt in prompts for text in _first_text(prompt))
        encoded = iter(self.encode_batch(list(texts)))
        return [self._encode_prompt(prompt, encoded) for prompt in prompts]

    def _encode_prompt(self, prompt: str | Sequence[int] | Segments, first_texts: Iterator[list[int]]) -> list[int]:
        if isinstance(prompt, str):
            return self._with_one_bos(next(first_texts))
        if not isinstance(prompt, Segments):
            return list(prompt)
        ids: list[int] = []
        for index, piece in enumerate(prompt.merged()):
            if not isinstance(piece, str):
                ids += piece
            elif index == 0:
                ids += self._with_one_bos(next(first_texts))
            else:
                ids += self.encode_continuations([piece])[0]
        return ids

    def encode_continuations(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts that go on with other text."""
        for text in texts:
            _check_encodable(text)
        encodings = self._continuation_backend.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def num_text_tokens(self, prompt: str | Sequence[int] | Segments, ids: Sequence[int]) -> int:
        """How many at the end of `ids`, which are those of `prompt`, were made from text and are no special tokens."""
        last = prompt
        if isinstance(prompt, Segments):
            pieces = list(prompt.merged())
            last = pieces[-1] if pieces else ()
            if isinstance(last, str) and len(pieces) > 1:
                ids = self.encode_continuations([last])[0]
        if not isinstance(last, str):
            return 0
        return next((number for number, token in enumerate(reversed(ids)) if token in self.vocab.special), len(ids))

    @cached_property
    def _continuation_backend(self) -> tokenizers.Tokenizer:
        return continuation_backend(self._backend)

    def _with_one_bos(self, ids: list[int]) -> list[int]:
        return ids[1:] if len(ids) > 1 and ids[0] == ids[1] == self.bos_token_id else ids

    def role_text(self, roles: Sequence[str]) -> RoleText:
        """What the chat template puts around the last message of a conversation with these roles.

        Raises InvalidRequestError if it refuses them in this order.
        """
        return self._role_text(tuple(roles))

    def apply_chat_template(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The ids of the prompt that asks for the next answer after `messages` (each with ``role`` and ``content``).

        Raises InvalidRequestError if the model has no chat template, or its template refuses them.
        """
        if self.chat_template is None:
            raise InvalidRequestError("this model has no chat template; give the whole prompt as text")
        return self.encode(self.chat_template.render(messages), add_special_tokens=False)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """The text of ``ids``; bytes that are no UTF-8 become U+FFFD, and ids past the vocabulary add nothing."""
        data = b"".join(self.vocab.visible_bytes(token, skip_special_tokens) for token in ids)
        return data.decode("utf-8", errors="replace")


def load_tokenizer(model_path: Path, eos_ids: Sequence[int], template_source: str | None = None) -> Tokenizer:
    """The tokenizer of the model at ``model_path``: a .gguf file, or a folder with a tokenizer.json.

    ``eos_ids`` are the ids that end a generation, from the model's configuration; ``template_source`` is a chat
    template to use instead of the model's own.
    Raises ModelLoadError where there is no tokenizer, or one that is not supported.
    """
    if model_path.is_dir():
        return Tokenizer(build_hf_tokenizer(model_path, template_source), eos_ids)
    if model_path.suffix == ".gguf":
        return Tokenizer(build_gguf_tokenizer(read_gguf_metadata(model_path), template_source), eos_ids)
    raise ModelLoadError(f"no tokenizer at {model_path}: expected a .gguf file or a folder with a tokenizer.json")


def _first_text(prompt: str | Sequence[int] | Segments) -> Iterator[str]:
    """The text at the beginning of `prompt`, if it begins with one."""
    first = next(prompt.merged(), None) if isinstance(prompt, Segments) else prompt
    if isinstance(first, str):
        yield first


def _check_encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"{text[error.start]!a} at position {error.start}"
        raise InvalidRequestError(f"text must be valid Unicode, found the lone surrogate {found}") from error
