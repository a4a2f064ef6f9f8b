"""Exact select: against the enumeration of all token sequences, the rows it computes, and what it refuses."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import sglang as sgl
from sglang.srt.errors import InvalidRequestError
from sglang.srt.select.spellings import Place, Spellings
from tests.engine.merging_model import save_merging_model, spellings
from tests.helpers.runtime import SECONDS, assert_baseline, state_of
from tests.helpers.tiny_models import make_tiny_llama
from tests.tokenizer.test_tokenizer import save, sentencepiece

EXACT: dict[str, Any] = {"max_unexplored_mass": 0.0, "max_rows": 10_000}
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def merging_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sgl.Engine]:
    with sgl.Engine(model_path=save_merging_model(tmp_path_factory.mktemp("merging")), num_threads=1) as running:
        yield running
        assert_baseline(running)


def sequence_logprobs(engine: sgl.Engine, before: Sequence[int], sequences: Sequence[Sequence[int]]) -> list[float]:
    results = engine.generate(
        input_ids=[[*before, *sequence] for sequence in sequences],
        sampling_params={"max_new_tokens": 0},
        return_logprob=True,
        logprob_start_len=len(before) - 1,
    )
    return [math.fsum(row[0] for row in result["meta_info"]["input_token_logprobs"][1:]) for result in results]


def enumerated(engine: sgl.Engine, before: Sequence[int], texts: Sequence[str]) -> list[float]:
    """The probability of each text after `before`: that of all token sequences that spell it, less those that go on and
    spell a longer one, which are its own.
    """
    token_bytes = engine.tokenizer.vocab.token_bytes
    found = [0.0] * len(texts)
    numbers = {text.encode(): number for number, text in enumerate(texts)}
    sequences = [sequence for text in texts for sequence in spellings(text.encode(), token_bytes)]
    for sequence, logprob in zip(sequences, sequence_logprobs(engine, before, sequences), strict=True):
        on_the_way = [b"".join(token_bytes[i] for i in sequence[:length]) for length in range(1, len(sequence) + 1)]
        *shorter, whole = [numbers[text] for text in on_the_way if text in numbers]
        found[whole] += math.exp(logprob)
        if shorter:
            found[shorter[-1]] -= math.exp(logprob)
    return found


def shares(masses: Sequence[float]) -> list[float]:
    return [mass / math.fsum(masses) for mass in masses]


@pytest.mark.parametrize(
    "choices",
    [
        ["ab", "ba"],
        ["ababab", "aabbaa", "b"],
        ["1", "10", "100", "1000"],
        ["aba", "ab", "ababa", "abab"],
        ["é", "e", "日a"],
        ["<end>", "a<end>", "a"],
        ["\n", "\0", " a"],
    ],
    ids=repr,
)
def test_probabilities_are_those_of_all_token_sequences(merging_engine: sgl.Engine, choices: list[str]) -> None:
    prompt = "which?"
    expected = enumerated(merging_engine, merging_engine.tokenizer.encode(prompt), choices)
    result = merging_engine.select(prompt, choices, **EXACT)
    meta = result["meta_info"]
    assert meta["respelled_tokens"] == 0
    assert [math.exp(logprob) for logprob in meta["choice_logprobs"]] == pytest.approx(expected, rel=TOLERANCE)
    assert meta["choice_probabilities"] == pytest.approx(shares(expected), abs=TOLERANCE)
    assert meta["unexplored_mass"] == 0.0
    assert [high - low for low, high in meta["choice_bounds"]] == pytest.approx([0.0] * len(choices), abs=1e-12)
    assert result["index"] == expected.index(max(expected))
    assert result["decision"] == choices[result["index"]]


@pytest.mark.parametrize(
    ("given", "open_text", "choices"),
    [
        ("which? ", ":", ["aba", "bab"]),  # ":a" begins in the prompt
        ("which", " ", ["ab", "ba", "b"]),
        ("which?", "ab", ["ab", "b", "a"]),  # the prompt ends in one token, and "abab" is another
        ("which?b", "1", ["0", "00", "000"]),
    ],
)
def test_a_token_may_begin_in_the_prompt(
    merging_engine: sgl.Engine, given: str, open_text: str, choices: list[str]
) -> None:
    texts = [open_text + choice for choice in choices]
    before = merging_engine.tokenizer.encode(given)
    expected = enumerated(merging_engine, before, texts)
    meta = merging_engine.select(given + open_text, choices, **EXACT)["meta_info"]
    assert meta["prompt_tokens"] - meta["respelled_tokens"] == len(before)
    assert meta["choice_probabilities"] == pytest.approx(shares(expected), abs=TOLERANCE)


def test_where_a_prompt_ends_does_not_matter(merging_engine: sgl.Engine) -> None:
    """What counts is the text of prompt and choice."""
    meta = merging_engine.select("which?", [" ab", " aa"], **EXACT)["meta_info"]
    later = merging_engine.select("which? ", ["ab", "aa"], **EXACT)["meta_info"]
    assert later["choice_logprobs"] == pytest.approx(meta["choice_logprobs"], abs=TOLERANCE)


def test_generated_tokens_stay_as_they_are(merging_engine: sgl.Engine) -> None:
    a, b = merging_engine.tokenizer.encode("a b")[0], merging_engine.tokenizer.encode("b")[0]
    expected = enumerated(merging_engine, [*merging_engine.tokenizer.encode("which?"), a], ["b", "ba"])
    meta = merging_engine.select(choices=["b", "ba"], segments=["which?", [a]], **EXACT)["meta_info"]
    assert meta["respelled_tokens"] == 0
    assert meta["choice_probabilities"] == pytest.approx(shares(expected), abs=TOLERANCE)
    meta = merging_engine.select(choices=["b", "ba"], segments=["which?", [b], "a"], **EXACT)["meta_info"]
    assert (meta["prompt_tokens"], meta["respelled_tokens"]) == (8, 1)
    by_ids = merging_engine.select(choices=["b"], input_ids=[a, b, a], **EXACT)
    assert by_ids["meta_info"]["respelled_tokens"] == 0


def test_the_first_token_of_all_is_given(merging_engine: sgl.Engine) -> None:
    meta = merging_engine.select(":", ["a", "b"], **EXACT)["meta_info"]
    assert (meta["prompt_tokens"], meta["respelled_tokens"]) == (1, 0)


def test_after_a_special_token_nothing_before_it_is_spelled_anew(merging_engine: sgl.Engine) -> None:
    meta = merging_engine.select(":<end>", ["a", "b"], **EXACT)["meta_info"]
    assert (meta["prompt_tokens"], meta["respelled_tokens"]) == (2, 0)


# --- how much is explored, and what it costs


@pytest.mark.parametrize("limit", [0.5, 0.1, 0.01])
def test_what_is_left_unexplored_is_within_the_bounds(merging_engine: sgl.Engine, limit: float) -> None:
    choices = ["ababa", "abba", "aab", "abab"]
    exact = merging_engine.select("which?", choices, **EXACT)["meta_info"]
    meta = merging_engine.select("which?", choices, max_unexplored_mass=limit)["meta_info"]
    assert meta["unexplored_mass"] <= limit and meta["trie_nodes"] < exact["trie_nodes"]
    for share, (low, high), truth in zip(
        meta["choice_probabilities"], meta["choice_bounds"], exact["choice_probabilities"], strict=True
    ):
        assert low - 1e-9 <= truth <= high + 1e-9
        assert abs(share - truth) <= meta["unexplored_mass"]


def test_rows_are_bounded(merging_engine: sgl.Engine) -> None:
    choices = ["abababab", "babababa"]
    usual = merging_engine.select("which?", choices, max_rows=0)["meta_info"]
    some = merging_engine.select("which?", choices, max_unexplored_mass=0.0, max_rows=5)["meta_info"]
    assert some["trie_nodes"] == usual["trie_nodes"] + 5
    assert usual["unexplored_mass"] > some["unexplored_mass"] > 0.0


@pytest.mark.parametrize("limit", [0.0, 0.05])
def test_every_node_is_computed_once(merging_engine: sgl.Engine, limit: float) -> None:
    """Cold, with the prompt in the cache, and with all of it in the cache: the engine's own count of rows."""
    choices = ["ababa", "abbba", "aab", "1000", "10", "ab"]

    def rows() -> tuple[int, dict[str, Any]]:
        before = state_of(merging_engine)["computed_tokens"]
        meta = merging_engine.select("which one?", choices, max_unexplored_mass=limit)["meta_info"]
        return state_of(merging_engine)["computed_tokens"] - before, meta

    merging_engine.flush_cache()
    num_rows, cold = rows()
    assert num_rows == cold["select_rows"]
    assert cold["cached_tokens"] == 0
    assert num_rows <= cold["prompt_tokens"] + cold["trie_nodes"] + 1
    assert cold["cached_nodes"] == 0
    merging_engine.flush_cache()
    merging_engine.generate("which one?", {"max_new_tokens": 0})
    num_rows, warm = rows()
    assert num_rows == warm["select_rows"] <= warm["trie_nodes"] + 1
    assert warm["choice_logprobs"] == cold["choice_logprobs"]
    num_rows, again = rows()
    assert (num_rows, again["cached_nodes"]) == (0, again["trie_nodes"])
    assert again["choice_logprobs"] == cold["choice_logprobs"]


