"""`select` by exact probabilities, as far as the language goes: what it takes, and what reaches the backend."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

import sglang as sgl
from sglang.lang import ir
from sglang.lang.backends.base import Backend, Prompt
from sglang.lang.choices import ChoicesDecision
from sglang.srt.errors import ProgramError, UnsupportedError
from tests.lang.conftest import UseMock


class Recording(Backend):
    """Takes the first choice."""

    def __init__(self) -> None:
        self.asked: list[sgl.Exact] = []

    async def select_exact(self, prompt: Prompt, choices: Any, exact: sgl.Exact) -> ChoicesDecision:
        self.asked.append(exact)
        return ChoicesDecision(choices[0])


@sgl.function
def program(s: Any, select: ir.Select) -> None:
    s += "Q:" + select


def asked(select: ir.Select, **options: Any) -> sgl.Exact:
    backend = Recording()
    assert program.run(select, backend=backend, **options).text() == "Q:a"
    (exact,) = backend.asked
    return exact


def test_what_is_asked_for() -> None:
    def select(**options: Any) -> ir.Select:
        return sgl.select("x", ["a", "b"], **{"choices_method": sgl.exact, **options})

    assert asked(select()) == sgl.exact == sgl.Exact()
    assert asked(select(temperature=0.5)) == sgl.Exact(temperature=0.5)
    assert asked(select(choices_method=sgl.Exact(max_rows=9))) == sgl.Exact(max_rows=9)
    assert asked(select(choices_method=sgl.Exact(temperature=2.0))) == sgl.Exact(temperature=2.0)
    assert asked(select(temperature=1.0, sampling_seed=0)) == sgl.Exact(temperature=1.0, sampling_seed=0)
    assert asked(select(temperature=1.0), sampling_seed=4) == sgl.Exact(temperature=1.0, sampling_seed=4)
    assert asked(select(temperature=1.0, sampling_seed=5), sampling_seed=4).sampling_seed == 5
    assert asked(select(), temperature=0.9) == sgl.exact, "a run's temperature is that of gen"


def test_of_a_single_choice_it_says_how_likely_it_is(mock: sgl.Mock) -> None:
    """Another method has nothing to decide then, and asks nobody."""
    state = program.run(sgl.select("x", ["a"], choices_method=sgl.exact))
    assert state.get_meta_info("x")["choice_probabilities"] == [1.0]
    (node,) = state.trace().requests
    assert node.title == "select x"
    other = program.run(sgl.select("x", ["a"]))
    assert (other["x"], other.get_meta_info("x"), other.trace().requests, len(mock.requests)) == ("a", {}, [], 1)


def test_choices_differ() -> None:
    with pytest.raises(ValueError, match="the choice 'a' is given 2 times; for exact all must differ"):
        sgl.select("x", ["a", "b", "a"], choices_method=sgl.exact)
    assert sgl.select("x", ["a", "b", "a"]).choices == ("a", "b", "a")


def test_gen_with_choices_is_the_same() -> None:
    generated = sgl.gen("x", choices=["a", "b"], choices_method=sgl.exact, temperature=0.5, sampling_seed=3)
    assert generated == sgl.select("x", ["a", "b"], 0.5, sgl.exact, sampling_seed=3)


def test_its_name() -> None:
    assert repr(sgl.exact) == "Exact()"
    assert repr(sgl.Exact(max_rows=5, temperature=0.5)) == "Exact(max_rows=5, temperature=0.5)"
    assert "choices_method=Exact()" in repr(sgl.select("x", ["a", "b"], choices_method=sgl.exact))


def test_only_exact_takes_a_temperature() -> None:
    with pytest.raises(ValueError, match=r"select takes no temperature, but 0.5 .*choices_method=sgl.exact draws"):
        sgl.select("x", ["a", "b"], temperature=0.5)
    for temperature in (-1, float("nan")):
        with pytest.raises(ValueError, match=f"select takes no temperature, but {temperature} is given"):
            sgl.select("x", ["a", "b"], temperature=temperature)
    with pytest.raises(TypeError, match="temperature must be a number"):
        sgl.select("x", ["a", "b"], temperature="hot", choices_method=sgl.exact)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"choices_method must be sgl\.token_length_normalized, .* or sgl\.exact, not"):
        sgl.select("x", ["a", "b"], choices_method="exact")  # type: ignore[arg-type]


def test_a_backend_that_cannot_refuses_by_name() -> None:
    select = sgl.select("x", ["a", "b"], choices_method=sgl.exact)
    with pytest.raises(ProgramError, match="Backend does not support choices_method=exact") as caught:
        program.run(select, backend=Backend()).text()
    assert isinstance(caught.value.__cause__, UnsupportedError)


def test_the_mock_decides_and_draws(use_mock: UseMock) -> None:
    mock = use_mock(scores={"yes": [-2.0, -1.0], "no": [-1.0]})
    decided = asyncio.run(mock.select_exact(Prompt("Q", ("Q",)), ["yes", "no"], sgl.exact))
    weights = [math.exp(-3.0), math.exp(-1.0)]
    assert decided.decision == "no"
    assert decided.meta_info["choice_probabilities"] == pytest.approx([weight / sum(weights) for weight in weights])
    drawn = [
        asyncio.run(
            mock.select_exact(Prompt("Q", ("Q",)), ["yes", "no"], sgl.Exact(temperature=5.0, sampling_seed=seed))
        ).decision
        for seed in (*range(20), *range(20))
    ]
    assert drawn[:20] == drawn[20:] and set(drawn) == {"yes", "no"}
