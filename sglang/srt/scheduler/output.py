"""From drawn tokens to text: what may be shown already, and whether the sequence has ended. All on bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sglang.srt.grammar.stop_regex import Match, StopSearch, compile_stop_regex
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.vocab import Vocab


@dataclass(frozen=True, slots=True)
class _Stop:
    text: str
    data: bytes


def _anywhere(length: int) -> bool:
    return True


class OutputText:
    """The text of one sequence. Bytes that may turn out to begin a stop string are held back until that is known.

    Stop strings are looked for in the full bytes of the output, special tokens included, across token boundaries; what
    is shown leaves hidden tokens out. The stop string that is complete first counts, of those complete at once
    the longest; so how the output is cut into tokens does not matter.

    What is said of stop strings holds for matches of ``stop_regex`` too, of which `push` returns the source.
    """

    def __init__(self, vocab: Vocab, params: SamplingParams) -> None:
        self._vocab = vocab
        self._skips_special = params.skip_special_tokens
        self._trims_stop = not params.no_stop_trim
        self._stops = [_Stop(text, text.encode()) for text in params.stop]
        self._searches = [StopSearch(compile_stop_regex(source)) for source in params.stop_regex]
        self._may_stop = bool(self._stops or self._searches)
        self._num_bytes = 0  # of the output so far
        self._tail = bytearray()  # bytes not yet released
        self._hidden = bytearray()  # beside each byte of the tail: 1 if it is not shown
        self._released = bytearray()

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    def push(self, token_id: int, is_end: bool, may_end_at: Callable[[int], bool] = _anywhere) -> str | None:
        """Add a token; `is_end` marks a stop token, which is not shown. Returns the stop string completed, or None.

        It counts only if the output may end with as many bytes as are left of it then.
        """
        shown = self._vocab.visible_bytes(token_id, self._skips_special)
        data = shown or self._vocab.visible_bytes(token_id, skip_special_tokens=False)
        if is_end and self._trims_stop:
            shown = b""
        self._num_bytes += len(data)
        if not self._may_stop:  # then there is never a tail
            self._released += shown
            return None
        self._tail += data
        self._hidden += (b"\0" if shown else b"\1") * len(data)
        found = self._find_stop(data, may_end_at)
        if found is None:
            self._release(len(self._tail) - self._num_undecided())
            return None
        if self._trims_stop:
            self._release(found.start - self._tail_start)
            self._tail.clear()
            self._hidden.clear()
        else:
            self._release(len(self._tail))
        return found.source

    def finish(self) -> None:
        """The sequence ended without a stop string: nothing is held back any longer."""
        self._release(len(self._tail))

    def take(self) -> bytes:
        """The bytes that became visible since the last call."""
        released = bytes(self._released)
        self._released.clear()
        return released

    @property
    def _tail_start(self) -> int:
        return self._num_bytes - len(self._tail)

    def _find_stop(self, new: bytes, may_end_at: Callable[[int], bool]) -> Match | None:
        """The first match to count among those that end in `new`, the last bytes of the tail."""
        matches = [match for stop in self._stops for match in self._matches(stop, len(new))]
        matches += [match for search in self._searches for match in search.push(new)]
        for match in sorted(matches, key=lambda match: (match.end, match.start)):
            if may_end_at(match.start if self._trims_stop else self._num_bytes):
                return match
        return None

    def _matches(self, stop: _Stop, num_new: int) -> Iterator[Match]:
        start = self._tail.find(stop.data, max(len(self._tail) - num_new - len(stop.data) + 1, 0))
        while start >= 0:
            begin = self._tail_start + start
            yield Match(begin + len(stop.data), begin, stop.text)
            start = self._tail.find(stop.data, start + 1)

    def _num_undecided(self) -> int:
        """How many bytes at the end of the tail may turn out to belong to a match."""
        undecided = [self._num_bytes - search.undecided_from for search in self._searches]
        return max([self._longest_stop_start(), *undecided])

    def _longest_stop_start(self) -> int:
        """How many bytes at the end of the tail could begin a stop string."""
        for length in range(min(len(self._tail), max((len(stop.data) for stop in self._stops), default=1) - 1), 0, -1):
            end = bytes(self._tail[-length:])
            if any(len(stop.data) > length and stop.data.startswith(end) for stop in self._stops):
                return length
        return 0

    def _release(self, count: int) -> None:
        data, hidden = self._tail[:count], self._hidden[:count]
        self._released += (
            data if 1 not in hidden else bytes(b for b, hide in zip(data, hidden, strict=True) if not hide)
        )
        del self._tail[:count]
        del self._hidden[:count]
