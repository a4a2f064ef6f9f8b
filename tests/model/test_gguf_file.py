"""The header of a GGUF file, sound and damaged. The layout written here is the specification's, byte by byte."""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType, GGUFReader

from sglang.srt.errors import ModelLoadError
from sglang.srt.model.loader.gguf_file import read_gguf_header, read_gguf_metadata

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def key(name: str, value_type: int, value: bytes) -> bytes:
    return string(name) + struct.pack("<I", value_type) + value


def array(item_type: int, count: int, items: bytes) -> bytes:
    return struct.pack("<IQ", item_type, count) + items


def tensor(name: str, sizes: tuple[int, ...], kind: int, offset: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def gguf(keys: list[bytes], tensors: list[bytes], data: bytes = b"", version: int = 3) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys + tensors)
    return head + b"\0" * (-len(head) % 32) + data


SOUND = gguf(
    [
        key("general.architecture", STRING, string("llama")),
        key("a.u8", U8, struct.pack("<B", 200)),
        key("a.i8", I8, struct.pack("<b", -3)),
        key("a.u16", U16, struct.pack("<H", 60000)),
        key("a.i16", I16, struct.pack("<h", -300)),
        key("a.u32", U32, struct.pack("<I", 4_000_000_000)),
        key("a.i32", I32, struct.pack("<i", -5)),
        key("a.f32", F32, struct.pack("<f", 0.5)),
        key("a.bool", BOOL, b"\1"),
        key("a.u64", U64, struct.pack("<Q", 2**63)),
        key("a.i64", I64, struct.pack("<q", -(2**60))),
        key("a.f64", F64, struct.pack("<d", 0.1)),
        key("tokens", ARRAY, array(STRING, 3, string("a") + string("") + string("é"))),
        key("types", ARRAY, array(I32, 4, struct.pack("<4i", 1, 2, 3, -4))),
        key("empty", ARRAY, array(STRING, 0, b"")),
    ],
    [tensor("norm", (4,), GGMLQuantizationType.F32, 0), tensor("w", (32, 2), GGMLQuantizationType.Q8_0, 32)],
    struct.pack("<4f", 1, 2, 3, 4) + b"\0" * 16 + b"\7" * 68,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def test_every_type_of_value(file: Path) -> None:
    file.write_bytes(SOUND)
    assert read_gguf_metadata(file) == {
        "general.architecture": "llama",
        "a.u8": 200,
        "a.i8": -3,
        "a.u16": 60000,
        "a.i16": -300,
        "a.u32": 4_000_000_000,
        "a.i32": -5,
        "a.f32": 0.5,
        "a.bool": True,
        "a.u64": 2**63,
        "a.i64": -(2**60),
        "a.f64": 0.1,
        "tokens": ["a", "", "é"],
        "types": [1, 2, 3, -4],
        "empty": [],
    }


def test_tensors_have_torch_shapes_and_places_in_the_file(file: Path) -> None:
    file.write_bytes(SOUND)
    tensors = read_gguf_header(file).tensors
    assert tensors["w"].shape == (2, 32)
    assert tensors["w"].type == GGMLQuantizationType.Q8_0
    assert tensors["w"].num_bytes == 68
    assert SOUND[tensors["w"].offset :] == b"\7" * 68
    assert struct.unpack_from("<4f", SOUND, tensors["norm"].offset) == (1, 2, 3, 4)


def test_agrees_with_the_gguf_package_on_the_default_model(default_model_path: Path) -> None:
    header, reader = read_gguf_header(default_model_path), GGUFReader(default_model_path)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert header.metadata == fields
    ours = [(t.name, list(t.shape[::-1]), t.type, t.offset, t.num_bytes) for t in header.tensors.values()]
    assert ours == [(t.name, t.shape.tolist(), t.tensor_type, t.data_offset, t.n_bytes) for t in reader.tensors]


def test_every_truncation_is_refused(file: Path) -> None:
    for length in range(len(SOUND)):
        file.write_bytes(SOUND[:length])
        with pytest.raises(ModelLoadError, match=r"model\.gguf"):
            read_gguf_header(file)


def test_a_flipped_byte_is_read_or_refused_but_never_crashes(file: Path) -> None:
    draw = random.Random(0)
    for position in range(len(SOUND) - 68):
        damaged = bytearray(SOUND)
        damaged[position] ^= draw.randrange(1, 256)
        file.write_bytes(damaged)
        with contextlib.suppress(ModelLoadError):
            read_gguf_header(file)


HUGE = struct.pack("<Q", 2**62)
DAMAGED = {
    "empty": (b"", "cannot read"),
    "another format": (b"PK\3\4" + SOUND[4:], "starts with b'PK"),
    "version 1": (gguf([], [], version=1), "version is 1"),
    "big-endian": (b"GGUF" + struct.pack(">I", 3) + SOUND[8:], "little-endian"),
    "huge string": (gguf([string("k") + struct.pack("<I", STRING) + HUGE], []), "ends at byte"),
    "huge array": (gguf([key("k", ARRAY, struct.pack("<I", F64) + HUGE)], []), "ends at byte"),
    "huge array of strings": (gguf([key("k", ARRAY, struct.pack("<I", STRING) + HUGE)], []), "ends at byte"),
    "huge number of keys": (b"GGUF" + struct.pack("<I", 3) + HUGE + HUGE, "ends at byte"),
    "nested array": (gguf([key("k", ARRAY, array(ARRAY, 1, array(U8, 1, b"1")))], []), "array of arrays"),
    "unknown value type": (gguf([key("k", 99, b"")], []), "unknown value type 99"),
    "not UTF-8": (gguf([key("k", STRING, struct.pack("<Q", 1) + b"\xff")], []), "not UTF-8"),
    "key twice": (gguf([key("k", U8, b"1")] * 2, []), "'k' occurs twice"),
    "tensor twice": (gguf([], [tensor("t", (1,), 0, 0)] * 2, b"1234"), "'t' occurs twice"),
    "unknown tensor type": (gguf([], [tensor("t", (1,), 99, 0)], b"1234"), "unknown type 99"),
    "no dimensions": (gguf([], [tensor("t", (), 0, 0)], b"1234"), "0 dimensions"),
    "empty tensor": (gguf([], [tensor("t", (0,), 0, 0)], b"1234"), "shape"),
    "broken block": (gguf([], [tensor("t", (31, 2), GGMLQuantizationType.Q8_0, 0)], b"1" * 99), "blocks of 32 Q8_0"),
    "huge tensor": (gguf([], [tensor("t", (2**40, 2**40), 0, 0)], b"1234"), "cut short"),
    "offset past the end": (gguf([], [tensor("t", (1,), 0, 32)], b"1234"), "cut short"),
    "alignment": (gguf([key("general.alignment", U32, struct.pack("<I", 24))], []), "general.alignment is 24"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_named(file: Path, case: str) -> None:
    content, message = DAMAGED[case]
    file.write_bytes(content)
    with pytest.raises(ModelLoadError, match=message):
        read_gguf_header(file)


def test_the_default_vocabulary_is_read(default_model_path: Path) -> None:
    assert len(read_gguf_metadata(default_model_path)["tokenizer.ggml.tokens"]) == 49152
