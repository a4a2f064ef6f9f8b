"""Which of two answers is better? A judge that says how sure it is, and how far to believe it.

    python -m examples.apps.judge                                       # the pairs below, on a model of its own
    python -m examples.apps.judge --pairs pairs.jsonl --base-url http://localhost:30000

Every pair is judged in both orders, because judges favour a place. `exact` select gives the probability of each
verdict, and the mean of both orders is the judge's. The report compares it with the human verdicts: accuracy,
calibration, and how much the order alone decides. A line of pairs.jsonl is {"question", "better", "worse"}.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel

import sglang as sgl

VERDICTS = [" 1", " 2"]

PROMPT = """Two answers to a question. Which one is better, 1 or 2?

Question: How many legs has a spider?
Answer 1: A spider has eight legs.
Answer 2: I like spiders.
Better: 1

Question: What is ice?
Answer 1: No idea, sorry.
Answer 2: Ice is frozen water.
Better: 2

"""


class Pair(BaseModel):
    """better: the answer that people prefer."""

    question: str
    better: str
    worse: str


PAIRS = [
    Pair(question=question, better=better, worse=worse)
    for question, better, worse in (
        ("What is the capital of Italy?", "The capital of Italy is Rome.", "Italy is a country."),
        ("How do I boil an egg?", "Put it into boiling water for eight minutes.", "Eggs come from hens."),
        ("Why is the sky blue?", "Air scatters blue light more than red light.", "Because it is not green."),
        ("What is 7 times 8?", "7 times 8 is 56.", "7 times 8 is 78."),
        ("Who wrote Hamlet?", "William Shakespeare wrote Hamlet.", "It was written a long time ago."),
        ("What is a mammal?", "An animal that feeds its young with milk.", "An animal."),
        ("When did the first man walk on the moon?", "In July 1969.", "In the future."),
        ("How far is the sun?", "About 150 million kilometres.", "It is far, far away from here."),
        ("What is a radix tree?", "A tree that stores shared prefixes once.", "A tree with green leaves."),
        ("What do plants need to grow?", "Light, water, air and soil.", "Nothing at all."),
        ("What is the opposite of hot?", "The opposite of hot is cold.", "The opposite of hot is hot."),
        ("What does a thermometer measure?", "It measures temperature.", "It is made of glass."),
    )
]


@sgl.function
def judge(s: sgl.ProgramState, question: str, first: str, second: str) -> float:
    """The probability that the first answer is better."""
    s += PROMPT + f"Question: {question}\nAnswer 1: {first}\nAnswer 2: {second}\nBetter:"
    s += sgl.select("verdict", VERDICTS, choices_method=sgl.exact)
    return float(s.get_meta_info("verdict")["choice_probabilities"][0])


@dataclass(frozen=True)
class Verdict:
    """when_first, when_second: the probability that the better answer wins, by the place it stands in."""

    pair: Pair
    when_first: float
    when_second: float

    @property
    def probability(self) -> float:
        return (self.when_first + self.when_second) / 2

    @property
    def confidence(self) -> float:
        return max(self.probability, 1 - self.probability)

    @property
    def is_right(self) -> bool:
        return self.probability > 0.5

    @property
    def is_consistent(self) -> bool:
        """Whether both orders say the same."""
        return (self.when_first > 0.5) == (self.when_second > 0.5)


def judge_all(pairs: Sequence[Pair]) -> list[Verdict]:
    """One batch of two programs a pair."""
    orders = [(pair.question, *answers) for pair in pairs for answers in _both_orders(pair)]
    firsts = [state.ret_value for state in judge.run_batch(orders)]
    return [
        Verdict(pair, first, 1 - swapped) for pair, first, swapped in zip(pairs, firsts[::2], firsts[1::2], strict=True)
    ]


def _both_orders(pair: Pair) -> tuple[tuple[str, str], tuple[str, str]]:
    return (pair.better, pair.worse), (pair.worse, pair.better)


@dataclass(frozen=True)
class Report:
    """Of one verdict or more."""

    verdicts: Sequence[Verdict]

    @property
    def accuracy(self) -> float:
        return fmean(verdict.is_right for verdict in self.verdicts)

    @property
    def consistency(self) -> float:
        return fmean(verdict.is_consistent for verdict in self.verdicts)

    @property
    def first_place(self) -> float:
        """The mean probability of the answer that stands first. Without a favourite place: 0.5."""
        return fmean((verdict.when_first + 1 - verdict.when_second) / 2 for verdict in self.verdicts)

    @property
    def brier_score(self) -> float:
        """The mean squared error of the probabilities: 0 is perfect, 0.25 is what saying 0.5 always has."""
        return fmean((1 - verdict.probability) ** 2 for verdict in self.verdicts)

    @property
    def calibration(self) -> list[tuple[float, list[Verdict]]]:
        """The verdicts by confidence, in steps of 0.1 from the bound that is given."""
        tenths = [min(int(verdict.confidence * 10), 9) for verdict in self.verdicts]
        return [
            (tenth / 10, [verdict for verdict, of in zip(self.verdicts, tenths, strict=True) if of == tenth])
            for tenth in sorted(set(tenths))
        ]

    def __str__(self) -> str:
        lines = [
            f"{len(self.verdicts)} pairs in both orders",
            f"accuracy {self.accuracy:.0%}, Brier score {self.brier_score:.3f}",
            f"the same verdict in both orders: {self.consistency:.0%}; the first place gets {self.first_place:.2f}",
            "confidence    pairs  mean confidence  right",
        ]
        lines += [
            f"{low:.1f} to {low + 0.1:.1f}    {len(found):5}  {fmean(one.confidence for one in found):15.2f}"
            f"  {fmean(one.is_right for one in found):5.0%}"
            for low, found in self.calibration
        ]
        return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", metavar="URL", help="a server, instead of a model of its own")
    parser.add_argument("--pairs", type=Path, metavar="FILE", help="one pair a line, as JSON, instead of the examples")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N pairs")
    given = parser.parse_args(arguments)
    pairs = PAIRS
    if given.pairs is not None:
        lines = given.pairs.read_text(encoding="utf-8").splitlines()
        pairs = [Pair.model_validate_json(line) for line in lines if line.strip()]
    if not pairs[: given.limit]:
        parser.error("there is no pair to judge")
    sgl.set_default_backend(sgl.RuntimeEndpoint(given.base_url) if given.base_url else sgl.Engine("smollm2"))
    verdicts = judge_all(pairs[: given.limit])
    print("probability that the better answer wins (where it stands first, where it stands second)")
    for verdict in verdicts:
        mark = "right" if verdict.is_right else "wrong"
        both = f"({verdict.when_first:.2f}, {verdict.when_second:.2f})"
        print(f"{verdict.probability:.2f} {mark} {both}  {verdict.pair.question}")
    print(Report(verdicts))


if __name__ == "__main__":
    main()