def test_nodes_whose_keys_and_values_are_cached_are_computed_again_at_most_once(merging_engine: sgl.Engine) -> None:
    """They were computed before, but nobody asked what comes after them."""
    merging_engine.flush_cache()
    cold = merging_engine.select("which one?", ["bbbbb", "bbb11"], max_rows=0)["meta_info"]
    merging_engine.flush_cache()
    merging_engine.generate("which one?bbbb", {"max_new_tokens": 0})
    warm = merging_engine.select("which one?", ["bbbbb", "bbb11"], max_rows=0)["meta_info"]
    assert warm["select_rows"] == warm["trie_nodes"] + 1 - warm["cached_nodes"]
    assert warm["choice_logprobs"] == cold["choice_logprobs"]


def test_who_has_another_salt_is_told_nothing(merging_engine: sgl.Engine) -> None:
    merging_engine.select("which one?", ["ab", "1"])
    apart = merging_engine.select("which one?", ["ab", "1"], cache_salt="mine")["meta_info"]
    assert (apart["cached_tokens"], apart["cached_nodes"]) == (0, 0)


def test_what_a_select_computed_is_in_the_cache(merging_engine: sgl.Engine) -> None:
    merging_engine.flush_cache()
    merging_engine.select("which one?", ["b" * 20 + "1", "b" * 20 + "0"])
    after = merging_engine.generate("which one?" + "b" * 20, {"max_new_tokens": 1})
    assert after["meta_info"]["cached_tokens"] == 29


