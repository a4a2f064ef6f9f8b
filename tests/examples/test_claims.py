"""The examples that show, with the engine's own numbers, what a document claims and has no code for."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

import sglang as sgl
from tests.examples.running import Run, run_here

CHI_SQUARE_OF_NINE = 27.9
"""One sample in a thousand is further off, with nine degrees of freedom."""


def run_on(engine: sgl.Engine, name: str) -> Run:
    """With an engine that is there already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sgl, "Engine", lambda model_path: nullcontext(engine))
        return run_here(name)


def test_prefixes_are_shared_without_loss(engine: sgl.Engine) -> None:
    run = run_on(engine, "000_12_radix_attention.py")
    first, second = (answer["meta_info"] for answer in run["shared"])
    guide = len(engine.tokenizer.encode(run["GUIDE"]))
    assert first["cached_tokens"] == 0
    assert guide <= second["cached_tokens"] < second["prompt_tokens"]
    assert [answer["meta_info"]["cached_tokens"] for answer in run["alone"]] == [0, 0]
    assert [answer["text"] for answer in run["shared"]] == [answer["text"] for answer in run["alone"]]


def test_radix_tree() -> None:
    run = run_here("001_13_radix_tree.py")
    assert run["inserted"] == {"A": (0, 200), "B": (100, 100), "C": (200, 200)}
    assert run["lengths"] == {"A": 200, "B": 100, "C": 400}
    assert len(run.lines) == 11


def test_savings_are_those_of_the_formula(engine: sgl.Engine) -> None:
    """And a little more: questions that begin alike share that too."""
    run = run_on(engine, "001_14_savings.py")
    prompts, shared_tokens = run["prompts"], run["P"]
    assert run["alone"]["computed_tokens"] == sum(map(len, prompts))
    assert run["alone"] == run["alone"] | {"evictable_tokens": run["alone"]["computed_tokens"]}
    assert run["shared"]["computed_tokens"] == run["shared"]["evictable_tokens"]
    assert run["formula"] == pytest.approx(1 - (shared_tokens + sum(run["own"])) / sum(map(len, prompts)))
    assert run["formula"] <= run["memory"] == run["computed"] < run["formula"] + 0.05
    assert 0.5 < run["work"] < run["formula"], "the questions' own work grows with what stands before them"
    assert run["attention_work"](10) == 2 * 10 * 64 * (10 + 64)


def test_constraint_renormalises(engine: sgl.Engine) -> None:
    run = run_on(engine, "001_15_constrained_sampling.py")
    expected, counts, draws = run["expected"], run["counts"], run["DRAWS"]
    assert sorted(expected) == list("0123456789")
    assert counts.total() == draws and counts.keys() <= expected.keys()
    distance = sum((counts[digit] - draws * p) ** 2 / (draws * p) for digit, p in expected.items())
    assert distance < CHI_SQUARE_OF_NINE


def test_only_new_tokens_cost(engine: sgl.Engine) -> None:
    first, second, repeated = run_on(engine, "001_17_scheduling.py")["rows"]
    for row in (first, second, repeated):
        assert row["computed"] == row["prompt"] - row["from cache"] + row["generated"] - 1
    assert first["from cache"] == 0 < second["from cache"] < second["prompt"]
    assert first["new in cache"] == first["computed"]
    assert second["new in cache"] == second["computed"]
    assert repeated["from cache"] == repeated["prompt"] - 1
    assert repeated["new in cache"] == 0
