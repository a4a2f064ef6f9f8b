"""Images, sounds and videos in a prompt: read where a program names them, in its own thread."""

from __future__ import annotations

import base64
import binascii
import io
import mimetypes
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote_to_bytes, urlsplit

from sglang.srt.errors import shown

MediaKind = Literal["image", "audio", "video"]

ALL_MEDIA: frozenset[MediaKind] = frozenset(("image", "audio", "video"))

URL_SCHEMES = ("http", "https", "gs")
"""Of places that the backend reads from, not this process."""

_SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"BM....\0\0\0\0", re.DOTALL), "image/bmp"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), "audio/wav"),
    (re.compile(rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]"), "audio/mpeg"),
    (re.compile(rb"OggS"), "audio/ogg"),
    (re.compile(rb"fLaC"), "audio/flac"),
    (re.compile(rb"....ftypM4A", re.DOTALL), "audio/mp4"),
    (re.compile(rb"....ftyp", re.DOTALL), "video/mp4"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "video/webm"),
)
"""How files of a type begin; the first that matches counts."""

_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>[^,]*),(?P<data>.*)", re.DOTALL)
_PCM_NAMES = {"audio/x-wav": "audio/wav", "audio/wave": "audio/wav", "audio/mp3": "audio/mpeg"}
_OPENAI_AUDIO = {"audio/wav": "wav", "audio/mpeg": "mp3"}


@dataclass(frozen=True, slots=True, repr=False)
class Media:
    """data: what it holds, or None where the backend is to read it from `url`. mime_type: None if nothing tells."""

    kind: MediaKind
    mime_type: str | None
    data: bytes | None = None
    url: str | None = None

    @property
    def placeholder(self) -> str:
        """What stands for it in the text of a state."""
        return f"<{self.kind}>"

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data or b"").decode()

    @property
    def uri(self) -> str:
        """Where it is; of what it holds a data URL."""
        return self.url or f"data:{self.mime_type};base64,{self.base64}"

    def __repr__(self) -> str:
        what = shown(self.url) if self.data is None else f"{self.mime_type}, {len(self.data):,} bytes"
        return f"{self.kind.capitalize()}({what})"


Content = str | tuple[str | Media, ...]
"""Of a message: a text, or texts and media in the order in which the program has them."""


def media(kind: MediaKind, given: Any) -> Media:
    """The path of a file, its bytes, a URL (http, https, gs, data), or for an image an object that PIL has.

    Raises OSError for a file that cannot be read, ValueError for what is no such media, TypeError for another value.
    """
    if isinstance(given, str) and urlsplit(given[:8]).scheme in URL_SCHEMES:
        return Media(kind, _guessed_type(urlsplit(given).path), url=given)
    data, declared = _data(kind, given)
    mime_type = _signed_type(data) or declared
    if mime_type is None or not mime_type.startswith(f"{kind}/"):
        is_what = f"is {mime_type}" if mime_type else f"begins with {data[:12]!r}"
        raise ValueError(f"{kind} must be the content of {_ARTICLES[kind]} file, but what {_place(given)} {is_what}")
    return Media(kind, mime_type, data)


def text_of(content: Content) -> str:
    """As it stands in the text of a state."""
    if isinstance(content, str):
        return content
    return "".join(part if isinstance(part, str) else part.placeholder for part in content)


def openai_content(content: Content) -> str | list[dict[str, Any]]:
    """As the OpenAI API has it; for videos, and for sounds by URL, as servers of open models do."""
    if isinstance(content, str):
        return content
    return [{"type": "text", "text": part} if isinstance(part, str) else _openai_part(part) for part in content]


def _openai_part(media: Media) -> dict[str, Any]:
    audio_format = _OPENAI_AUDIO.get(media.mime_type or "")
    if media.data is not None and audio_format is not None:
        return {"type": "input_audio", "input_audio": {"data": media.base64, "format": audio_format}}
    return {"type": f"{media.kind}_url", f"{media.kind}_url": {"url": media.uri}}


_ARTICLES: dict[MediaKind, str] = {"image": "an image", "audio": "an audio", "video": "a video"}


def _data(kind: MediaKind, given: Any) -> tuple[bytes, str | None]:
    """What is given, and its type as far as its name says it."""
    match given:
        case str() if given.startswith("data:"):
            return _from_data_url(given)
        case str() | os.PathLike():
            path = Path(given)
            return path.read_bytes(), _guessed_type(path.name)
        case bytes() | bytearray() | memoryview():
            return bytes(given), None
    if kind == "image" and callable(getattr(given, "save", None)):  # as PIL's images have it
        buffer = io.BytesIO()
        given.save(buffer, format="PNG")
        return buffer.getvalue(), None
    more = ", or an image of PIL" if kind == "image" else ""
    raise TypeError(f"{kind} must be the path of a file, its bytes, or a URL{more}, not {shown(given)}")


def _from_data_url(url: str) -> tuple[bytes, str | None]:
    match = _DATA_URL.fullmatch(url)
    if match is None:
        raise ValueError(f"a data URL is data:TYPE;base64,DATA, not {shown(url)}")
    if "base64" not in match["parameters"].split(";"):
        return unquote_to_bytes(match["data"]), match["type"]
    try:
        return base64.b64decode(match["data"], validate=True), match["type"]
    except binascii.Error as error:
        raise ValueError(f"the data URL {shown(url)} is not base64: {error}") from None


def _signed_type(data: bytes) -> str | None:
    return next((mime_type for pattern, mime_type in _SIGNATURES if pattern.match(data)), None)


def _guessed_type(name: str) -> str | None:
    guessed = mimetypes.guess_type(name)[0]
    return _PCM_NAMES.get(guessed or "", guessed)


def _place(given: Any) -> str:
    return f"{shown(given)} holds" if isinstance(given, (str, os.PathLike)) else "is given"