def test_little_memory_and_small_chunks_change_nothing(merging_engine: sgl.Engine) -> None:
    """What one round computes is forgotten before the next one needs it."""
    path = merging_engine.get_server_info()["model_path"]
    options: dict[str, Any] = {"max_total_tokens": 31, "chunked_prefill_size": 5, "max_running_requests": 3}
    choices = ["ababababab", "aabbaabbaab", "1001010011", "b"]
    expected = merging_engine.select("which one of these?", choices)["meta_info"]
    with sgl.Engine(model_path=path, num_threads=1, **options) as small:
        meta = small.select("which one of these?", choices)["meta_info"]
        assert meta["select_rows"] > expected["prompt_tokens"] + expected["trie_nodes"] + 1, "nothing was forgotten"
        assert meta["choice_logprobs"] == expected["choice_logprobs"]
        assert_baseline(small)


def test_without_a_cache_nothing_is_remembered(merging_engine: sgl.Engine) -> None:
    path = merging_engine.get_server_info()["model_path"]
    with sgl.Engine(model_path=path, num_threads=1, disable_radix_cache=True) as plain:
        first, second = (plain.select("which?", ["ab", "ba"])["meta_info"] for _ in range(2))
        assert (first["cached_tokens"], second["cached_tokens"], second["cached_nodes"]) == (0, 0, 0)
        assert first["select_rows"] == second["select_rows"]
        assert first["choice_logprobs"] == second["choice_logprobs"]


async def test_whoever_is_cancelled_leaves_nothing_behind(merging_engine: sgl.Engine) -> None:
    """At any moment: before the first round, in one, or between two."""
    rng = random.Random(0)
    tasks = []
    for number in range(60):
        choices = [f"{number}ababab", f"{number}babaab"]
        tasks.append(asyncio.create_task(merging_engine.async_select(f"which of {number}?", choices, **EXACT)))
        await asyncio.sleep(0)
        rng.choice(tasks).cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    cancelled = [one for one in done if isinstance(one, asyncio.CancelledError)]
    assert len(cancelled) > 0 and all(isinstance(one, dict) for one in done if one not in cancelled)
    assert_baseline(merging_engine)


def test_simultaneous_requests_have_names_of_their_own(merging_engine: sgl.Engine) -> None:
    async def both(first: str, second: str) -> list[Any]:
        calls = [
            merging_engine.async_select("which?", ["abab", "1010"], rid=rid, cache_salt=rid) for rid in (first, second)
        ]
        return await asyncio.gather(*calls, return_exceptions=True)

    one, other = asyncio.run(both("a", "b"))
    assert (one["meta_info"]["id"], other["meta_info"]["id"]) == ("a", "b")
    answers = asyncio.run(both("same", "same"))
    assert any(isinstance(one, InvalidRequestError) and "is in use" in str(one) for one in answers)


# --- other tokenizers


