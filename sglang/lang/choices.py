"""How `select` decides: rules that rank given choices by the log-probabilities of their tokens.

A rule is pure. A backend scores the choices, hands the numbers over by keyword, and gives the decision back.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

TokenLogprob = Sequence[Any]
"""(log-probability or None, token id, ...), as the native API reports a token. None: nothing stands before it."""


@dataclass(frozen=True, slots=True)
class ChoicesDecision:
    """The choice, and the numbers it rests on, per choice and in the order in which the choices were given."""

    decision: str
    meta_info: dict[str, Any] = field(default_factory=dict)


def mean_logprob(tokens: Sequence[TokenLogprob]) -> float:
    """The mean over the tokens that have a log-probability; minus infinity if none has."""
    logprobs = [float(token[0]) for token in tokens if token[0] is not None]
    return math.fsum(logprobs) / len(logprobs) if logprobs else -math.inf


class ChoicesSamplingMethod(ABC):
    """One rule. Of choices that it ranks alike, the one given first wins."""

    requires_unconditional_logprobs = False
    """Whether it needs the log-probabilities of the choices on their own, without the prompt."""

    @abstractmethod
    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Sequence[Sequence[TokenLogprob]],
        output_token_logprobs: Sequence[Any],
        unconditional_token_logprobs: Sequence[Sequence[TokenLogprob]] | None = None,
    ) -> ChoicesDecision:
        """Every sequence has one item per choice. normalized_prompt_logprobs: the mean over the choice's tokens.

        input_token_logprobs: the tokens of the choice, after the prompt. Raises ValueError if the log-probabilities
        without the prompt are missing where they are required.
        """

    def __repr__(self) -> str:
        return type(self).__name__


class TokenLengthNormalized(ChoicesSamplingMethod):
    """The highest mean log-probability per token."""

    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Sequence[Sequence[TokenLogprob]],
        output_token_logprobs: Sequence[Any],
        unconditional_token_logprobs: Sequence[Sequence[TokenLogprob]] | None = None,
    ) -> ChoicesDecision:
        return ChoicesDecision(
            choices[_argmax(normalized_prompt_logprobs)],
            _meta_info(normalized_prompt_logprobs, input_token_logprobs, output_token_logprobs),
        )


class GreedyTokenSelection(ChoicesSamplingMethod):
    """Token by token, only the choices with the most likely next token stay; a shorter one goes on with its mean."""

    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Sequence[Sequence[TokenLogprob]],
        output_token_logprobs: Sequence[Any],
        unconditional_token_logprobs: Sequence[Sequence[TokenLogprob]] | None = None,
    ) -> ChoicesDecision:
        matrix = _padded(input_token_logprobs)
        meta_info = _meta_info(normalized_prompt_logprobs, input_token_logprobs, output_token_logprobs)
        return ChoicesDecision(
            choices[_greedy_row(matrix, input_token_logprobs)], {**meta_info, "greedy_logprob_matrix": matrix}
        )


class UnconditionalLikelihoodNormalized(ChoicesSamplingMethod):
    """The highest mean of what the prompt adds to each token's log-probability, so common words have no advantage."""

    requires_unconditional_logprobs = True

    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Sequence[Sequence[TokenLogprob]],
        output_token_logprobs: Sequence[Any],
        unconditional_token_logprobs: Sequence[Sequence[TokenLogprob]] | None = None,
    ) -> ChoicesDecision:
        if unconditional_token_logprobs is None:
            raise ValueError(f"{self!r} needs unconditional_token_logprobs")
        gains = list(map(_mean_gain, input_token_logprobs, unconditional_token_logprobs))
        meta_info = _meta_info(normalized_prompt_logprobs, input_token_logprobs, output_token_logprobs)
        meta_info["unconditional_token_logprobs"] = unconditional_token_logprobs
        meta_info["normalized_unconditional_prompt_logprobs"] = gains
        return ChoicesDecision(choices[_argmax(gains)], meta_info)


