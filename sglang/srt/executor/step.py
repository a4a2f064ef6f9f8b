"""What one step is asked to compute, and what comes back. Plain host data: another rank could be sent it as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sglang.srt.executor.sampler import SampledToken, SamplingRow
from sglang.srt.messages import TokenLogprob

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SequenceRows:
    """Rows [first_row, first_row + num_rows) belong to one sequence and are its newest tokens.

    ``runs`` is [runs, 2] (start, length): the slots of the whole sequence up to and including these rows, in order of
    position. A row may read the slots of positions up to its own.
    """

    first_row: int
    num_rows: int
    runs: IntArray


@dataclass(frozen=True, slots=True)
class PromptLogprobRows:
    """Score the tokens that follow rows [first_row, first_row + len(targets))."""

    first_row: int
    targets: IntArray
    top_logprobs_num: int


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """How likely is each of `token_ids`, of which there is one at least, after this row?"""

    row: int
    token_ids: IntArray


@dataclass(frozen=True, slots=True)
class StepInput:
    """``sample_rows[i]``, ascending, is the row whose logits draw the token described by ``samples[i]``."""

    token_ids: IntArray  # [rows]
    positions: IntArray  # [rows]
    slots: IntArray  # [rows], where each row stores its keys and values
    sequences: Sequence[SequenceRows]
    sample_rows: IntArray  # [samples]
    samples: Sequence[SamplingRow]
    prompt_logprobs: Sequence[PromptLogprobRows]
    candidates: Sequence[CandidateRow] = ()

    def read_rows(self) -> IntArray:
        """The rows whose logits are asked for, each once, ascending."""
        if not self.prompt_logprobs and not self.candidates:
            return self.sample_rows
        scored = [np.arange(rows.first_row, rows.first_row + len(rows.targets)) for rows in self.prompt_logprobs]
        asked = np.array([candidate.row for candidate in self.candidates], dtype=np.int64)
        return np.unique(np.concatenate((self.sample_rows, asked, *scored)))


@dataclass(frozen=True, slots=True)
class StepResult:
    """In the order of ``StepInput.samples``, ``StepInput.prompt_logprobs`` and ``StepInput.candidates``.

    The candidates after a row that is no distribution are NaN.
    """

    samples: Sequence[SampledToken]
    prompt_logprobs: Sequence[list[TokenLogprob]]
    candidates: Sequence[list[float]] = field(default_factory=list)
