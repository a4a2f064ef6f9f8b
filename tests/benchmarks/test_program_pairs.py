"""The programs of benchmarks/programs: both ways ask the same, and what is said about them is right."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openai
import pytest

import sglang as sgl
from benchmarks.measurements import Measurements
from benchmarks.programs.__main__ import PROGRAMS, chosen, conclude, main, option_name, positive
from benchmarks.programs.calibration import ANSWERS, PROMPTS, Costs, Run, costs
from benchmarks.programs.client import LENGTH, ApiClient, Message, choices_body, grammar_body
from benchmarks.programs.comparison import Comparison
from benchmarks.programs.counts import Counts
from benchmarks.programs.few_shot_select import options
from benchmarks.programs.judge import PROGRAM as JUDGE
from benchmarks.programs.material import Problem, load
from benchmarks.programs.program import Item, Program
from benchmarks.programs.systems import CountedEngine, WithClient, run_ours
from benchmarks.rounds import alternate
from benchmarks.systems.base import BenchmarkError
from benchmarks.systems.ours import OurServer
from sglang.lang.backends.base import Prompt
from sglang.lang.ir import SamplingArguments
from tests.benchmarks.fakes import FakeSystem
from tests.lang.backends.fake_server import Answer, FakeServer

MATERIAL = load(None)
Asked = tuple[Any, ...]


# --- both ways ask the same -------------------------------------------------------------------------------------------


def answer_to(asked: str) -> str:
    """Another one for everything that can be asked."""
    return f" {zlib.crc32(asked.encode())}"


class RecordingClient:
    """Keeps what it is asked; of options it chooses the first."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    async def complete(self, prompt: str, max_tokens: int, temperature: float = 0.0) -> str:
        self.asked.append((prompt, max_tokens, temperature))
        return answer_to(prompt)

    async def choose(self, prompt: str, options: Sequence[str]) -> str:
        self.asked.append((prompt, *options))
        return options[0]

    async def chat(
        self, messages: Sequence[Message], max_tokens: int, json_schema: dict[str, Any] | None = None
    ) -> str:
        asked = tuple((message["role"], message["content"].lstrip()) for message in messages)
        self.asked.append((asked, max_tokens, json_schema))
        return "{}" if json_schema else answer_to(messages[-1]["content"])


def mock_for(items: Sequence[Item]) -> sgl.Mock:
    def answer(prompt: Prompt, sampling: SamplingArguments) -> str:
        if sampling.json_schema is not None:
            return "{}"
        return answer_to(prompt.messages[-1]["content"] if prompt.messages else prompt.text)

    first_best = {
        option: [-0.0 - place] for item in items for place, option in enumerate(item.get("options", MARKS_OF_PROGRAMS))
    }
    return sgl.Mock(answer, scores=first_best, wants_prefix_first=False)


MARKS_OF_PROGRAMS = [" 1", " 2", " 3", " 4", " 5"]


def asked_of(mock: sgl.Mock) -> list[Asked]:
    asked: list[Asked] = []
    for request in mock.requests:
        if request.kind == "select":
            asked.append((request.prompt.text, *request.choices))
            continue
        assert request.sampling is not None
        sampling, messages = request.sampling, request.prompt.messages
        schema = None if sampling.json_schema is None else json.loads(sampling.json_schema)
        said = tuple((message["role"], message["content"]) for message in messages)
        last = (schema,) if messages else (sampling.temperature,)
        asked.append((said or request.prompt.text, sampling.max_new_tokens, *last))
        assert schema is not None or sampling.ignore_eos
    return asked


@pytest.mark.parametrize("program", [*PROGRAMS, PROMPTS, ANSWERS], ids=lambda program: program.name)
def test_both_ways_ask_the_same(program: Program) -> None:
    client = RecordingClient()
    for item in program.items(MATERIAL, "round 1", 3):
        mock = mock_for([item])
        program.ours.run(**item, backend=mock).sync()
        client.asked.clear()
        asyncio.run(program.theirs(client, **item))
        assert sorted(map(repr, asked_of(mock))) == sorted(map(repr, client.asked))
        assert client.asked


@pytest.mark.parametrize("program", [*PROGRAMS, PROMPTS, ANSWERS], ids=lambda program: program.name)
def test_runs_of_another_name_begin_with_something_else(program: Program) -> None:
    first, second = (json.dumps(program.items(MATERIAL, name, 2)) for name in ("a 1", "a 2"))
    assert first == json.dumps(program.items(MATERIAL, "a 1", 2))
    beginnings = {next(iter(item.values())) for text in (first, second) for item in json.loads(text)}
    assert len(beginnings) >= 2
    assert all("a 1" in beginning[:80] or "a 2" in beginning[:80] for beginning in beginnings)


