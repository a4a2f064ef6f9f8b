"""Each variant sends the same work in its own way."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

import sglang as sgl
from benchmarks.ablations import Burst, FewShotPrograms, Groups, chosen, compare, main
from benchmarks.measurements import Measurements
from benchmarks.systems.ours import OurEngine

VOCAB = 1000


class GivenEngine(OurEngine):
    """Runs on an engine that is there already."""

    def __init__(self, engine: Any) -> None:
        super().__init__("given")
        self._engine = cast(sgl.Engine, engine)

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass


class RecordingEngine:
    """Keeps the calls of `generate`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, dict[str, Any]]] = []

    def generate(self, *, input_ids: Any, sampling_params: dict[str, Any], **others: Any) -> None:
        self.calls.append((input_ids, {**sampling_params, **others}))


@pytest.fixture
def recorder() -> RecordingEngine:
    return RecordingEngine()


def groups_of(prompts: Sequence[Sequence[int]], prefix_tokens: int) -> list[int]:
    """The number of each prompt's group, in order of appearance."""
    prefixes = [tuple(prompt[:prefix_tokens]) for prompt in prompts]
    numbers = {prefix: number for number, prefix in enumerate(dict.fromkeys(prefixes))}
    return [numbers[prefix] for prefix in prefixes]


def test_groups_arrive_one_after_the_other_or_in_turn(recorder: RecordingEngine) -> None:
    groups, system = Groups(VOCAB, groups=3, group_size=2, prefix_tokens=8), GivenEngine(recorder)
    groups.send_by_group(system, "a")
    groups.send_in_turn(system, "a")
    by_group, in_turn = (call[0] for call in recorder.calls)
    assert groups_of(by_group, 8) == [0, 0, 1, 1, 2, 2]
    assert groups_of(in_turn, 8) == [0, 1, 2, 0, 1, 2]
    assert sorted(by_group) == sorted(in_turn)


def test_the_cache_holds_some_groups_but_not_all() -> None:
    groups = Groups(VOCAB, groups=12, group_size=8, prefix_tokens=256)
    assert 3 * 256 < groups.cache_tokens < 12 * 256


def test_a_burst_is_sent_whole_or_in_two_parts(recorder: RecordingEngine) -> None:
    burst, system = Burst(VOCAB, questions=3, examples_tokens=16), GivenEngine(recorder)
    burst.send_at_once(system, "a")
    ((prompts, _),) = recorder.calls
    assert groups_of(prompts, 16) == [0, 0, 0]
    recorder.calls.clear()
    burst.send_prefix_first(system, "a")
    assert [call[0] for call in recorder.calls] == [prompts[0][:16], prompts]
    recorder.calls.clear()
    burst.send_one_ahead(system, "a")
    assert [call[0] for call in recorder.calls] == [prompts[0], prompts[1:]]


def test_every_variant_is_measured(
    monkeypatch: pytest.MonkeyPatch, tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each ablation is an option of the engine that the help names."""
    path = tmp_path / "values.json"
    given = ("--model", tiny_model, "--threads", "1", "--quick", "--json", str(path))
    monkeypatch.setattr(sys, "argv", ["driver", *given])
    main()
    assert {case["case"]: list(case["values"]) for case in json.loads(path.read_text())["cases"]} == {
        "scheduling": ["full", "fcfs", "random order", "best order", "no cache"],
        "burst": ["full", "prefix first", "one ahead", "no in-flight sharing"],
        "programs": ["full", "no fork hint"],
    }
    assert "ours is" in capsys.readouterr().out


def test_ablations_can_be_chosen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen("burst,programs,burst") == ["burst", "programs"]
    monkeypatch.setattr(sys, "argv", ["driver", "--only", "bursts"])
    with pytest.raises(SystemExit):
        main()
    assert "unknown ablation 'bursts'; there are scheduling, burst, programs" in capsys.readouterr().err


def test_programs_run_both_ways(tiny_engine: sgl.Engine) -> None:
    programs, system = FewShotPrograms(3), GivenEngine(tiny_engine)
    table = Measurements("title", "batch")
    variants = [("batch", system, programs.send_as_batch), ("single", system, programs.send_one_by_one)]
    compare("programs", variants, 2, table)
    (case,) = table.cases
    assert {name: len(values) for name, values in case.values.items()} == {"batch": 2, "single": 2}
