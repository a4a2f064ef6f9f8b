"""What the programs are about: public data where its folder is given, otherwise texts made up of parts."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.systems.base import BenchmarkError

GSM8K = Path("gsm8k") / "test.jsonl"
MT_BENCH = Path("mt-bench") / "question.jsonl"
CALCULATION = re.compile(r"<<.*?>>")
NUM_MADE_UP = 400

THINGS = ("apples", "marbles", "stamps", "candles", "ribbons", "tickets", "pencils", "shells")
PEOPLE = ("Nora", "Idris", "Yuki", "Carlos", "Freya", "Tariq", "Wen", "Olga")
TOPICS = ("tides", "bridges", "honey bees", "glaciers", "printing", "lighthouses", "salt", "tea", "maps", "clocks")
ASPECTS = (
    "how it works",
    "where it began",
    "why people care about it",
    "what it costs",
    "what is often misunderstood about it",
    "how it is taught to children",
)


@dataclass(frozen=True)
class Problem:
    """A question with a number as its answer, and how one gets there."""

    question: str
    solution: str
    answer: int

    @property
    def worked(self) -> str:
        return f"Question: {self.question}\nSolution: {self.solution}\nAnswer: {self.answer}\n\n"


@dataclass(frozen=True)
class Material:
    """source: in words. turns: what users say, each by itself."""

    source: str
    problems: list[Problem]
    turns: list[str]

    def some_problems(self, name: str, count: int) -> list[Problem]:
        """As many as wanted, others for another name."""
        return _some(self.problems, name, count)

    def some_turns(self, name: str, count: int) -> list[str]:
        return _some(self.turns, name, count)


def load(folder: Path | None) -> Material:
    """From a folder with gsm8k and mt-bench. Raises BenchmarkError if they are not there."""
    if folder is None:
        draw = random.Random("material")
        problems = [_made_up_problem(draw) for _ in range(NUM_MADE_UP)]
        return Material("made-up texts", problems, [_made_up_turn(draw) for _ in range(NUM_MADE_UP)])
    problems = [problem for row in _rows(folder / GSM8K) if (problem := _problem(row)) is not None]
    turns = [turn for row in _rows(folder / MT_BENCH) for turn in row["turns"]]
    return Material("GSM8K and MT-bench", problems, turns)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BenchmarkError(f"the data is not there: {error}; without --data texts are made up") from error
    return map(json.loads, lines)


def _problem(row: dict[str, Any]) -> Problem | None:
    """None for the few whose answer is no whole number."""
    solution, _, answer = row["answer"].partition("####")
    digits = answer.strip().replace(",", "")
    if not re.fullmatch(r"-?\d+", digits):
        return None
    return Problem(row["question"], CALCULATION.sub("", solution).strip(), int(digits))


def _made_up_problem(draw: random.Random) -> Problem:
    boxes, each, given = draw.randint(2, 30), draw.randint(2, 40), draw.randint(1, 20)
    person, other, thing = draw.choice(PEOPLE), draw.choice(PEOPLE), draw.choice(THINGS)
    question = (
        f"{person} has {boxes} boxes with {each} {thing} in each of them. On the way home she finds {given} more "
        f"{thing} in a drawer, and then she gives {other} half of one box. How many {thing} were there at first, with "
        "those from the drawer?"
    )
    solution = (
        f"The boxes hold {boxes} * {each} = {boxes * each} {thing}. With those from the drawer there are "
        f"{boxes * each} + {given} = {boxes * each + given} {thing}. What is given away later does not count."
    )
    return Problem(question, solution, boxes * each + given)


def _made_up_turn(draw: random.Random) -> str:
    topic, aspects = draw.choice(TOPICS), draw.sample(ASPECTS, 3)
    return (
        f"I am preparing a short talk about {topic} for {draw.randint(5, 90)} people who know little about it. Tell me "
        f"{aspects[0]}, {aspects[1]} and {aspects[2]}, in plain words, and give one example that {draw.choice(PEOPLE)} "
        "could try at home."
    )


def _some(all_of_them: list[Any], name: str, count: int) -> list[Any]:
    """Each once before any comes twice."""
    shuffled = random.Random(name).sample(all_of_them, len(all_of_them))
    return [shuffled[index % len(shuffled)] for index in range(count)]