def test_every_option_is_there_once() -> None:
    for answer in (-3, 0, 5, 6, 7):
        found = options(Problem("q", "s", answer))
        assert len(set(found)) == 4 and f" {answer}" in found


# --- the material -----------------------------------------------------------------------------------------------------


def test_public_data_is_read(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "mt-bench").mkdir()
    rows = [
        {"question": "How many?", "answer": "2 * 3 = <<2*3=6>>6.\n#### 1,006"},
        {"question": "What part?", "answer": "#### 0.5"},
    ]
    (tmp_path / "gsm8k" / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "mt-bench" / "question.jsonl").write_text(json.dumps({"turns": ["Say.", "Why?"]}))
    material = load(tmp_path)
    assert material.problems == [Problem("How many?", "2 * 3 = 6.", 1006)]
    assert material.turns == ["Say.", "Why?"]
    assert sorted(material.some_turns("a", 5)) in (
        ["Say.", "Say.", "Say.", "Why?", "Why?"],
        ["Say.", "Say.", "Why?", "Why?", "Why?"],
    )


def test_data_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="without --data texts are made up"):
        load(tmp_path)


# --- what is sent and counted -----------------------------------------------------------------------------------------

USAGE = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 4}}


class GivenServer(OurServer):
    """One that runs already."""

    def __init__(self, url: str) -> None:
        super().__init__("given")
        self.url = url


def sent(usage: dict[str, Any] | None, *, schema: dict[str, Any] | None = None) -> tuple[list[Any], Counts]:
    """What a server gets that is asked once in every way, and what is counted if it says so of each."""
    message = {"role": "assistant", "content": "{}"}
    choice = {"index": 0, "finish_reason": "stop", "text": " b", "message": message, "logprobs": None}
    answer = {"id": "1", "object": "o", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    counts = Counts()

    async def ask(url: str) -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="k") as client:
            asking = ApiClient(client, "m", grammar_body, counts)
            assert await asking.complete("P", 5, 0.5) == " b"
            assert await asking.choose("P", [' "a"', " b"]) == " b"
            assert await asking.chat([{"role": "user", "content": "Q"}], 7, schema) == "{}"

    with FakeServer(lambda path, body: Answer(answer)) as fake:
        asyncio.run(ask(fake.url))
        return [asked.body for asked in fake.asked], counts


def test_requests_and_counts() -> None:
    (completion, choice, chat), counts = sent(USAGE)
    assert completion == {"model": "m", "prompt": "P", "max_tokens": 5, "temperature": 0.5, **LENGTH}
    assert choice["grammar"] == 'root ::= " \\"a\\"" | " b"' and "ignore_eos" not in choice
    assert chat["ignore_eos"] is True and chat["max_tokens"] == 7
    assert counts == Counts(requests=3, prompt=30, cached=12, new=9)
    assert (counts.hit_rate, counts.uncached) == (0.4, 18)


