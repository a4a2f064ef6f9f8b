"""Medians, ratios, and what is printed, written and drawn of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measurements import Case, Measurements
from benchmarks.report import machine, show, write_json, write_plot

FACTS: dict[str, Any] = {"processor": "a processor", "load_before": 0.0}


def make_case(*, is_rate: bool = True) -> Case:
    return Case(
        "work", "tok/s" if is_rate else "s", is_rate, {"ours": [30.0, 10.0, 20.0], "llama.cpp Q4_0": [5.0, 50.0]}
    )


@pytest.fixture
def measurements() -> Measurements:
    return Measurements("a title", "ours", [make_case()], ["a note"])


def test_the_middle_value_is_compared() -> None:
    assert make_case().median("ours") == 20.0
    assert make_case().advantage("ours", "llama.cpp Q4_0") == pytest.approx(20.0 / 27.5)


def test_less_time_is_an_advantage() -> None:
    assert make_case(is_rate=False).advantage("ours", "llama.cpp Q4_0") == pytest.approx(27.5 / 20.0)


@pytest.mark.parametrize(("is_rate", "best"), [(True, "llama.cpp Q4_0"), (False, "ours")])
def test_best_is_more_of_a_rate_and_less_of_a_time(is_rate: bool, best: str) -> None:
    assert make_case(is_rate=is_rate).best(["ours", "llama.cpp Q4_0", "did not take part"]) == best


def test_nobody_is_best_at_what_nobody_did() -> None:
    assert make_case().best(["absent"]) is None


def test_a_case_is_made_once() -> None:
    table = Measurements("title", "ours")
    table.case("a", "s", is_rate=False).add("ours", 1.0)
    table.case("a", "s", is_rate=False).add("ours", 2.0)
    assert [case.values for case in table.cases] == [{"ours": [1.0, 2.0]}]


def test_the_table_has_medians_ranges_and_ratios(
    measurements: Measurements, capsys: pytest.CaptureFixture[str]
) -> None:
    show(measurements, FACTS)
    printed = capsys.readouterr().out
    for part in ("a title", "20.0", "10.0", "30.0", "27.5", "0.73x the best peer, llama.cpp Q4_0", "a note"):
        assert part in printed
    assert "busy" not in printed


def test_a_busy_machine_is_told(measurements: Measurements, capsys: pytest.CaptureFixture[str]) -> None:
    show(measurements, {**FACTS, "load_before": 3.5})
    assert "load 3.5" in capsys.readouterr().out


def test_raw_values_are_written(measurements: Measurements, tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    write_json(path, measurements, machine())
    written = json.loads(path.read_text())
    assert written["cases"][0]["values"]["ours"] == [30.0, 10.0, 20.0]
    assert {"processor", "cores", "python", "sglang", "load_before"} <= written["machine"].keys()


def test_a_picture_is_drawn(measurements: Measurements, tmp_path: Path) -> None:
    write_plot(tmp_path / "plot.png", measurements)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
