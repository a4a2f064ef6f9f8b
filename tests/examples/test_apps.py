"""The applications of examples/apps: as commands on the default model, and their own decisions on a mock."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sglang as sgl
from examples.apps import agent, extraction, judge
from sglang.lang.backends.base import Prompt
from sglang.lang.ir import SamplingArguments
from tests.examples.seeds import ROOT

APPS = ROOT / "examples" / "apps"


@pytest.fixture(autouse=True)
def own_default_backend() -> Iterator[None]:
    """It goes with the test."""
    before = sgl.global_config.default_backend
    yield
    sgl.set_default_backend(before)


@pytest.fixture
def default_engine(engine: sgl.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app's `Engine(...)` is the tests' own."""
    monkeypatch.setattr(sgl, "Engine", lambda model_path: engine)


@pytest.mark.parametrize("name", [path.stem for path in sorted(APPS.glob("[a-z]*.py"))])
def test_help(name: str) -> None:
    command = [sys.executable, "-m", f"examples.apps.{name}", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--base-url URL" in shown
    assert f"python -m examples.apps.{name}" in shown


# --- extraction

MAIL = "Jan here: 2 pumps to Utrecht, please."
GROUNDED = '{"customer":"Jan","quantity":2,"item":"pumps","city":"Utrecht"}'
INVENTED = '{"customer":"Jan","quantity":2,"item":"pumps","city":"Leeds"}'

Answer = Callable[[Prompt, SamplingArguments], str]


def answering(*answers: str) -> sgl.Mock:
    """One after the other; the last one from then on."""
    left = list(answers)
    return sgl.Mock(lambda prompt, sampling: left.pop(0) if len(left) > 1 else left[0])


@pytest.mark.usefixtures("default_engine")
def test_extraction_writes_a_line_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "orders.jsonl"
    extraction.main(["--limit", "2", "--output", str(output)])
    report = capsys.readouterr().err
    records = [json.loads(line) for line in output.read_text().splitlines()]
    mails = extraction.MAILS.splitlines()
    for record in records:
        order = extraction.Order.model_validate(record["order"])
        assert not extraction.ungrounded(order, mails[record["mail"]])
    assert "2 records in" in report and f"{len(records)} extracted" in report


def test_what_is_grounded_stands_in_the_mail_as_whole_words() -> None:
    order = extraction.Order(customer="J. Hill (Oslo)", quantity=2, item="books", city="Oslo")
    assert extraction.ungrounded(order, "2 books to J. Hill (Oslo)") == []
    assert extraction.ungrounded(order, "12 notebooks to J. Hill (Oslo)") == ["2", "books"]


def test_extraction_tries_again_what_is_invented_or_cut_off() -> None:
    mock = answering('{"customer":"Jan","qu', INVENTED, GROUNDED)
    state = extraction.extract.run(MAIL, backend=mock)
    assert state.ret_value == extraction.Order.model_validate_json(GROUNDED)
    sampled = [request.sampling for request in mock.requests if request.sampling is not None]
    assert [one.temperature for one in sampled] == [0, 0.6, 0.6]
    assert [one.sampling_seed for one in sampled] == [0, 1, 2]


def test_extraction_reports_what_it_gives_up() -> None:
    sgl.set_default_backend(sgl.Mock({f"{MAIL}\nOrder: ": GROUNDED, "Hello!\nOrder: ": INVENTED}))
    output, errors = io.StringIO(), io.StringIO()
    report = extraction.run(["Hello!", MAIL], output, errors)
    assert (report.extracted, report.failed, report.retries) == (1, 1, 0)
    assert output.getvalue() == f'{{"mail":1,"order":{GROUNDED}}}\n'
    assert f"after {extraction.ATTEMPTS} attempts; not in the mail: 'Jan', '2', 'pumps', 'Leeds'" in errors.getvalue()


# --- agent


@pytest.mark.usefixtures("default_engine")
def test_agent_calls_tools_and_leaves_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "trace.html"
    agent.main(["How many people live in Japan?", "--trace", str(page)])
    printed = capsys.readouterr().out
    assert "population(country='Japan') -> 124 million people live in Japan" in printed
    assert "124 million people live in Japan" in page.read_text(encoding="utf-8")


def test_agent_observes_what_a_tool_raises() -> None:
    mock = sgl.Mock(
        {"Thought:": " I divide.\n", "divide ": '{"a":1,"b":0}', "Answer:": " Nobody knows.\n"},
        scores={"divide": [-0.1], "add": [-9.0], "population": [-9.0], agent.FINISH: [-8.0]},
    )
    state = agent.solve.run("What is 1 / 0?", [agent.Tool.of(function) for function in agent.TOOLS], backend=mock)
    steps: list[agent.Step] = state.ret_value
    assert len(steps) == agent.MAX_STEPS
    assert steps[0] == agent.Step("I divide.", "divide", {"a": 1, "b": 0}, "error: division by zero")
    assert state["answer"] == " Nobody knows."


def test_agent_stops_when_it_knows() -> None:
    mock = sgl.Mock({"Answer:": " 42"}, scores={agent.FINISH: [-0.1], "add": [-9.0]})
    state = agent.solve.run("?", [agent.Tool.of(agent.add)], backend=mock)
    assert [step.action for step in state.ret_value] == [agent.FINISH]


def test_arguments_of_a_tool_are_its_parameters() -> None:
    tool = agent.Tool.of(agent.population)
    schema = tool.arguments.model_json_schema()
    assert schema["properties"]["country"]["enum"] == list(agent.MILLIONS)
    assert schema["required"] == ["country"]
    assert str(tool) == "population(country): How many people live in a country."


# --- judge


@pytest.mark.usefixtures("default_engine")
def test_judge_reports_both_orders(capsys: pytest.CaptureFixture[str]) -> None:
    judge.main(["--limit", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[2] for line in lines[1:3]] == [pair.question for pair in judge.PAIRS[:2]]
    assert lines[3].startswith("2 pairs in both orders")


def test_judge_without_a_pair(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        judge.main(["--limit", "0"])
    assert "there is no pair to judge" in capsys.readouterr().err


def verdict(when_first: float, when_second: float) -> judge.Verdict:
    return judge.Verdict(judge.PAIRS[0], when_first, when_second)


def test_a_verdict_is_the_mean_of_both_orders() -> None:
    sure, biased, wrong = verdict(0.9, 0.7), verdict(0.9, 0.3), verdict(0.2, 0.0)
    assert [one.probability for one in (sure, biased, wrong)] == pytest.approx([0.8, 0.6, 0.1])
    assert [one.is_right for one in (sure, biased, wrong)] == [True, True, False]
    assert [one.is_consistent for one in (sure, biased, wrong)] == [True, False, True]
    report = judge.Report([sure, biased, wrong])
    assert report.accuracy == report.consistency == pytest.approx(2 / 3)
    assert report.brier_score == pytest.approx((0.2**2 + 0.4**2 + 0.9**2) / 3)
    assert report.first_place == pytest.approx((0.6 + 0.8 + 0.6) / 3)
    assert [(low, len(found)) for low, found in report.calibration] == [(0.6, 1), (0.8, 1), (0.9, 1)]


def test_a_verdict_of_certainty_is_in_the_last_step() -> None:
    ((low, _),) = judge.Report([verdict(1.0, 1.0)]).calibration
    assert low == 0.9


def test_the_place_is_taken_back_from_the_second_order() -> None:
    """A judge that always takes the first place is sure of nothing."""
    sgl.set_default_backend(sgl.Mock(scores={" 1": [-0.1], " 2": [-5.0]}))
    (found,) = judge.judge_all(judge.PAIRS[:1])
    assert found.when_first == pytest.approx(1 - found.when_second)
    assert found.when_first > 0.9
    assert found.probability == pytest.approx(0.5)
