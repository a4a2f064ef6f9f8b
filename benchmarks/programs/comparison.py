"""Programs measured on several systems, and what was to be expected of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.measurements import Case, Measurements
from benchmarks.programs.calibration import ANSWERS, PROMPTS, Costs, Prediction, Run, costs
from benchmarks.programs.counts import Counts
from benchmarks.programs.material import Material
from benchmarks.programs.program import Program
from benchmarks.programs.systems import ProgramSystem
from benchmarks.rounds import Work

UNIT = "programs/s"
CALIBRATIONS = (PROMPTS, ANSWERS)
WARM_UP_RUNS = 4
"""Of round 0, which is not noted."""


class Comparison:
    """Keeps what every program asked of every system in its last round."""

    def __init__(self, material: Material, num_runs: int) -> None:
        self._material = material
        self._num_runs = num_runs
        self._counts: dict[tuple[str, str], Counts] = {}

    def works(self, programs: Sequence[Program]) -> list[Work[ProgramSystem]]:
        """The calibrations first."""
        return [self._work(program) for program in (*CALIBRATIONS, *programs)]

    def details(self, measurements: Measurements) -> list[dict[str, Any]]:
        """For each program and system what was counted, and the ratio of ours to it as measured and as predicted."""
        return [
            self._detail(case, system, measurements)
            for case in measurements.cases
            if case.name not in {program.name for program in CALIBRATIONS}
            for system in case.values
        ]

    def notes(self, measurements: Measurements) -> list[str]:
        ours = measurements.ours
        return [_note(detail, ours) for detail in self.details(measurements)]

    def _work(self, program: Program) -> Work[ProgramSystem]:
        def measure(system: ProgramSystem, number: int) -> float:
            num_runs = min(WARM_UP_RUNS, self._num_runs) if number == 0 else self._num_runs
            items = program.items(self._material, f"{program.name} {number}", num_runs)
            done = system.run(program, items)
            self._counts[program.name, system.name] = done.counts
            return num_runs / done.seconds

        return Work(program.name, UNIT, True, measure)

    def _detail(self, case: Case, system: str, measurements: Measurements) -> dict[str, Any]:
        ours = measurements.ours
        counts = self._counts[case.name, system]
        here, there = (self._prediction(case.name, name, measurements) for name in (ours, system))
        return {
            "program": case.name,
            "system": system,
            "requests": counts.requests,
            "prompt_tokens": counts.prompt,
            "cached_tokens": counts.cached,
            "new_tokens": counts.new,
            "hit_rate": counts.hit_rate,
            "decode_share": None if there is None else there.decode_share,
            "measured_ratio": case.advantage(ours, system),
            "predicted_ratio": None if here is None or there is None else there.seconds / here.seconds,
        }

    def _prediction(self, program: str, system: str, measurements: Measurements) -> Prediction | None:
        known = self._costs(system, measurements)
        return None if known is None else known.predict(self._counts[program, system])

    def _costs(self, system: str, measurements: Measurements) -> Costs | None:
        prompts, answers = (self._median_run(program.name, system, measurements) for program in CALIBRATIONS)
        return costs(prompts, answers)

    def _median_run(self, program: str, system: str, measurements: Measurements) -> Run:
        rates = measurements.case(program, UNIT, is_rate=True).values[system]
        return Run(self._num_runs / statistics.median(rates), self._counts[program, system])


def _note(detail: dict[str, Any], ours: str) -> str:
    cached = "does not say what is cached" if detail["hit_rate"] is None else f"hit rate {detail['hit_rate']:.1%}"
    note = f"{detail['program']}: {detail['system']}: {cached}, {detail['new_tokens']:,} new tokens"
    if detail["decode_share"] is not None:
        note += f", decode share {detail['decode_share']:.0%}"
    if detail["system"] == ours:
        return note
    predicted = "none" if detail["predicted_ratio"] is None else f"{detail['predicted_ratio']:.2f}x"
    return f"{note}; {ours} is {detail['measured_ratio']:.2f}x, predicted {predicted}"
