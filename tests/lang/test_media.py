"""Images, sounds and videos in programs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import sglang as sgl
from sglang.lang import ir
from tests.lang.conftest import UseMock

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
PNG_URL = "data:image/png;base64,iVBORw0KGgoAAAAAAAAAAA=="
WAV = b"RIFF\x04\0\0\0WAVEfmt "
MP4 = b"\0\0\0\x18ftypisom"


class Picture:
    """As PIL's images are written."""

    def save(self, file: io.BytesIO, format: str) -> None:
        assert format == "PNG"
        file.write(PNG)


def part(node: ir.MediaInput) -> Any:
    """As the OpenAI API has it."""

    @sgl.function
    def shows(s: sgl.ProgramState) -> None:
        s += sgl.user(node)

    ((found,),) = [message["content"] for message in shows.run(backend=sgl.Mock()).messages()]
    return found


@pytest.mark.parametrize("form", ["path", "pathlib", "bytes", "bytearray", "data", "pil"])
def test_an_image_however_it_is_given(form: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(PNG)
    forms = {
        "path": str(path), "pathlib": path, "bytes": PNG, "bytearray": bytearray(PNG), "data": PNG_URL, "pil": Picture()
    }  # fmt: skip
    assert part(sgl.image(forms[form])) == {"type": "image_url", "image_url": {"url": PNG_URL}}


def test_a_url_is_the_backend_s_to_read() -> None:
    for url in ("https://host/a.png?size=3", "http://host/a", "gs://bucket/a.jpg"):
        assert part(sgl.image(url)) == {"type": "image_url", "image_url": {"url": url}}


def test_sounds_and_videos() -> None:
    sound = {"data": "UklGRgQAAABXQVZFZm10IA==", "format": "wav"}
    assert part(sgl.audio(WAV)) == {"type": "input_audio", "input_audio": sound}
    assert part(sgl.audio("https://host/a.mp3")) == {"type": "audio_url", "audio_url": {"url": "https://host/a.mp3"}}
    video = {"url": "data:video/mp4;base64,AAAAGGZ0eXBpc29t"}
    assert part(sgl.video(MP4)) == {"type": "video_url", "video_url": video}


def test_a_file_without_a_signature_is_what_its_name_says(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_bytes(b"<svg/>")
    assert part(sgl.image(path))["image_url"]["url"] == "data:image/svg+xml;base64,PHN2Zy8+"


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("no-such-file.png", FileNotFoundError, "no-such-file.png"),
        (WAV, ValueError, "image must be the content of an image file, but what is given is audio/wav"),
        (b"hello", ValueError, "but what is given begins with b'hello'"),
        ("data:image/png;base64,!", ValueError, "is not base64"),
        ("data:nonsense", ValueError, "a data URL is data:TYPE;base64,DATA, not 'data:nonsense'"),
        (5, TypeError, "image must be the path of a file, its bytes, or a URL, or an image of PIL, not 5"),
        (None, TypeError, "not None"),
    ],
)
def test_what_is_no_image(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message.replace("(", r"\(")):
        sgl.image(given)


def test_what_no_api_takes_is_refused() -> None:
    with pytest.raises(sgl.UnsupportedError, match="num_frames is not supported"):
        sgl.video(MP4, 8)


def test_a_message_has_its_parts_in_order(mock: sgl.Mock) -> None:
    @sgl.function
    def compare(s: sgl.ProgramState) -> None:
        s += sgl.user(" First " + sgl.image(PNG) + sgl.image("https://host/b.png") + ", then " + sgl.audio(WAV) + "?")
        s += sgl.assistant(sgl.gen("x"))

    state = compare.run()
    parts = state.messages()[0]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "image_url", "text", "input_audio", "text"]
    assert [part["text"] for part in parts if part["type"] == "text"] == ["First ", ", then ", "?"]
    assert " First <image><image>, then <audio>?" in state.text()
    assert [node.title for node in state.trace().walk() if node.kind == "media"] == ["image", "image", "audio"]


def test_media_in_forks(mock: sgl.Mock) -> None:
    @sgl.function
    def describe(s: sgl.ProgramState) -> None:
        s += "Look. "
        forks = s.fork(2)
        forks += lambda index: sgl.user(f"{index}: " + sgl.image(f"https://host/{index}.png"))
        forks.join("concate_and_append")
        s += sgl.user("And?")

    contents = [message["content"] for message in describe.run().messages()]
    for index in (0, 1):
        image = {"type": "image_url", "image_url": {"url": f"https://host/{index}.png"}}
        assert contents[index] == [{"type": "text", "text": f"{index}: "}, image]
    assert contents[2] == "And?"


@pytest.mark.parametrize("make", [sgl.image, sgl.audio, sgl.video])
def test_backends_refuse_by_name(make: Any, use_mock: UseMock) -> None:
    mock = use_mock()
    mock.media_kinds = frozenset()
    node = make({sgl.image: PNG, sgl.audio: WAV, sgl.video: MP4}[make])

    @sgl.function
    def looks(s: sgl.ProgramState) -> None:
        s += sgl.user(node + "What is this?")

    error = looks.run().error()
    assert error is not None and isinstance(error.cause, sgl.UnsupportedError)
    assert f"Mock does not support {make.__name__}" in str(error)


def test_nodes_say_what_they_are() -> None:
    assert repr(sgl.image(PNG)) == "Image(image/png, 16 bytes)"
    assert repr(sgl.video("https://host/a.mp4")) == "Video('https://host/a.mp4')"
