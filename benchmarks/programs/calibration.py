"""What a prompt token and a new token cost a system, and the ratio of two systems that follows.

Two further programs are measured in every round: long prompts that are new, with one token after each, and long answers
to short prompts. A run of either is taken to last

    seconds = a * (prompt tokens that were not cached) + b * (new tokens)

which the medians of the two, and their tokens, determine a and b of. For another program, whose prompts have P tokens,
a part h of them cached, and N new tokens, this predicts

    T = a * P * (1 - h) + b * N        decode share = b * N / T        predicted ratio = T of the other / T of ours

It knows nothing of what waits for what, of constraints, or of scoring options, which our `select` does without new
tokens: where the measured ratio differs, one of these is why.
"""

from __future__ import annotations

from dataclasses import dataclass

import sglang as sgl
from benchmarks.programs.client import Client
from benchmarks.programs.counts import Counts
from benchmarks.programs.material import Material
from benchmarks.programs.program import LENGTH, Item, Program

NUM_PROBLEMS = 2
ANSWER_TOKENS = 64


def long_prompts(material: Material, name: str, count: int) -> list[Item]:
    problems = material.some_problems(name, NUM_PROBLEMS * count)
    return [
        {
            "prompt": f"Text {number} of {name}.\n"
            + "".join(problem.worked for problem in problems[number * NUM_PROBLEMS : (number + 1) * NUM_PROBLEMS]),
            "max_tokens": 1,
        }
        for number in range(count)
    ]


def long_answers(material: Material, name: str, count: int) -> list[Item]:
    return [{"prompt": f"Text {number} of {name}.\n", "max_tokens": ANSWER_TOKENS} for number in range(count)]


@sgl.function
def ours(s: sgl.ProgramState, prompt: str, max_tokens: int) -> None:
    s += prompt + sgl.gen("answer", max_tokens, **LENGTH)


async def theirs(client: Client, prompt: str, max_tokens: int) -> None:
    await client.complete(prompt, max_tokens)


PROMPTS = Program("calibration: long prompts", long_prompts, ours, theirs)
ANSWERS = Program("calibration: long answers", long_answers, ours, theirs)


@dataclass(frozen=True)
class Run:
    """Of one program on one system: how long all its inputs took together, and what they asked for."""

    seconds: float
    counts: Counts


@dataclass(frozen=True)
class Costs:
    """Seconds per token."""

    prompt_token: float
    new_token: float

    def predict(self, counts: Counts) -> Prediction | None:
        """None if the system does not say what was cached."""
        if counts.uncached is None:
            return None
        decoding = self.new_token * counts.new
        return Prediction(self.prompt_token * counts.uncached + decoding, decoding)


@dataclass(frozen=True)
class Prediction:
    seconds: float
    decode_seconds: float

    @property
    def decode_share(self) -> float:
        return self.decode_seconds / self.seconds


def costs(prompts: Run, answers: Run) -> Costs | None:
    """None if the two runs do not tell them apart, or do not say what was cached."""
    first, second = prompts.counts.uncached, answers.counts.uncached
    if first is None or second is None:
        return None
    determinant = first * answers.counts.new - second * prompts.counts.new
    if determinant == 0:
        return None
    prompt_token = (prompts.seconds * answers.counts.new - answers.seconds * prompts.counts.new) / determinant
    new_token = (first * answers.seconds - second * prompts.seconds) / determinant
    return Costs(prompt_token, new_token) if prompt_token > 0 and new_token > 0 else None
