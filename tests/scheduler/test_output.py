"""Stop strings and hidden tokens, against a reference that looks at the whole output every time."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sglang.srt.sampling_params import SamplingParams
from sglang.srt.scheduler.output import OutputText
from sglang.srt.vocab import Vocab

ALPHABET = "ab<>é€"
BYTES = sorted({bytes([byte]) for byte in ALPHABET.encode()})


@dataclass(frozen=True)
class Case:
    """`ends`: whether the last token is an end token."""

    vocab: Vocab
    params: SamplingParams
    token_ids: Sequence[int]
    ends: bool = False

    def pushes(self) -> list[tuple[int, bool]]:
        last = len(self.token_ids) - 1
        return [(token_id, self.ends and index == last) for index, token_id in enumerate(self.token_ids)]


class Whole:
    """The output so far, byte by byte, and what that means. Computed anew for every question."""

    def __init__(self, case: Case, num_tokens: int) -> None:
        params = case.params
        self.stops = [(stop, stop.encode()) for stop in params.stop]
        self.trims = not params.no_stop_trim
        self.data = b""
        self.shown: list[bool] = []
        for token_id, is_end in case.pushes()[:num_tokens]:
            data = case.vocab.token_bytes[token_id] if token_id < case.vocab.size else b""
            is_hidden = (token_id in case.vocab.special_ids and params.skip_special_tokens) or (is_end and self.trims)
            self.data += data
            self.shown += [not is_hidden] * len(data)

    def visible(self, length: int) -> bytes:
        """What is shown of the first `length` bytes."""
        return bytes(byte for byte, shown in zip(self.data[:length], self.shown, strict=False) if shown)

    def stop(self) -> tuple[int, str] | None:
        """Where the stop string begins that is complete first (of several at once the longest), and which it is."""
        for end in range(1, len(self.data) + 1):
            matches = [(end - len(data), stop) for stop, data in self.stops if self.data[:end].endswith(data)]
            if matches:
                return min(matches)
        return None

    def num_undecided(self) -> int:
        """How many last bytes may be the beginning of a stop string."""
        lengths = [k for _, data in self.stops for k in range(1, len(data)) if self.data.endswith(data[:k])]
        return max(lengths, default=0)

    def text(self) -> bytes:
        """What is shown when the output ends here."""
        found = self.stop()
        return self.visible(found[0] if found is not None and self.trims else len(self.data))


def vocabs() -> st.SearchStrategy[Vocab]:
    token = st.lists(st.sampled_from(BYTES), max_size=4).map(b"".join) | st.sampled_from([b"<a>", "é€".encode(), b"ab"])
    return st.lists(token, min_size=1, max_size=6).flatmap(
        lambda tokens: st.builds(
            Vocab,
            token_bytes=st.just(tokens),
            special_ids=st.lists(st.integers(0, len(tokens) - 1), max_size=2),
            eos_ids=st.just([]),
        )
    )


CASES = st.builds(
    Case,
    vocab=vocabs(),
    params=st.builds(
        SamplingParams,
        stop=st.lists(st.text(ALPHABET, min_size=1, max_size=5), max_size=3).map(tuple),
        no_stop_trim=st.booleans(),
        skip_special_tokens=st.booleans(),
    ),
    token_ids=st.lists(st.integers(0, 6), max_size=14),  # some past the vocabulary
    ends=st.booleans(),
)


@settings(max_examples=800, deadline=None)
@given(case=CASES)
@example(
    case=Case(
        vocab=Vocab(token_bytes=[b"x", b"<a>"], special_ids=[1], eos_ids=[]),
        params=SamplingParams(stop=("x<", "a>y")),
        token_ids=[1, 0, 1],
    )
)
def test_every_step_against_the_whole(case: Case) -> None:
    """Released at once is all that is sure to be shown, and nothing that a stop string then cuts off."""
    output = OutputText(case.vocab, case.params)
    released = b""
    for count, (token_id, is_end) in enumerate(case.pushes(), start=1):
        whole = Whole(case, count)
        stop = output.push(token_id, is_end)
        released += output.take()
        expected = whole.stop()
        if expected is not None:
            assert stop == expected[1] and released == whole.text()
            break
        assert stop is None
        assert released == whole.visible(len(whole.data) - whole.num_undecided())
    else:
        whole = Whole(case, len(case.token_ids))
    output.finish()
    assert released + output.take() == whole.text()
    assert output.take() == b""


def cut(data: bytes, lengths: Sequence[int]) -> list[bytes]:
    """Pieces of these lengths, as far as `data` goes, and the rest."""
    starts = [0, *itertools.accumulate(lengths)]
    return [data[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


@settings(max_examples=300, deadline=None)
@given(case=CASES, lengths=st.lists(st.integers(1, 5), max_size=14))
def test_tokenisation_changes_nothing_without_stop_strings(case: Case, lengths: list[int]) -> None:
    """Cut the same bytes into other tokens: the text is the same."""
    data = b"".join(case.vocab.token_bytes[i] for i in case.token_ids if i < case.vocab.size)
    tokens = cut(data, lengths)
    output = OutputText(Vocab(token_bytes=tokens, special_ids=[], eos_ids=[]), SamplingParams())
    for token_id in range(len(tokens)):
        assert output.push(token_id, is_end=False) is None
        assert output.take() == tokens[token_id]


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(ALPHABET, max_size=30),
    stops=st.lists(st.text(ALPHABET, min_size=1, max_size=4), min_size=1, max_size=3),
    lengths=st.lists(st.integers(1, 7), max_size=40),
)
def test_stop_strings_in_any_tokenisation(text: str, stops: list[str], lengths: list[int]) -> None:
    """Wherever tokens begin and end, characters cut in two included, text and stop string are those of single bytes."""

    def ending(tokens: list[bytes]) -> tuple[str, str | None]:
        output = OutputText(Vocab(token_bytes=tokens, special_ids=[], eos_ids=[]), SamplingParams(stop=tuple(stops)))
        found = next(filter(None, (output.push(i, is_end=False) for i in range(len(tokens)))), None)
        output.finish()
        return output.take().decode(), found

    data = text.encode()
    shown, found = ending(cut(data, lengths))
    assert (shown, found) == ending([data[i : i + 1] for i in range(len(data))])
    assert (found is None) == (not any(stop in text for stop in stops))
    if len(stops) == 1:
        assert shown == text.partition(stops[0])[0]


# --- examples -------------------------------------------------------------------------------------------------------

PIECES = [b"Hello", b" world", b".", b"\n", b"ab", b"<|im_end|>", b"<|", b"im", b"_end|>", b"\xe2\x82", b"\xac"]
WORDS = {piece: index for index, piece in enumerate(PIECES)}
VOCAB = Vocab(token_bytes=PIECES, special_ids=[5], eos_ids=[5])


def run(pieces: list[bytes], ends: bool = False, **params: object) -> tuple[list[bytes], str | None]:
    """What each push releases, then what `finish` does; and the stop string."""
    output = OutputText(VOCAB, SamplingParams(**params))  # type: ignore[arg-type]
    released, stop = [], None
    for index, piece in enumerate(pieces):
        assert stop is None, "the output goes on after a stop string"
        stop = output.push(WORDS[piece], ends and index == len(pieces) - 1)
        released.append(output.take())
    output.finish()
    return [*released, output.take()], stop


def test_without_stops_all_is_shown_at_once() -> None:
    assert run([b"Hello", b" world", b"."]) == ([b"Hello", b" world", b".", b""], None)


def test_a_possible_beginning_is_held_back_until_it_is_known() -> None:
    assert run([b"Hello", b"\n", b"."], stop=("\n\n",)) == ([b"Hello", b"", b"\n.", b""], None)
    assert run([b"Hello", b"\n", b"\n"], stop=("\n\n",)) == ([b"Hello", b"", b"", b""], "\n\n")
    assert run([b"Hello", b"\n"], stop=("\n\n",)) == ([b"Hello", b"", b"\n"], None)


def test_the_end_token_lets_go_of_what_was_held_back() -> None:
    assert run([b"Hello", b"\n", b"<|im_end|>"], ends=True, stop=("\n\n",)) == ([b"Hello", b"", b"\n", b""], None)


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("skip", [True, False])
def test_a_special_token_as_stop_string(ends: bool, skip: bool) -> None:
    """As a token, hidden or not, and as ordinary text."""
    released, stop = run([b"Hello", b"<|im_end|>"], ends, stop=("<|im_end|>",), skip_special_tokens=skip)
    assert b"".join(released) == b"Hello" and stop == "<|im_end|>"
    released, stop = run([b"Hello", b"<|", b"im", b"_end|>"], stop=("<|im_end|>",), skip_special_tokens=skip)
    assert released == [b"Hello", b"", b"", b"", b""] and stop == "<|im_end|>"


def test_a_stop_string_inside_the_text_of_a_hidden_token() -> None:
    assert run([b"Hello", b".", b"<|im_end|>"], stop=(".<|im",)) == ([b"Hello", b"", b"", b""], ".<|im")
    assert run([b"<|im_end|>", b"Hello"], stop=("|>Hell",)) == ([b"", b"", b""], "|>Hell")


def test_hidden_tokens_are_not_shown_when_they_are_let_go() -> None:
    assert run([b"ab", b"<|im_end|>", b"."], stop=("b<|im_end|>!",)) == ([b"a", b"", b"b.", b""], None)


@pytest.mark.parametrize(
    ("skip", "trim", "expected"),
    [(True, True, b"Hello"), (True, False, b"Hello"), (False, True, b"Hello"), (False, False, b"Hello<|im_end|>")],
)
def test_the_end_token_is_shown_only_if_asked_for(skip: bool, trim: bool, expected: bytes) -> None:
    released, stop = run([b"Hello", b"<|im_end|>"], ends=True, skip_special_tokens=skip, no_stop_trim=not trim)
    assert b"".join(released) == expected and stop is None


def test_no_stop_trim_shows_the_stop_string_and_the_rest_of_its_token() -> None:
    released, stop = run([b"Hello", b" world"], stop=("o w",), no_stop_trim=True)
    assert released == [b"Hell", b"o world", b""] and stop == "o w"
    released, stop = run([b"Hello", b"<|im_end|>"], stop=("<|",), no_stop_trim=True)
    assert b"".join(released) == b"Hello" and stop == "<|", "a hidden token stays hidden"


@pytest.mark.parametrize(
    ("stops", "text", "matched"),
    [
        ((" world", "lo"), b"Hel", "lo"),
        (("world", " w"), b"Hello", " w"),
        (("o", "o world"), b"Hell", "o"),
        (("o world", "w"), b"Hello ", "w"),
        (("rld", "orld", "ld"), b"Hello w", "orld"),
    ],
)
def test_the_first_to_be_complete_counts_and_of_those_complete_at_once_the_longest(
    stops: tuple[str, ...], text: bytes, matched: str
) -> None:
    vocab = Vocab(token_bytes=[b"Hello world"], special_ids=[], eos_ids=[])
    output = OutputText(vocab, SamplingParams(stop=stops))
    assert output.push(0, is_end=False) == matched and output.take() == text


def test_a_character_that_several_tokens_spell() -> None:
    assert run([b"Hello", b"\xe2\x82", b"\xac"], stop=("€",)) == ([b"Hello", b"", b"", b""], "€")
    assert run([b"\xe2\x82", b"."], stop=("€",)) == ([b"", b"\xe2\x82.", b""], None)


@settings(max_examples=200, deadline=None)
@given(
    text=st.text("ab1\n <é", max_size=25),
    lengths=st.lists(st.integers(1, 7), max_size=30),
    stop=st.sampled_from(["", "b"]),
)
def test_stop_patterns_in_any_tokenisation(text: str, lengths: list[int], stop: str) -> None:
    """Cut where the match begins that is complete first; what may become part of one is never shown before."""
    pattern = r"\n[a-z]*1|<é{2}|a +b"
    params = SamplingParams(stop_regex=(pattern,), stop=(stop,) if stop else ())
    tokens = cut(text.encode(), lengths)
    output = OutputText(Vocab(token_bytes=tokens, special_ids=[], eos_ids=[]), params)
    matches = [(m.end(1), m.start(), pattern) for m in re.finditer(f"(?=({pattern}))", text)]
    matches += [(m.end(), m.start(), stop) for m in re.finditer(stop, text)] if stop else []
    found, shown = None, b""
    for token_id in range(len(tokens)):
        found = output.push(token_id, is_end=False)
        shown += output.take()
        if found is not None:
            break
    else:
        output.finish()
        shown += output.take()
    first = min(matches, default=None)
    assert (shown.decode(), found) == ((text[: first[1]], first[2]) if first else (text, None))


def test_no_stop_trim_shows_the_match() -> None:
    assert run([b"Hello", b" world"], stop_regex=(r"o\s+w",), no_stop_trim=True)[0][:2] == [b"Hell", b"o world"]
