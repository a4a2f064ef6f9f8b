"""Engine and server as backends: the same answers from both, and nothing computed twice."""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

import sglang as sgl
from sglang.lang.backends.base import Prompt
from sglang.lang.backends.engine import EngineBackend
from sglang.lang.backends.native import NativeBackend
from sglang.lang.backends.runtime_endpoint import RuntimeEndpoint
from sglang.lang.choices import (
    ChoicesSamplingMethod,
    greedy_token_selection,
    token_length_normalized,
    unconditional_likelihood_normalized,
)
from sglang.lang.ir import SamplingArguments
from sglang.srt.errors import InvalidRequestError, UnsupportedError
from tests.helpers.runtime import SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="session")

GREEDY = SamplingArguments(max_new_tokens=16, temperature=0.0, ignore_eos=True)
LONG = SamplingArguments(max_new_tokens=90_000, temperature=0.0, ignore_eos=True)
"""Of a tiny model: takes minutes."""

METHODS = (token_length_normalized, greedy_token_selection, unconditional_likelihood_normalized)


def text_prompt(text: str) -> Prompt:
    return Prompt(text, (text,))


async def num_running(backend: NativeBackend) -> int:
    (state,) = backend.get_server_info()["internal_states"]
    return int(state["num_running"]) + int(state["num_waiting"])


async def reach(backend: NativeBackend, wanted: int) -> None:
    async def polled() -> None:
        while await num_running(backend) != wanted:
            await asyncio.sleep(0.005)

    await asyncio.wait_for(polled(), SECONDS)


# --- gen --------------------------------------------------------------------------------------------------------------


async def test_the_text_is_the_engine_s(backend: NativeBackend, tiny_engine: sgl.Engine) -> None:
    expected = tiny_engine.generate("Once", {"max_new_tokens": 16, "temperature": 0.0, "ignore_eos": True})
    (generated,) = await backend.generate(text_prompt("Once"), GREEDY)
    assert (generated.text, generated.segments) == (expected["text"], (tuple(expected["output_ids"]),))
    assert generated.meta_info["finish_reason"] == {"type": "length", "length": 16}


async def test_a_stream_grows_to_the_whole(backend: NativeBackend) -> None:
    (whole,) = await backend.generate(text_prompt("A stream"), GREEDY)
    async with aclosing(backend.stream(text_prompt("A stream"), GREEDY)) as items:
        grown = [item async for item in items]
    for item, later in pairwise(grown):
        assert later.text.startswith(item.text)
    assert (grown[-1].text, grown[-1].segments) == (whole.text, whole.segments)
    assert grown[-1].meta_info["finish_reason"] == whole.meta_info["finish_reason"]


