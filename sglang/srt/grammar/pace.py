"""How long it takes to follow outputs of one grammar.

An ambiguous grammar of a few rules, such as one that repeats what may be nothing, has as many ways to read a text as
the text is long, so a mask takes the library tenths of a second where others take a tenth of a millisecond. Nothing
bounds that but the limits of the library, and the rules do not tell.
"""

from __future__ import annotations

SLOW_SECONDS = 0.004
"""For one token. Beside it a step of a small model takes two to five times as long."""

SHARE_OF_LAST = 0.2
"""What the last token counts: one that takes 20 ms is enough, as is 5 ms time after time."""


class Pace:
    """Once slow it stays so. Of one grammar; written by the thread that follows its outputs, read by any."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self.is_slow = False

    def note(self, seconds: float) -> None:
        """What one token took, in processor time of its thread: what others take from that is not the grammar's."""
        self._seconds += SHARE_OF_LAST * (seconds - self._seconds)
        self.is_slow = self.is_slow or self._seconds > SLOW_SECONDS
