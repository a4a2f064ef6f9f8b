"""From log-probabilities to a choice: which tokens are the choice's own, and what a choices method makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sglang.lang.choices import ChoicesDecision, ChoicesSamplingMethod, mean_logprob
from sglang.srt.errors import InvalidRequestError, shown

LogprobRow = tuple[float | None, Any, str | None]
"""Log-probability, identity and text of a token. The first token of all has no log-probability."""


def tokens_of_choice(choice: str, whole: Sequence[LogprobRow], before: Sequence[LogprobRow]) -> list[LogprobRow]:
    """The tokens that stand for `choice` after a prompt.

    whole: the tokens of the prompt with the choice; before: of the prompt alone; both from the same position. What they
    share at their beginning is the prompt's. The rest is the choice's, also a token that began in the prompt and
    swallowed the beginning of the choice.
    Raises InvalidRequestError if nothing is left that has a log-probability.
    """
    num_shared = 0
    for (_, token, _), (_, same, _) in zip(whole, before, strict=False):
        if token != same:
            break
        num_shared += 1
    own = [row for row in whole[num_shared:] if row[0] is not None]
    if not own:
        raise InvalidRequestError(
            f"the choice {shown(choice)} cannot be scored: it adds no token that comes after another one; "
            "a choice must not be empty, and the prompt before it should be longer than a token"
        )
    return own


def decide(
    method: ChoicesSamplingMethod,
    choices: Sequence[str],
    rows: Sequence[Sequence[LogprobRow]],
    outputs: Sequence[Sequence[Any]],
    unconditional: Sequence[Sequence[LogprobRow]] | None,
) -> ChoicesDecision:
    """rows: the choices' own tokens; outputs: what was generated after them; unconditional: with nothing before."""
    return method(
        choices=list(choices),
        normalized_prompt_logprobs=[mean_logprob(row) for row in rows],
        input_token_logprobs=[list(row) for row in rows],
        output_token_logprobs=[list(row) for row in outputs],
        unconditional_token_logprobs=None if unconditional is None else [list(row) for row in unconditional],
    )
