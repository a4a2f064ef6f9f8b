"""From the masses of token sequences to those of choices, and what is still open."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import pytest

from sglang.srt.select.exact import decide
from sglang.srt.select.masses import ChoiceMass, OpenMass

NUM_CHOICES = 4


@dataclass
class Sequence:
    """One of a tree of token sequences: its mass, the choice it spells, and those that go on from it."""

    mass: float
    choice: int | None
    children: list[Sequence] = field(default_factory=list)


def random_tree(rng: random.Random, mass: float = 1.0, depth: int = 0) -> Sequence:
    """Part of the mass of each sequence goes to others that lead to no choice. The first tokens spell one."""
    choice = rng.randrange(NUM_CHOICES) if depth == 1 or (depth and rng.random() < 0.5) else None
    node = Sequence(mass, choice)
    parts = [rng.random() for _ in range(rng.randrange(3) + 2)]
    for part in parts[1:] if depth < 4 else ():
        node.children.append(random_tree(rng, mass * part / sum(parts), depth + 1))
    return node


def outcomes(node: Sequence, last: int | None = None) -> list[float]:
    """The probability that each choice is the last one spelled, by going through the whole tree."""
    last = last if node.choice is None else node.choice
    found = [0.0] * NUM_CHOICES
    stays = node.mass - sum(child.mass for child in node.children)
    if last is not None:
        found[last] += stays
    for child in node.children:
        found = [mine + its for mine, its in zip(found, outcomes(child, last), strict=True)]
    return found


def ahead(node: Sequence) -> set[int]:
    below = [{child.choice} | ahead(child) for child in node.children]
    return {choice for one in below for choice in one if choice is not None}


def explore(
    node: Sequence, mass: ChoiceMass, share: float, rng: random.Random, last: int | None = None
) -> list[OpenMass]:
    """Follow a part of the tree. What is left open."""
    opened = []
    for child in node.children:
        logprob = math.log(child.mass)
        complete = last
        if child.choice is not None:
            if child.choice != last:
                mass.add(child.choice, logprob, last)
            complete = child.choice
        if rng.random() < share:
            opened += explore(child, mass, share, rng, complete)
        elif below := ahead(child):
            opened.append(OpenMass(logprob, complete, sorted(below)))
    return opened


@pytest.mark.parametrize("seed", range(60))
def test_the_truth_is_within_the_bounds(seed: int) -> None:
    rng = random.Random(seed)
    tree = random_tree(rng)
    truth = outcomes(tree)
    expected = [mass / math.fsum(truth) for mass in truth]
    for share in (0.3, 0.7, 1.0):
        mass = ChoiceMass(NUM_CHOICES)
        opened = explore(tree, mass, share, rng)
        unexplored = mass.unexplored(opened)
        for found, (low, high), one in zip(mass.shares(), mass.bounds(opened), expected, strict=True):
            assert low - 1e-12 <= one <= high + 1e-12
            assert abs(found - one) <= unexplored + 1e-12
        if not opened:
            assert mass.shares() == pytest.approx(expected)
            assert unexplored == 0.0
            assert mass.unexplored([]) == 0.0


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("limit", [0.0, 0.01, 0.2, 1.0])
def test_as_many_are_followed_as_it_takes(seed: int, limit: float) -> None:
    rng = random.Random(seed)
    mass = ChoiceMass(NUM_CHOICES)
    opened = explore(random_tree(rng), mass, 0.5, rng)
    opened.sort(key=lambda one: -one.logprob)
    needed = mass.num_to_follow(opened, limit)
    assert mass.unexplored(opened[needed:]) <= limit
    assert needed == 0 or mass.unexplored(opened[needed - 1 :]) > limit


def test_a_longer_choice_takes_from_the_shorter_one_before_it() -> None:
    mass = ChoiceMass(2)
    mass.add(0, math.log(0.5), None)
    mass.add(1, math.log(0.4), 0)
    assert mass.shares() == pytest.approx([0.2, 0.8])
    assert mass.logprobs() == pytest.approx([math.log(0.1), math.log(0.4)])


def test_masses_far_below_the_smallest_float_keep_their_ratio() -> None:
    mass = ChoiceMass(3)
    mass.add(0, -2000.0, None)
    mass.add(1, -2001.0, None)
    assert mass.shares() == pytest.approx([math.e / (1 + math.e), 1 / (1 + math.e), 0.0])
    assert mass.logprobs() == [-2000.0, pytest.approx(-2001.0), None]
    assert mass.unexplored([OpenMass(-1.0, None, [2])]) == pytest.approx(1.0)
    assert mass.bounds([OpenMass(-1.0, None, [2])])[2] == pytest.approx((0.0, 1.0))


def test_nothing_is_known_at_the_beginning() -> None:
    mass = ChoiceMass(2)
    assert (mass.shares(), mass.logprobs()) == ([0.0, 0.0], [None, None])
    assert mass.unexplored([OpenMass(0.0, None, [0, 1])]) == 1.0
    assert mass.bounds([OpenMass(0.0, None, [0, 1])]) == [(0.0, 1.0), (0.0, 1.0)]


@pytest.mark.parametrize(
    ("temperature", "u", "index"),
    [
        (0.0, 0.9, 1),
        (1.0, 0.0, 0),
        (1.0, 0.19, 0),
        (1.0, 0.21, 1),
        (1.0, 0.71, 3),
        (1.0, 1 - 2**-53, 3),
        (0.01, 0.99, 1),
        (1e300, 0.3, 0),
        (1e300, 0.35, 1),
        (1e300, 0.99, 3),
    ],
)
def test_decisions(temperature: float, u: float, index: int) -> None:
    assert decide([0.2, 0.5, 0.0, 0.3], temperature, u) == index


def test_of_equals_the_first() -> None:
    assert decide([0.25, 0.25, 0.5, 0.5], 0.0, 0.7) == 2
