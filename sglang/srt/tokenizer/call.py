"""One prompt to continue, as a door hands it in: parsed, not yet tokenized, and known to be of the right types."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar.frame import BARE, Frame
from sglang.srt.tokenizer.seams import Segment, Segments

MAX_NAME_LENGTH = 512
"""Of a rid, which every output carries, and of what names a namespace."""


Prompt = str | Sequence[int] | Segments


@dataclass(frozen=True, kw_only=True)
class GenerateCall:
    """``prompt`` is text, token ids, or pieces of both. ``namespace`` isolates the prefix cache.

    ``logprob_start_len`` is the first prompt position whose log-probability is wanted; -1 for none. ``frame`` is what
    may stand around an answer that is bound by a constraint.
    """

    prompt: Prompt
    sampling_params: Mapping[str, Any] = field(default_factory=dict)
    rid: str = field(default_factory=lambda: uuid.uuid4().hex)
    return_logprob: bool = False
    logprob_start_len: int = -1
    top_logprobs_num: int = 0
    return_text_in_logprobs: bool = False
    namespace: str = ""
    frame: Frame = BARE


def namespace(cache_salt: str, extra_key: str) -> str:
    """The ``namespace`` of calls that give these; different pairs have different ones."""
    return f"{len(cache_salt)}:{cache_salt}{extra_key}" if cache_salt or extra_key else ""


class NativeInput:
    """The arguments of the native API (``/generate`` and ``Engine.generate``), where one prompt or a list is given and
    most other arguments may be one value for all prompts or a list of one per prompt. None means "not given".

    Raises InvalidRequestError naming the argument, its value and what is accepted.
    """

    def __init__(
        self,
        text: object = None,
        input_ids: object = None,
        sampling_params: object = None,
        rid: object = None,
        return_logprob: object = None,
        logprob_start_len: object = None,
        top_logprobs_num: object = None,
        return_text_in_logprobs: object = None,
        cache_salt: object = None,
        extra_key: object = None,
        segments: object = None,
    ) -> None:
        prompts, self.is_batch = _prompts(text, input_ids, segments)
        self._count = len(prompts)
        columns: dict[str, list[Any]] = {
            "sampling_params": self._per_prompt("sampling_params", _default(sampling_params, {}), Mapping),
            "return_logprob": self._per_prompt("return_logprob", _default(return_logprob, False), bool),
            "logprob_start_len": self._per_prompt("logprob_start_len", _default(logprob_start_len, -1), int),
            "top_logprobs_num": self._per_prompt("top_logprobs_num", _default(top_logprobs_num, 0), int),
            "return_text_in_logprobs": self._per_prompt(
                "return_text_in_logprobs", _default(return_text_in_logprobs, False), bool
            ),
            "namespace": self._namespaces(cache_salt, extra_key),
            "rid": self._rids(rid),
        }
        self.calls = [
            GenerateCall(prompt=prompt, **{name: values[index] for name, values in columns.items()})
            for index, prompt in enumerate(prompts)
        ]

    def _per_prompt(self, name: str, value: object, kind: type) -> list[Any]:
        values = list(value) if isinstance(value, (list, tuple)) else [value] * self._count
        if len(values) != self._count:
            raise InvalidRequestError(f"{name} is a list of {len(values)}, but there are {self._count} prompts")
        for item in values:
            if not isinstance(item, kind) or (kind is int and isinstance(item, bool)):
                raise InvalidRequestError(f"{name} must be {_KIND_NAMES[kind]}, not {shown(item)}")
        return [_checked_text(name, item) for item in values] if kind is str else values

    def _namespaces(self, cache_salt: object, extra_key: object) -> list[str]:
        salts = self._per_prompt("cache_salt", _default(cache_salt, ""), str)
        keys = self._per_prompt("extra_key", _default(extra_key, ""), str)
        return [namespace(salt, key) for salt, key in zip(salts, keys, strict=True)]

    def _rids(self, rid: object) -> list[str]:
        if rid is None:
            return [uuid.uuid4().hex for _ in range(self._count)]
        if isinstance(rid, str) and self.is_batch:
            return [f"{_checked_text('rid', rid)}_{index}" for index in range(self._count)]
        return self._per_prompt("rid", rid, str)


_KIND_NAMES = {bool: "true or false", int: "an integer", str: "a string", Mapping: "an object of names and values"}


def _checked_text(name: str, text: Any) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{name} must be valid Unicode text, not {shown(text)}") from error
    if len(text) > MAX_NAME_LENGTH:
        raise InvalidRequestError(f"{name} may have up to {MAX_NAME_LENGTH} characters, not {len(text)}")
    return str(text)


def _default(value: object, default: object) -> object:
    return default if value is None else value


def _prompts(text: object, input_ids: object, segments: object) -> tuple[Sequence[Prompt], bool]:
    """The prompts, and whether they were given as a list."""
    given = [
        name for name, value in (("text", text), ("input_ids", input_ids), ("segments", segments)) if value is not None
    ]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise InvalidRequestError(f"give a prompt either as text, as input_ids or as segments; given: {found}")
    if text is not None:
        return _texts(text), not isinstance(text, str)
    if segments is not None:
        return _segmented(segments)
    return _id_lists(input_ids)


def _texts(text: object) -> list[str]:
    texts = [text] if isinstance(text, str) else text
    if not isinstance(texts, (list, tuple)) or not texts or not all(isinstance(item, str) for item in texts):
        raise InvalidRequestError(f"text must be a string or a non-empty list of strings, not {shown(text)}")
    return list(texts)


def _id_lists(input_ids: object) -> tuple[list[list[int]], bool]:
    if not isinstance(input_ids, (list, tuple)) or not input_ids:
        raise InvalidRequestError(f"input_ids must be a non-empty list of token ids, not {shown(input_ids)}")
    is_batch = isinstance(input_ids[0], (list, tuple))
    rows = input_ids if is_batch else [input_ids]
    for row in rows:
        if not _is_id_list(row):
            raise InvalidRequestError(
                f"input_ids must be a list of token ids, or a list of such lists; got {shown(row)}"
            )
    return [list(row) for row in rows], is_batch


def _segmented(segments: object) -> tuple[list[Segments], bool]:
    """One prompt is a list of strings and lists of ids; several are a list of such lists."""
    if not isinstance(segments, (list, tuple)) or not segments:
        raise InvalidRequestError(
            f"segments must be a non-empty list of strings and lists of ids, not {shown(segments)}"
        )
    is_batch = not all(_is_segment(piece) for piece in segments)
    rows = segments if is_batch else [segments]
    for row in rows:
        if not isinstance(row, (list, tuple)) or not all(map(_is_segment, row)):
            raise InvalidRequestError(
                f"segments must be a list of strings and lists of token ids, or a list of such lists; got {shown(row)}"
            )
    return [Segments(tuple(map(_segment, row))) for row in rows], is_batch


def _is_segment(value: object) -> bool:
    return isinstance(value, str) or _is_id_list(value)


def _segment(value: Any) -> Segment:
    return value if isinstance(value, str) else tuple(value)


def _is_id_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(type(token) is int for token in value)
