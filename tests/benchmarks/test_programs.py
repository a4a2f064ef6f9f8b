"""Prompts and programs: the same for every system, and sharing what they should share."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from benchmarks.extraction import EXAMPLE, SCHEMA, is_valid, prompts
from benchmarks.prompts import Prompts
from benchmarks.systems.base import Answer, Request
from benchmarks.token_programs import Exchange, FewShot, MultiTurn, Program, SelfConsistency, Tree, cached_share
from tests.benchmarks.fakes import FakeEndpoint

VOCAB = 1000
NEW = 4


def last_token(request: Request) -> Answer:
    return Answer([request.prompt[-1]] * request.new_tokens, cached_tokens=len(request.prompt) // 2)


def run(program: Program) -> FakeEndpoint:
    endpoint = FakeEndpoint(last_token)
    exchanges = asyncio.run(program.run(endpoint, Prompts(VOCAB, "test")))
    assert sorted(list(exchange.prompt) for exchange in exchanges) == sorted(
        list(request.prompt) for request in endpoint.requests
    )
    return endpoint


def test_prompts_depend_on_their_name_only() -> None:
    assert Prompts(VOCAB, "a").batch(2, 50) == Prompts(VOCAB, "a").batch(2, 50)
    assert Prompts(VOCAB, "a").tokens(50) != Prompts(VOCAB, "b").tokens(50)


def test_a_part_does_not_depend_on_what_was_drawn_before() -> None:
    source = Prompts(VOCAB, "a")
    before = source.part(1).tokens(20)
    source.tokens(7)
    assert source.part(1).tokens(20) == before != source.part(2).tokens(20)


@pytest.mark.parametrize("vocab_size", [257, 49_152])
def test_prompts_have_ordinary_tokens_only(vocab_size: int) -> None:
    tokens = Prompts(vocab_size, "a").tokens(5000)
    assert vocab_size // 100 < min(tokens)
    assert max(tokens) < vocab_size - 1


def test_few_shot_shares_its_examples_and_nothing_else() -> None:
    asked = [request.prompt for request in run(FewShot(5, examples_tokens=30, question_tokens=6)).requests]
    assert len({tuple(prompt[:30]) for prompt in asked}) == 1
    assert len({tuple(prompt[30:]) for prompt in asked}) == 5
    assert {len(prompt) for prompt in asked} == {36}


def test_a_turn_goes_on_from_all_that_was_said() -> None:
    asked = [request.prompt for request in run(MultiTurn(1, turns=3, turn_tokens=5, new_tokens=NEW)).requests]
    for earlier, later in itertools.pairwise(asked):
        said = [*earlier, *[earlier[-1]] * NEW]
        assert list(later[: len(said)]) == said
        assert len(later) == len(said) + 5


def test_a_tree_grows_from_every_answer() -> None:
    asked = [request.prompt for request in run(Tree(2, 3, root_tokens=10, step_tokens=2, new_tokens=NEW)).requests]
    first, second = ([prompt for prompt in asked if len(prompt) == length] for length in (12, 12 + NEW + 2))
    assert (len(first), len(second)) == (3, 9)
    grown = {(*prompt, *[prompt[-1]] * NEW) for prompt in first}
    assert {tuple(prompt[: 12 + NEW]) for prompt in second} == grown


def test_samples_repeat_their_question() -> None:
    asked = [tuple(request.prompt) for request in run(SelfConsistency(2, samples=3, question_tokens=9)).requests]
    assert sorted(asked.count(prompt) for prompt in set(asked)) == [3, 3]


def test_cached_share_is_of_all_prompt_tokens() -> None:
    exchanges = [Exchange([1] * 10, Answer([1], 5)), Exchange([1] * 30, Answer([1], 5))]
    assert cached_share(exchanges) == 0.25
    assert cached_share([*exchanges, Exchange([1], Answer([1]))]) is None


def test_json_is_judged_by_the_schema() -> None:
    assert is_valid(str(EXAMPLE).replace("'", '"').replace("True", "true"))
    assert not is_valid("{")
    assert not is_valid('{"full_name": "A"}')
    assert set(SCHEMA["required"]) == EXAMPLE.keys()


def test_texts_depend_on_their_name_only() -> None:
    assert prompts(3, "a") == prompts(3, "a") != prompts(3, "b")