def test_sentencepiece(tmp_path: Path) -> None:
    """A space before every text, bytes that are tokens beside the same characters, and a first token of its own."""
    make_tiny_llama(tmp_path, vocab_size=460, max_position_embeddings=256)
    with sgl.Engine(model_path=str(save(sentencepiece(), tmp_path)), num_threads=1) as engine:
        ids = engine.tokenizer.encode("the lazy ")
        for choices in (["dog", "do"], ["q", "é"]):
            meta = engine.select("the lazy ", choices, **EXACT)["meta_info"]
            num_given = len(ids) - meta["respelled_tokens"]
            open_text = engine.tokenizer.decode(ids[num_given:])
            assert open_text.endswith(" ") == ("dog" in choices)
            expected = enumerated(engine, ids[:num_given], [open_text + choice for choice in choices])
            assert meta["choice_probabilities"] == pytest.approx(shares(expected), abs=TOLERANCE)


# --- the decision


def test_a_temperature_draws_by_probability(merging_engine: sgl.Engine) -> None:
    choices = ["ab", "10", "ba"]
    expected = merging_engine.select("which?", choices)["meta_info"]["choice_probabilities"]
    drawn = Counter(
        merging_engine.select("which?", choices, temperature=1.0, sampling_seed=seed)["decision"] for seed in range(200)
    )
    for choice, share in zip(choices, expected, strict=True):
        assert abs(drawn[choice] / 200 - share) < 4 * math.sqrt(share * (1 - share) / 200) + 1e-9


def test_a_seed_repeats_a_draw_and_is_reported(merging_engine: sgl.Engine) -> None:
    first = merging_engine.select("which?", ["a", "b", "c", "d"], temperature=2.0)
    seed = first["meta_info"]["sampling_seed"]
    again = merging_engine.select("which?", ["a", "b", "c", "d"], temperature=2.0, sampling_seed=seed)
    assert again["decision"] == first["decision"]


# --- what is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"choices": []}, "choices must be a non-empty list of texts"),
        ({"choices": "ab"}, "choices must be a non-empty list of texts"),
        ({"choices": None}, "choices must be a non-empty list of texts"),
        ({"choices": ["a", 1]}, "choices must be texts, but 1 is none"),
        ({"choices": ["a", ""]}, "the choice '' cannot be scored"),
        ({"choices": ["a", "b", "a"]}, "the choice 'a' is given 2 times"),
        ({"choices": ["a", "\ud800"]}, "surrogate"),
        ({"choices": ["a"] * 5000}, "up to 4096 choices"),
        ({"choices": ["a", "b" * 1_000_001]}, "up to 1000000 characters"),
        ({"choices": ["a", "b" * 3000]}, "longer than the model's context length"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": None}, "give a prompt"),
        ({"prompt": ["a", "b"]}, "one prompt is taken here"),
        ({"temperature": -1}, "temperature must be a number"),
        ({"sampling_seed": 0.5}, "sampling_seed must be an integer"),
        ({"max_unexplored_mass": 2}, "max_unexplored_mass must be a number from 0 to 1, not 2"),
        ({"max_unexplored_mass": math.nan}, "max_unexplored_mass must be a number from 0 to 1"),
        ({"max_rows": 1.5}, "max_rows must be a whole number"),
        ({"max_rows": True}, "max_rows must be a whole number"),
        ({"top_p": 0.5}, "unknown field 'top_p'"),
        ({"max_row": 5}, "did you mean 'max_rows'"),
    ],
)
def test_wrong_arguments_are_refused(merging_engine: sgl.Engine, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        merging_engine.select(**{"prompt": "which?", "choices": ["a", "b"], **fields})


def test_one_choice_is_certain(merging_engine: sgl.Engine) -> None:
    result = merging_engine.select("which?", ["aba"])
    assert (result["decision"], result["meta_info"]["choice_probabilities"]) == ("aba", [1.0])


def test_where_the_context_ends_nothing_longer_is_explored(merging_engine: sgl.Engine) -> None:
    """The usual spelling just fits."""
    prompt = "?" * (2048 - 3)
    meta = merging_engine.select(prompt, ["abab" * 2, "b"], **EXACT)["meta_info"]
    assert meta["unexplored_mass"] > 0.0


def test_others_are_served_while_spellings_are_searched(
    merging_engine: sgl.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search stands still until another request has been answered."""
    searching, answered = threading.Event(), threading.Event()
    find_next = Spellings._find_next

    def held(spellings: Spellings, place: Place) -> dict[int, Place]:
        searching.set()
        assert answered.wait(SECONDS), "nobody was served meanwhile"
        return find_next(spellings, place)

    monkeypatch.setattr(Spellings, "_find_next", held)
    with ThreadPoolExecutor(1) as threads:
        selecting = threads.submit(merging_engine.select, "a", ["ab", "ba"])
        assert searching.wait(SECONDS)
        merging_engine.generate("b", {"max_new_tokens": 1})
        answered.set()
        assert selecting.result()["decision"] in ("ab", "ba")
