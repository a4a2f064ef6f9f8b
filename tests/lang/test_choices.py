"""The rules of `select`, against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.choices import ChoicesSamplingMethod, mean_logprob


def decide(method: ChoicesSamplingMethod, rows: dict[str, list[Any]], alone: dict[str, list[Any]] | None = None) -> Any:
    """Rows are log-probabilities, or pairs of one and a token id; without an id every token is another one."""
    tokens = {choice: _tokens(choice, row) for choice, row in rows.items()}
    return method(
        choices=list(tokens),
        normalized_prompt_logprobs=[mean_logprob(row) for row in tokens.values()],
        input_token_logprobs=list(tokens.values()),
        output_token_logprobs=[[] for _ in tokens],
        unconditional_token_logprobs=None if alone is None else [_tokens(choice, alone[choice]) for choice in tokens],
    )


def _tokens(choice: str, row: list[Any]) -> list[Any]:
    return [item if isinstance(item, tuple) else (item, hash((choice, place))) for place, item in enumerate(row)]


def test_mean_leaves_out_tokens_without_a_logprob() -> None:
    assert mean_logprob([(None, 1), (-1.0, 2), (-3.0, 3)]) == -2.0
    assert mean_logprob([(0.0, 1), (-3.0, 3)]) == -1.5
    assert mean_logprob([(None, 1)]) == -math.inf


def test_token_length_normalized() -> None:
    found = decide(sgl.token_length_normalized, {"a": [-1.0], "b": [-0.5, -1.0], "c": [-0.25, -3.0]})
    assert found.decision == "b"
    assert found.meta_info["normalized_prompt_logprobs"] == [-1.0, -0.75, -1.625]
    assert found.meta_info.keys() == {"normalized_prompt_logprobs", "input_token_logprobs", "output_token_logprobs"}


def test_the_first_of_equals_wins() -> None:
    for method in (sgl.token_length_normalized, sgl.greedy_token_selection):
        assert decide(method, {"a": [-1.0], "b": [-1.0]}).decision == "a"


@pytest.mark.parametrize(
    ("rows", "decision", "matrix"),
    [
        ({"a": [-1.0, -9.0], "b": [-2.0, 0.0]}, "a", [[-1.0, -9.0], [-2.0, 0.0]]),
        ({"a": [(-1.0, 7), -9.0], "b": [(-1.0, 7), -2.0]}, "b", [[-1.0, -9.0], [-1.0, -2.0]]),
        ({"a": [(-1.0, 7), -3.0], "b": [(-1.0, 7)]}, "b", [[-1.0, -3.0], [-1.0, -1.0]]),
        ({"a": [(-1.0, 7)], "b": [(-1.0, 7), -0.5]}, "b", [[-1.0, -1.0], [-1.0, -0.5]]),
        ({"a": [(-1.0, 7), -9.0], "b": [(-1.000001, 7), -2.0]}, "b", [[-1.0, -9.0], [-1.000001, -2.0]]),
    ],
    ids=["first token", "second token", "shorter by its mean", "longer", "rounding"],
)
def test_greedy_token_selection(rows: dict[str, list[Any]], decision: str, matrix: list[list[float]]) -> None:
    found = decide(sgl.greedy_token_selection, rows)
    assert (found.decision, found.meta_info["greedy_logprob_matrix"]) == (decision, matrix)


def test_unconditional_likelihood_normalized() -> None:
    """'the' is likely anyway; 'Oslo' is what the prompt adds."""
    rows, alone = {"the": [-1.0, -1.0], "Oslo": [-2.0, -2.0]}, {"the": [None, -0.5], "Oslo": [None, -6.0]}
    method = sgl.unconditional_likelihood_normalized
    found = decide(method, rows, alone)
    assert found.decision == "Oslo"
    assert found.meta_info["normalized_unconditional_prompt_logprobs"] == [(-1.0 - 0.5) / 2, (-2.0 + 4.0) / 2]
    assert method.requires_unconditional_logprobs
    with pytest.raises(ValueError, match="needs unconditional_token_logprobs"):
        decide(method, rows)