def test_a_schema_ends_an_answer() -> None:
    *_, chat = sent(USAGE, schema={"type": "object"})[0]
    assert "ignore_eos" not in chat
    assert chat["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_a_server_may_not_say_what_is_cached() -> None:
    counts = sent({**USAGE, "prompt_tokens_details": None})[1]
    assert (counts.hit_rate, counts.uncached) == (None, None)
    assert Costs(1.0, 1.0).predict(counts) is None
    with pytest.raises(BenchmarkError, match="does not say how many tokens"):
        sent(None)


def test_our_server_is_told_options_by_its_own_name() -> None:
    assert choices_body((" a", " b")) == {"choices": [" a", " b"]}


def test_a_prefix_computed_ahead_is_counted(tiny_engine: sgl.Engine) -> None:
    """One token is one byte here, and a request looks up all but its last one."""
    tiny_engine.flush_cache()
    common = "c" * 100
    items: list[Item] = [{"prompt": f"{common}{end * 10}", "max_tokens": 2} for end in "xyz"]
    program = Program("p", lambda *_: items, ANSWERS.ours, ANSWERS.theirs)
    counts = run_ours(program, items, CountedEngine(tiny_engine)).counts
    assert counts == Counts(requests=4, prompt=100 + 3 * 110, cached=300, new=6)


def test_a_program_that_fails_is_named(tiny_engine: sgl.Engine) -> None:
    items: list[Item] = [{"prompt": "P", "max_tokens": -1}]
    with pytest.raises(BenchmarkError, match=f"{ANSWERS.name} failed: .*max_new_tokens"):
        run_ours(ANSWERS, items, CountedEngine(tiny_engine))


def test_a_server_that_refuses_is_named() -> None:
    def answer(path: str, body: Any) -> Answer:
        if path == "/v1/models":
            return Answer({"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "o"}]})
        return Answer({"error": {"message": "no such grammar"}}, 400)

    with FakeServer(answer) as fake:
        system = WithClient("llama.cpp", GivenServer(fake.url), grammar_body)
        with pytest.raises(BenchmarkError, match=r"llama\.cpp failed at judge: .*no such grammar"):
            system.run(JUDGE, JUDGE.items(MATERIAL, "a", 1))


# --- what is concluded ------------------------------------------------------------------------------------------------


def test_costs_and_prediction() -> None:
    """One second for ten prompt tokens, one for five new ones."""
    prompts = Run(11.0, Counts(1, prompt=200, cached=100, new=5))
    answers = Run(21.0, Counts(1, prompt=10, cached=0, new=100))
    known = costs(prompts, answers)
    assert known is not None
    assert (known.prompt_token, known.new_token) == pytest.approx((0.1, 0.2))
    prediction = known.predict(Counts(1, prompt=40, cached=10, new=35))
    assert prediction is not None
    assert (prediction.seconds, prediction.decode_share) == pytest.approx((10.0, 0.7))


@pytest.mark.parametrize(
    ("prompts", "answers"),
    [
        (Counts(1, 100, None, 1), Counts(1, 10, 0, 64)),
        (Counts(1, 100, 0, 10), Counts(1, 10, 0, 1)),
        (Counts(1, 100, 0, 1), Counts(1, 100, 0, 2)),
    ],
    ids=["nothing is said", "proportional", "noise"],
)
def test_costs_that_cannot_be_told(prompts: Counts, answers: Counts) -> None:
    assert costs(Run(5.0, prompts), Run(1.0, answers)) is None


class FakePrograms(FakeSystem):
    """Takes a tenth of a second for a prompt token, `new_token` for a new one."""

    def __init__(self, name: str, cached: int, new_token: float) -> None:
        super().__init__(name, [])
        self._cached = cached
        self._new_token = new_token

    def run(self, program: Program, items: Sequence[Item]) -> Run:
        counts = Counts()
        for _ in items:
            prompt, cached, new = {PROMPTS: (100, 0, 1), ANSWERS: (10, 0, 64)}.get(program, (100, self._cached, 10))
            counts.add(prompt, cached, new)
        uncached = counts.uncached
        assert uncached is not None
        return Run(uncached * 0.1 + counts.new * self._new_token, counts)


def test_the_measured_ratio_stands_beside_the_predicted_one() -> None:
    measurements = Measurements("programs", ours="ours")
    comparison = Comparison(MATERIAL, 2)
    systems = [FakePrograms("ours", 90, 0.1), FakePrograms("llama.cpp", 0, 0.5)]
    alternate(systems, comparison.works(PROGRAMS[:1]), 2, measurements)
    conclude(measurements, comparison)
    ours, theirs = measurements.to_json()["programs"]
    assert (ours["hit_rate"], theirs["hit_rate"]) == (0.9, 0.0)
    assert (ours["decode_share"], theirs["decode_share"]) == pytest.approx((0.5, 5 / 15))
    assert theirs["measured_ratio"] == pytest.approx(15 / 2)
    assert theirs["predicted_ratio"] == pytest.approx(15 / 2)
    assert measurements.notes[1].endswith("decode share 33%; ours is 7.50x, predicted 7.50x")


# --- the command line -------------------------------------------------------------------------------------------------


def test_programs_are_chosen_by_name() -> None:
    assert chosen("judge,react,judge") == [
        program for name in ("judge", "ReAct") for program in PROGRAMS if program.name == name
    ]
    assert len({option_name(program) for program in PROGRAMS}) == 8
    with pytest.raises(argparse.ArgumentTypeError, match="unknown program 'juge'; there are few-shot-select"):
        chosen("juge")
    for text in ("0", "-1", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="positive"):
            positive(text)


def test_the_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    size = ("--quick", "--runs", "1", "--only", "judge", "--http")
    monkeypatch.setattr(
        sys, "argv", ["d", "--model", tiny_model, "--threads", "1", *size, "--peers", "none", "--json", str(path)]
    )
    monkeypatch.delenv("SGLANG_BENCH_DATA", raising=False)
    main()
    written = json.loads(path.read_text())
    found = {detail["system"]: detail for detail in written["programs"]}
    assert found.keys() == {"sglang", "sglang, HTTP", "sglang, openai client"}
    for detail in found.values():
        assert detail["requests"] == 9
        assert detail["hit_rate"] > 0.5
        assert detail["measured_ratio"] > 0
    assert found["sglang"]["new_tokens"] == 5 * 24
    assert "programs, 1 at a time, about made-up texts" in capsys.readouterr().out
