"""The reader of growing JSON, against Python's."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from sglang.srt.formats.growing_text import GrowingText
from sglang.srt.formats.json_text import MalformedError, read_value
from tests.formats.pieces import cuts

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def num_read(pieces: list[str]) -> int | None:
    """How long the value is that the text begins with, if it does."""
    source = GrowingText()
    reading = read_value(source)
    for piece in pieces:
        source.text += piece
        try:
            next(reading)
        except StopIteration:
            return source.place
        except MalformedError:
            return None
    source.is_whole = True
    try:
        next(reading)
    except StopIteration:
        return source.place
    except MalformedError:
        return None
    raise AssertionError("a reader waits for text that does not come")


@given(value=VALUES, is_ascii=st.booleans(), indent=st.sampled_from([None, 1]), data=st.data())
def test_every_value_is_read_to_its_end(value: object, is_ascii: bool, indent: int | None, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii, indent=indent)
    assert num_read(data.draw(cuts(f"{text}\n"))) == len(text)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=float.fromhex)
    except (ValueError, OverflowError):
        return False
    return True


@given(text=st.text(alphabet='{}[]",:\\ u0a1-+.eEtrufalsn\n\t', max_size=12))
@example(text="-")
@example(text="1.")
@example(text='"\\u00g0"')
@example(text="[1,]")
@example(text='{"a":1,}')
@example(text="01")
def test_what_it_reads_whole_is_json_and_the_other_way_round(text: str) -> None:
    length = num_read([text])
    is_whole = length is not None and not text[length:].strip(" \t\n\r") and not text[:1].isspace()
    assert is_whole == (_is_json(text) and not text[:1].isspace())