@dataclass(frozen=True, slots=True)
class Exact:
    """How likely is each choice as a text, however it is cut into tokens? The runtime answers, not a rule.

    The event: the model goes on after the prompt, and some of its first tokens spell a choice exactly. If it goes on to
    spell a longer one, that is what it has said; so "1" and "10" exclude each other. Its probability is summed over all
    token sequences, also those whose first token begins in the last text of the prompt, and given that it is one of the
    choices. What the model generated before stays as it is.

    temperature: 0 takes the most likely choice; above, one is drawn from the probabilities to the power of
    1 / temperature, by `sampling_seed` (None: a new one, reported). max_unexplored_mass: the share of the probability
    that may be left unexplored, 0 for none. max_rows: how many tokens may be computed for it beside the usual spelling
    of every choice. None: as the runtime has it.

    The meta info has ``choice_probabilities``, which add up to 1; ``choice_bounds``, between which each lies for sure;
    ``unexplored_mass``; and ``choice_logprobs``, before that normalisation, and including what of the prompt's text was
    spelled anew (``respelled_tokens``). ``select_rows`` is how many tokens were computed: at most those of the prompt
    that were not in the cache, those of the ``trie_nodes`` that were not among the ``cached_nodes``, and one more.
    """

    max_unexplored_mass: float | None = None
    max_rows: int | None = None
    temperature: float = 0.0
    sampling_seed: int | None = None

    def drawing(self, temperature: float, sampling_seed: int | None) -> Exact:
        """The same with these, where they are given: a temperature above 0, a seed."""
        return replace(
            self,
            temperature=temperature or self.temperature,
            sampling_seed=self.sampling_seed if sampling_seed is None else sampling_seed,
        )

    def given(self) -> dict[str, Any]:
        """What is not None, by name."""
        return {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}

    def __repr__(self) -> str:
        changed = {name: value for name, value in self.given().items() if value != 0.0 or name != "temperature"}
        return f"Exact({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


ChoicesMethod = ChoicesSamplingMethod | Exact

exact = Exact()
token_length_normalized = TokenLengthNormalized()
greedy_token_selection = GreedyTokenSelection()
unconditional_likelihood_normalized = UnconditionalLikelihoodNormalized()


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda index: values[index])


def _meta_info(normalized: Sequence[float], inputs: Sequence[Any], outputs: Sequence[Any]) -> dict[str, Any]:
    return {
        "normalized_prompt_logprobs": normalized,
        "input_token_logprobs": inputs,
        "output_token_logprobs": outputs,
    }


def _padded(tokens_of_choices: Sequence[Sequence[TokenLogprob]]) -> list[list[float]]:
    """One row of log-probabilities per choice, all of one length: what is missing is the mean of the row."""
    width = max(map(len, tokens_of_choices))
    rows = []
    for tokens in tokens_of_choices:
        mean = mean_logprob(tokens)
        row = [mean if token[0] is None else float(token[0]) for token in tokens]
        rows.append(row + [mean] * (width - len(row)))
    return rows


def _greedy_row(matrix: Sequence[Sequence[float]], tokens_of_choices: Sequence[Sequence[TokenLogprob]]) -> int:
    """The row left when, column by column, only those with the highest value stay.

    Equal beginnings of choices may be scored apart by a rounding error, so the same token counts as the same value.
    """

    def token_id(row: int, column: int) -> int | None:
        tokens = tokens_of_choices[row]
        return tokens[column][1] if column < len(tokens) else None

    left = list(range(len(matrix)))
    for column in range(len(matrix[0])):
        best = max(left, key=lambda row: matrix[row][column])
        token = token_id(best, column)
        left = [
            row
            for row in left
            if matrix[row][column] == matrix[best][column] or (token is not None and token_id(row, column) == token)
        ]
    return left[0]


def _mean_gain(conditional: Sequence[TokenLogprob], unconditional: Sequence[TokenLogprob]) -> float:
    """The first token on its own has no log-probability: that counts as 0."""
    gains = [
        (with_prompt[0] or 0.0) - (without[0] or 0.0)
        for with_prompt, without in zip(conditional, unconditional, strict=True)
    ]
    return math.fsum(gains) / len(gains) if gains else -math.inf
