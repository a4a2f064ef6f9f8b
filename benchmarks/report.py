"""Measurements as a table, as JSON and as a picture, with the machine they were made on."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import sglang
from benchmarks.measurements import Case, Measurements

BUSY_LOAD = 0.5
LINE_WIDTH = 120
"""Also where the output is no terminal."""


def machine() -> dict[str, Any]:
    """What figures of this run belong to."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sglang": sglang.__version__,
        "load_before": round(os.getloadavg()[0], 2),
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def show(measurements: Measurements, facts: dict[str, Any]) -> None:
    """Print medians with ranges; "ours is" says how many times better ours is than the system of that line."""
    table = Table(title=measurements.title)
    for title in ("work", "system"):
        table.add_column(title)
    for title in ("median", "lowest", "highest", "unit", "ours is"):
        table.add_column(title, justify="right")
    for case in measurements.cases:
        for line in _lines(case, measurements.ours):
            table.add_row(*line)
        table.add_section()
    console = Console(width=max(Console().width, LINE_WIDTH))
    console.print(table)
    for note in [*_against_best(measurements), *measurements.notes]:
        console.print(note, highlight=False)
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False, style="dim")
    if facts["load_before"] > BUSY_LOAD:
        console.print(f"The machine was busy before this run (load {facts['load_before']}): trust ratios, not figures.")


def _against_best(measurements: Measurements) -> Iterator[str]:
    """A line for each case that peers did too."""
    ours = measurements.ours
    for case in measurements.cases:
        best = case.best([system for system in case.values if measurements.is_peer(system)])
        if best is not None and ours in case.values:
            yield f"{case.name}: {ours} is {case.advantage(ours, best):.2f}x the best peer, {best}"


def _lines(case: Case, ours: str) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for system, values in case.values.items():
        numbers = [f"{value:,.{_digits(value)}f}" for value in (case.median(system), min(values), max(values))]
        is_compared = ours in case.values and system != ours
        ratio = f"{case.advantage(ours, system):.2f}x" if is_compared else ""
        lines.append((case.name if not lines else "", system, *numbers, case.unit, ratio))
    return lines


def _digits(value: float) -> int:
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3


def write_json(path: Path, measurements: Measurements, facts: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": facts, **measurements.to_json()}, indent=1) + "\n")


def write_plot(path: Path, measurements: Measurements) -> None:
    """A panel for each case, a bar of the median for each system, a line from the lowest to the highest value."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cases = measurements.cases
    figure = Figure(figsize=(1 + 3.2 * len(cases), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(measurements.title)
    for panel, case in zip(figure.subplots(1, len(cases), squeeze=False)[0], cases, strict=True):
        medians = [case.median(system) for system in case.values]
        below = [median - min(values) for median, values in zip(medians, case.values.values(), strict=True)]
        above = [max(values) - median for median, values in zip(medians, case.values.values(), strict=True)]
        colours = ["tab:blue" if system == measurements.ours else "tab:gray" for system in case.values]
        panel.bar(range(len(medians)), medians, yerr=(below, above), color=colours, capsize=4)
        panel.set_xticks(range(len(medians)), list(case.values), rotation=30, ha="right")
        panel.set_title(case.name, fontsize=9)
        panel.set_ylabel(f"{case.unit} ({'more' if case.is_rate else 'less'} is better)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
