"""Messages cut out of a stream, however it arrives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sglang.srt.frames import FrameReader, frame


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(1, 400)))
def test_messages_survive_any_cuts(messages: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(map(frame, messages))
    reader = FrameReader()
    found: list[bytes] = []
    for size in [*sizes, len(stream)]:
        found += reader.push(stream[:size])
        stream = stream[size:]
    assert found == messages


def test_a_message_comes_as_soon_as_it_is_complete() -> None:
    reader = FrameReader()
    data = frame(b"first") + frame(b"second")
    assert reader.push(data[:-1]) == [b"first"]
    assert reader.push(data[-1:]) == [b"second"]
    assert reader.push(frame(b"")) == [b""]
