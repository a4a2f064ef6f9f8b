"""Log-probabilities of chosen tokens after the last prompt tokens: every row answers once."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sglang.srt.messages import CandidateLogprobs, GenerateRequest
from tests.helpers.scheduling import VOCAB_SIZE, Bench, expected_candidate_logprobs, request


def scored(rid: str, prompt: list[int], num_rows: int, **fields: Any) -> GenerateRequest:
    """Three candidates after each of the last tokens, but none after every fourth."""
    candidates = [[(7 * i) % VOCAB_SIZE, i, i + 1] if (num_rows - i) % 4 != 3 else [] for i in range(num_rows)]
    return request(rid, prompt, max_new_tokens=0, candidates=candidates, **fields)


def answers(bench: Bench, rid: str) -> list[CandidateLogprobs]:
    return bench.finished[rid].candidate_logprobs or []


@pytest.mark.parametrize("budget", [1, 3, 64])
@pytest.mark.parametrize("num_rows", [1, 2, 9, 30])
def test_every_computed_row_answers_in_any_chunks(budget: int, num_rows: int) -> None:
    bench = Bench(budget=budget)
    message = scored("a", list(range(30)), num_rows)
    bench.add(message)
    bench.run()
    assert answers(bench, "a") == expected_candidate_logprobs(message)
    assert bench.executor.num_rows == 30


def test_what_is_in_the_cache_is_not_computed_and_not_answered_but_for_the_last_row() -> None:
    bench = Bench()
    bench.add(request("before", range(20), max_new_tokens=0))
    bench.run()
    before = bench.executor.num_rows
    messages = [scored("longer", list(range(26)), 12), scored("same", list(range(20)), 4)]
    bench.add(*messages)
    bench.run()
    longer, same = map(expected_candidate_logprobs, messages)
    assert answers(bench, "longer") == [answer for answer in longer if answer.position >= 20]
    assert answers(bench, "same") == [answer for answer in same if answer.position == 19]
    assert bench.executor.num_rows - before == 6 + 1


@pytest.mark.parametrize("seed", range(10))
def test_whoever_computes_a_common_row_answers_for_it(seed: int) -> None:
    """Requests with common beginnings, none of which is the beginning of another, in any order and any chunks."""
    rng = random.Random(seed)
    bench = Bench(budget=rng.choice([5, 64]), max_running=rng.choice([2, 16]))
    paths = [[*range(20), *(rng.randrange(3) for _ in range(6))] for _ in range(12)]
    unique = [list(path) for path in dict.fromkeys(map(tuple, paths))]
    messages = [scored(f"r{number}", path, 6) for number, path in enumerate(unique)]
    bench.add(*messages)
    bench.run()
    expected = {
        (*path[: answer.position + 1],): answer.logprobs
        for path, message in zip(unique, messages, strict=True)
        for answer in expected_candidate_logprobs(message)
    }
    found = [
        ((*path[: answer.position + 1],), answer.logprobs)
        for number, path in enumerate(unique)
        for answer in answers(bench, f"r{number}")
    ]
    assert dict(found) == expected and len(found) == len(expected)
    assert bench.executor.num_rows == len({(*path[:length],) for path in unique for length in range(1, 27)})
    bench.assert_baseline()


def test_who_asks_nothing_gets_no_list() -> None:
    bench = Bench()
    bench.add(request("plain", range(5)))
    bench.run()
    assert bench.finished["plain"].candidate_logprobs is None


def test_a_row_without_a_distribution_ends_its_request_only() -> None:
    bench = Bench()
    bench.executor.unscorable.add(299)
    sick = request("sick", range(5), max_new_tokens=0, candidates=[[299, 1]])
    well = scored("well", list(range(50, 60)), 2)
    bench.add(sick, well)
    bench.run()
    finish = bench.finished["sick"].finish
    assert finish is not None and finish.type == "abort"
    assert "what follows the input token at 4 has no probability" in str(finish.message)
    assert answers(bench, "well") == expected_candidate_logprobs(well)
    bench.assert_baseline()
