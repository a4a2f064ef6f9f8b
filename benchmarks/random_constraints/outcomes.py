"""What became of each case."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from types import FrameType
from typing import Any

from benchmarks.random_constraints.asking import Asked
from benchmarks.random_constraints.case import Case


class Outcome(Enum):
    VALID = "valid"
    CLOSED = "valid, closed by the budget"
    OPEN = "cut off by the budget"
    UNCHECKED = "not checked in time"
    REFUSED = "refused with a reason"
    WRONGLY_REFUSED = "refused as unsatisfiable, but is not"
    INVALID = "invalid"
    BROKEN = "no proper answer"


ANSWERED = (Outcome.VALID, Outcome.CLOSED)
FAILURES = (Outcome.INVALID, Outcome.BROKEN, Outcome.WRONGLY_REFUSED)
BAD_REQUEST = 400
CHECK_SECONDS = 5.0
UNSATISFIABLE = ("cannot be satisfied", "matches no text")
"""How the server says that a constraint cannot be met."""


@dataclass(frozen=True)
class Judged:
    """detail: the reason, or the text of the answer."""

    case: Case
    outcome: Outcome
    detail: str
    seconds: float


class _TooLongError(Exception):
    pass


@contextmanager
def _alarm() -> Iterator[None]:
    """Raises _TooLongError inside: some expressions make `re` try more ways than there is time for."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, CHECK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(asked: Asked) -> Judged:
    with _alarm():
        try:
            outcome, detail = _outcome(asked)
        except _TooLongError:
            outcome, detail = Outcome.UNCHECKED, f"checking it takes more than {CHECK_SECONDS:g} s"
    return Judged(asked.case, outcome, detail, asked.seconds)


def _outcome(asked: Asked) -> tuple[Outcome, str]:
    if asked.reply is None:
        return Outcome.BROKEN, "no answer, or not in time"
    status = asked.reply.status
    if status == 200:
        return _answer(asked.case, asked.reply.json())
    reason = _reason(asked.reply.content)
    if status != BAD_REQUEST or not reason:
        return Outcome.BROKEN, f"status {status}: {asked.reply.content[:300]!r}"
    if asked.case.can_be_met and any(words in reason for words in UNSATISFIABLE):
        return Outcome.WRONGLY_REFUSED, reason
    return Outcome.REFUSED, reason


def _answer(case: Case, result: dict[str, Any]) -> tuple[Outcome, str]:
    text, reason = result["text"], result["meta_info"]["finish_reason"]
    is_cut = reason["type"] == "length"
    if is_cut and not reason.get("closed", False):
        return Outcome.OPEN, text
    if not case.is_met(text):
        return Outcome.INVALID, f"{json.dumps(reason)}: {text!r}"
    return (Outcome.CLOSED if is_cut else Outcome.VALID), text


def _reason(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""


@dataclass(frozen=True)
class Summary:
    """Shares are of the cases that can be met; by_kind counts all."""

    by_kind: dict[str, Counter[Outcome]]
    num_satisfiable: int
    answered: float
    ended_by_budget: float
    failures: list[Judged]


def summarise(judged: Sequence[Judged]) -> Summary:
    by_kind: dict[str, Counter[Outcome]] = {}
    for one in judged:
        by_kind.setdefault(one.case.name.rpartition(" ")[0], Counter())[one.outcome] += 1
    satisfiable = [one for one in judged if one.case.can_be_met]
    return Summary(
        by_kind,
        len(satisfiable),
        _share(satisfiable, ANSWERED),
        _share(
            [one for one in satisfiable if one.outcome not in (Outcome.REFUSED, *FAILURES)],
            (Outcome.CLOSED, Outcome.OPEN),
        ),
        [one for one in judged if one.outcome in FAILURES],
    )


def _share(judged: Sequence[Judged], outcomes: Iterable[Outcome]) -> float:
    wanted = set(outcomes)
    return sum(one.outcome in wanted for one in judged) / len(judged) if judged else 0.0