async def test_thoughts_are_told_apart(backend: NativeBackend) -> None:
    """What one format takes for an endless thought is an answer in another, which has no mark there."""
    prompt = text_prompt("Let me think")
    (whole,) = await backend.generate(prompt, GREEDY)
    (thought,) = await backend.generate(prompt, replace(GREEDY, separate_reasoning="deepseek-r1"))
    assert (thought.text, thought.meta_info["reasoning_content"]) == ("", whole.text.strip())
    (answer,) = await backend.generate(prompt, replace(GREEDY, separate_reasoning="qwen3"))
    assert (answer.text, answer.meta_info["reasoning_content"]) == (whole.text, "")


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"separate_reasoning": "auto"}, "separate_reasoning=True: .*name one in reasoning_parser: deepseek-r1, "),
        ({"separate_reasoning": "qwen"}, "separate_reasoning='qwen': .*reasoning.parser"),
    ],
)
async def test_thoughts_in_no_known_format(backend: NativeBackend, sampling: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        await backend.generate(text_prompt("Let me think"), replace(GREEDY, **sampling))


async def test_a_constraint_leaves_no_room_for_thoughts(backend: NativeBackend) -> None:
    sampling = SamplingArguments(regex="a+", separate_reasoning="qwen3")
    with pytest.raises(UnsupportedError, match="separate_reasoning cannot be had with regex here"):
        await backend.generate(text_prompt("Let me think"), sampling)


async def test_going_on_computes_only_what_is_new(backend: NativeBackend) -> None:
    backend.flush_cache()
    (first,) = await backend.generate(text_prompt("Question one."), GREEDY)
    text, segments = "Question one." + first.text + "And then?", ("Question one.", *first.as_segments, "And then?")
    (second,) = await backend.generate(Prompt(text, segments), GREEDY)
    meta = second.meta_info
    assert meta["prompt_tokens"] == len("Question one.") + 16 + len("And then?")
    assert meta["cached_tokens"] == len("Question one.") + 16 - 1  # the last token was drawn, but never computed


async def test_samples(backend: NativeBackend) -> None:
    seeded = SamplingArguments(max_new_tokens=8, n=3, sampling_seed=5, ignore_eos=True)
    samples = await backend.generate(text_prompt("dice"), seeded)
    again = await backend.generate(text_prompt("dice"), seeded)
    assert [sample.text for sample in samples] == [sample.text for sample in again]
    assert len({sample.segments for sample in samples}) == 3


async def test_log_probabilities_are_asked_for_beside_the_sampling_parameters(backend: NativeBackend) -> None:
    sampling = SamplingArguments(
        max_new_tokens=2, return_logprob=True, logprob_start_len=1, top_logprobs_num=3, return_text_in_logprobs=True
    )
    (generated,) = await backend.generate(text_prompt("log"), sampling)
    meta = generated.meta_info
    assert [row[2] for row in meta["input_token_logprobs"]] == ["o", "g"]
    assert [len(top) for top in meta["output_top_logprobs"]] == [3, 3]


async def test_what_is_refused_is_refused_alike(backend: NativeBackend) -> None:
    with pytest.raises(InvalidRequestError, match="temperature must be a number"):
        await backend.generate(text_prompt("hot"), SamplingArguments(temperature=-1.0))
    with pytest.raises(InvalidRequestError, match="temperature must be a number"):
        async for _ in backend.stream(text_prompt("hot"), SamplingArguments(temperature=-1.0)):
            pass
    with pytest.raises(InvalidRequestError, match="the prompt is empty"):
        await backend.generate(Prompt("", ()), GREEDY)


async def test_text_that_is_no_text_is_refused(backend: NativeBackend) -> None:
    with pytest.raises(InvalidRequestError, match="surrogate"):
        await backend.generate(text_prompt("\ud800"), GREEDY)


# --- leaving early ----------------------------------------------------------------------------------------------------


async def test_cancelling_frees_the_request(backend: NativeBackend) -> None:
    task = asyncio.ensure_future(backend.generate(text_prompt("for ever"), LONG))
    await reach(backend, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await reach(backend, 0)


async def test_closing_a_stream_frees_the_request(backend: NativeBackend) -> None:
    async with aclosing(backend.stream(text_prompt("for ever"), LONG)) as items:
        await anext(items)
        await reach(backend, 1)
    await reach(backend, 0)


# --- select -----------------------------------------------------------------------------------------------------------


def expected_scores(engine: sgl.Engine, prompt: str, choice: str) -> list[float]:
    """The log-probability of every token of `choice` after `prompt`, where no token lies in both."""
    start = len(engine.tokenizer.encode(prompt))
    ids = engine.tokenizer.encode(prompt + choice)
    assert ids[:start] == engine.tokenizer.encode(prompt)
    result = engine.generate(
        input_ids=ids, sampling_params={"max_new_tokens": 0}, return_logprob=True, logprob_start_len=start - 1
    )
    return [logprob for logprob, *_ in result["meta_info"]["input_token_logprobs"][1:]]


@pytest.mark.parametrize(
    "choices",
    [["yes", "no"], ["a", "ab", "abc"], ["same", "same"], [" x", "x"], ["é", "日本", "🦆"], ["\n", " "]],
)
async def test_select_scores_the_tokens_of_each_choice(
    backend: NativeBackend, tiny_engine: sgl.Engine, choices: list[str]
) -> None:
    decision = await backend.select(text_prompt("The answer:"), choices, token_length_normalized)
    scores = [expected_scores(tiny_engine, "The answer:", choice) for choice in choices]
    rows = decision.meta_info["input_token_logprobs"]
    assert [[row[0] for row in tokens] for tokens in rows] == [pytest.approx(score, abs=1e-4) for score in scores]
    means = [sum(score) / len(score) for score in scores]
    assert decision.meta_info["normalized_prompt_logprobs"] == pytest.approx(means, abs=1e-4)
    assert decision.decision == choices[means.index(max(means))]


async def test_select_without_the_prompt(backend: NativeBackend, tiny_engine: sgl.Engine) -> None:
    decision = await backend.select(text_prompt("It is"), ["red", "blue"], unconditional_likelihood_normalized)
    alone = decision.meta_info["unconditional_token_logprobs"]
    for choice, row in zip(["red", "blue"], alone, strict=True):
        assert row[0][0] is None
        scores = [logprob for logprob, *_ in row[1:]]
        assert scores == pytest.approx(expected_scores(tiny_engine, choice[0], choice[1:]), abs=1e-4)


@pytest.mark.parametrize("method", METHODS, ids=repr)
async def test_engine_and_server_select_alike(
    tiny_engine: sgl.Engine, endpoint: RuntimeEndpoint, method: ChoicesSamplingMethod
) -> None:
    prompt, choices = text_prompt("Which one? "), ["first", "second one", "third"]
    here = await EngineBackend(tiny_engine).select(prompt, choices, method)
    there = await endpoint.select(prompt, choices, method)
    assert here.decision == there.decision
    scores = "normalized_prompt_logprobs"
    assert here.meta_info[scores] == pytest.approx(there.meta_info[scores], abs=1e-4)
    assert here.meta_info.keys() == there.meta_info.keys()


async def test_select_after_generated_tokens(backend: NativeBackend) -> None:
    (first,) = await backend.generate(text_prompt("Think:"), GREEDY)
    prompt = Prompt("Think:" + first.text, ("Think:", *first.as_segments))
    backend.flush_cache()
    (exact,) = await backend.generate(prompt, GREEDY)
    decision = await backend.select(prompt, [" so", " thus"], token_length_normalized)
    assert exact.meta_info["prompt_tokens"] == len("Think:") + 16
    assert [len(row) for row in decision.meta_info["input_token_logprobs"]] == [3, 5]


async def test_a_select_is_one_request_that_computes_every_token_once(
    backend: NativeBackend, tiny_engine: sgl.Engine
) -> None:
    """The choices have 5 tokens before their last ones, of which two share 2."""
    backend.flush_cache()
    made = await backend.select(text_prompt("Count: "), ["abc", "abd", "xyz"], token_length_normalized)
    meta = made.meta_info
    assert (meta["trie_nodes"], meta["prompt_tokens"], meta["cached_tokens"]) == (4, 7, 0)
    assert meta["select_rows"] <= 7 + 4 + 1
    again = await backend.select(text_prompt("Count: "), ["abc", "abd", "xyz"], token_length_normalized)
    assert (again.meta_info["cached_nodes"], again.meta_info["select_rows"]) == (4, 0)
    assert again.meta_info["input_token_logprobs"] == meta["input_token_logprobs"]


async def test_both_ways_to_score_choices_agree(tiny_engine: sgl.Engine) -> None:
    """In one request, and prompt by prompt, as where a server has no other way."""
    at_once, by_prompts = EngineBackend(tiny_engine), EngineBackend(tiny_engine)
    by_prompts.takes_choices = False
    (first,) = await at_once.generate(text_prompt("Think:"), GREEDY)
    for prompt in (text_prompt("Which one? "), Prompt("Think:" + first.text, ("Think:", *first.as_segments))):
        for method in METHODS:
            one, other = [
                await backend.select(prompt, ["first", "fir", "x", "first"], method)
                for backend in (at_once, by_prompts)
            ]
            assert one.decision == other.decision
            assert other.meta_info.keys() - one.meta_info.keys() == set()
            for name in ("input_token_logprobs", "unconditional_token_logprobs"):
                rows, others = one.meta_info.get(name, ()), other.meta_info.get(name, ())
                assert [[row[1:] for row in choice] for choice in rows] == [[row[1:] for row in c] for c in others]
                flat, other_flat = [[row[0] for choice in side for row in choice] for side in (rows, others)]
                assert [value is None for value in flat] == [value is None for value in other_flat]
                assert [value or 0.0 for value in flat] == pytest.approx([v or 0.0 for v in other_flat], abs=1e-4)


async def test_exact_probabilities(backend: NativeBackend, tiny_engine: sgl.Engine) -> None:
    """Every text has one spelling in this model's bytes, so they are those of the tokens."""
    choices = ["yes", "no", "é"]
    masses = [math.exp(math.fsum(expected_scores(tiny_engine, "The answer:", choice))) for choice in choices]
    made = await backend.select_exact(text_prompt("The answer:"), choices, sgl.Exact(max_unexplored_mass=0.0))
    expected = [mass / math.fsum(masses) for mass in masses]
    assert made.meta_info["choice_probabilities"] == pytest.approx(expected, abs=1e-5)
    assert made.decision == choices[masses.index(max(masses))]


async def test_exact_draws_by_the_seed(backend: NativeBackend) -> None:
    draws = [
        (await backend.select_exact(text_prompt("Dice:"), list("123456"), sgl.Exact(temperature=3.0, sampling_seed=s)))
        for s in (*range(12), *range(12))
    ]
    decisions = [draw.decision for draw in draws]
    assert decisions[:12] == decisions[12:] and len(set(decisions)) > 1
    assert [draw.meta_info["sampling_seed"] for draw in draws[:12]] == list(range(12))


async def test_exact_choices_must_differ(backend: NativeBackend) -> None:
    with pytest.raises(InvalidRequestError, match="the choice 'a' is given 2 times"):
        await backend.select_exact(text_prompt("Or not?"), ["a", "b", "a"], sgl.exact)


async def test_an_empty_choice_is_refused(backend: NativeBackend) -> None:
    with pytest.raises(InvalidRequestError, match="the choice '' cannot be scored"):
        await backend.select(text_prompt("Or not?"), ["yes", ""], token_length_normalized)


async def test_a_token_that_begins_in_the_prompt_is_the_choice_s(engine: sgl.Engine) -> None:
    """The space before the choice melts into its first token."""
    assert engine.tokenizer.encode("color: red") == [
        *engine.tokenizer.encode("color:"),
        *engine.tokenizer.encode(" red"),
    ]
    decision = await EngineBackend(engine).select(text_prompt("color: "), ["red", "blue"], token_length_normalized)
    rows: Any = decision.meta_info["input_token_logprobs"]
    assert [[text for *_, text in row] for row in rows] == [[" red"], [" blue"]]
    for row, choice in zip(rows, [" red", " blue"], strict=True):
        assert [row[0][0]] == pytest.approx(expected_scores(engine, "color:", choice), abs=1e-4)


# --- roles and the rest -----------------------------------------------------------------------------------------------


async def test_role_texts_make_up_the_template_s_prompt(backend: NativeBackend, tiny_engine: sgl.Engine) -> None:
    user = await backend.role_text(["user"])
    assistant = await backend.role_text(["user", "assistant"])
    prompt = user.prefix + "hello" + user.suffix + assistant.prefix
    rendered = tiny_engine.tokenizer.apply_chat_template([{"role": "user", "content": "hello"}])
    assert prompt == tiny_engine.tokenizer.decode(rendered, skip_special_tokens=False)


async def test_a_prefix_is_in_the_cache_until_it_is_flushed(backend: NativeBackend) -> None:
    await backend.cache_prefix(text_prompt("A long beginning"))
    (warm,) = await backend.generate(text_prompt("A long beginning!"), GREEDY)
    backend.flush_cache()
    (cold,) = await backend.generate(text_prompt("A long beginning!"), GREEDY)
    assert (warm.meta_info["cached_tokens"], cold.meta_info["cached_tokens"]) == (len("A long beginning"), 0)
