"""Models on the native kernels: what torch computes, and the same bits however the work is cut up."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from sglang.srt.args import KvCacheDtype
from sglang.srt.device import HOST
from sglang.srt.kernels import ops, reference
from sglang.srt.kernels.native import usable_levels
from sglang.srt.model.config import load_config
from sglang.srt.model.loader.load import load_model
from sglang.srt.model.models.llama import LlamaDecoderLayer
from tests.helpers.runners import Floats, Stream, compute, compute_all, native_backend, step_of
from tests.helpers.stored_blocks import FLOAT_KINDS
from tests.helpers.tiny_models import TINY, make_tiny_llama, write_gguf
from tests.kernels.row_program import rounded_to_int8
from tests.model.dense_attention import Bfloat16Attention, DenseAttention, forward_logits

LEVELS = usable_levels()
BEST = LEVELS[0]
NUM_TOKENS = 60
NUM_SLOTS = 640

LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one layer": {"num_hidden_layers": 1},
    "eight layers": {"num_hidden_layers": 8},
    "multi-head": {"num_key_value_heads": 4},
    "multi-query": {"num_key_value_heads": 1},
    "attention bias": {"attention_bias": True},
    "mlp bias": {"mlp_bias": True},
    "tied": {"tie_word_embeddings": True},
    "head_dim 6": {"head_dim": 6},
    "head_dim 64": {"head_dim": 64},
    "head_dim 80": {"head_dim": 80, "num_key_value_heads": 1},
    "odd sizes": {"hidden_size": 52, "intermediate_size": 77, "vocab_size": 161, "head_dim": 14},
    "rope linear": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
    "rope llama3": {"rope_parameters": LLAMA3_ROPE},
    "float16": {"dtype": torch.float16},
    "bfloat16": {"dtype": torch.bfloat16},
}
TOLERANCE = {"bfloat16": 2e-2}
"""Of the largest logit. Products of bfloat16 weights round their input; of others the attention is all that rounds, and
that the reference does too."""


def random_ids(count: int, seed: int) -> list[int]:
    ids: list[int] = np.random.default_rng(seed).integers(0, TINY["vocab_size"], count).tolist()
    return ids


@cache
def torch_logits(path: Path, attention_class: type[DenseAttention] = Bfloat16Attention) -> Floats:
    """In float32."""
    model = load_model(path, load_config(path), torch.float32, HOST)
    logits: Floats = forward_logits(model, random_ids(NUM_TOKENS, 1), attention_class=attention_class).numpy()
    return logits


def native_logits(path: Path, level: str = BEST, kv_cache_dtype: KvCacheDtype = "auto") -> Floats:
    runner = native_backend(path, level, kv_cache_dtype=kv_cache_dtype).make_runner(NUM_SLOTS)
    return compute_all(runner, random_ids(NUM_TOKENS, 1))


def relative_error(ours: Floats, expected: Floats) -> float:
    return float(np.sqrt(np.mean((ours - expected) ** 2) / np.mean(expected**2)))


# --- against torch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_those_of_torch(tmp_path: Path, variant: str) -> None:
    path = make_tiny_llama(tmp_path, **VARIANTS[variant])
    difference = np.abs(native_logits(path) - torch_logits(path)).max() / np.abs(torch_logits(path)).max()
    assert difference < TOLERANCE.get(variant, 2e-3)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_is_close_to_torch(plain: Path, level: str) -> None:
    assert relative_error(native_logits(plain, level), torch_logits(plain)) < 1e-3
    assert relative_error(native_logits(plain, level), torch_logits(plain, DenseAttention)) < 1e-2


@pytest.mark.parametrize("level", LEVELS)
def test_an_int8_cache_costs_a_little(plain: Path, level: str) -> None:
    error = relative_error(native_logits(plain, level, "int8"), torch_logits(plain, DenseAttention))
    assert 1e-3 < error < 2e-2


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("variant", ["plain", "one layer", "multi-head", "multi-query", "mlp bias"])
def test_rows_that_are_not_read_change_nothing_in_those_that_are(tmp_path: Path, level: str, variant: str) -> None:
    """Neither in this step, nor in one that reads their keys and values."""
    backend = native_backend(make_tiny_llama(tmp_path, **VARIANTS[variant]), level, num_threads=2)
    token_ids = random_ids(NUM_TOKENS, 1)
    expected = compute_all(backend.make_runner(NUM_SLOTS), token_ids)
    for read in ([], [29], [0, 29], [3, 4, 5, 20], list(range(30))):
        runner = backend.make_runner(NUM_SLOTS)
        stream, other = Stream.at_slots(token_ids, 300), Stream.at_slots(token_ids, 100)
        step = step_of([(other, 11), (stream, 30)])
        logits = runner.logits(step, 11 + np.array(read, dtype=np.int64))
        assert logits.tobytes() == expected[read].tobytes()
        stream.num_computed = 30
        assert compute(runner, (stream, NUM_TOKENS - 30))[0].tobytes() == expected[30:].tobytes()


@pytest.mark.parametrize("variant", ["plain", "bfloat16"])
def test_logits_are_those_of_the_rows_read_where_more_than_rows_of_floats_outlives_the_last_attention(
    tmp_path: Path, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attention and products beside it, of the same norm, whose output the products of bfloat16 read converted."""

    def parallel(self: LlamaDecoderLayer, hidden: Any, cos_sin: Any, attention: Any) -> Any:
        normed = self.input_layernorm(hidden)
        return hidden + self.self_attn(normed, cos_sin, attention) + self.mlp(normed)

    monkeypatch.setattr(LlamaDecoderLayer, "__call__", parallel)
    path = make_tiny_llama(tmp_path, **VARIANTS[variant])
    backend = native_backend(path, BEST)
    expected = compute_all(backend.make_runner(NUM_SLOTS), random_ids(NUM_TOKENS, 1))
    assert relative_error(expected, torch_logits(path)) < TOLERANCE.get(variant, 1e-3)
    read = np.array([3, 29])
    logits = backend.make_runner(NUM_SLOTS).logits(step_of([(Stream.at_slots(random_ids(30, 1), 300), 30)]), read)
    assert logits.tobytes() == expected[read].tobytes()


# --- GGUF files of every type ---------------------------------------------------------------------------------------

BLOCKS_OF_256: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2, "head_dim": 64}


@pytest.fixture(scope="module")
def blocks_of_256(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("blocks"), **BLOCKS_OF_256)


MIXES: dict[str, tuple[Kind, dict[str, Kind]]] = {
    **{kind.name: (kind, {}) for kind in (Kind.F16, Kind.Q4_0, Kind.Q4_1, Kind.Q8_0, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K)},
    "values of another type": (Kind.Q4_K, {"v_proj": Kind.Q6_K}),
    "queries, keys and values of three types": (Kind.Q4_K, {"k_proj": Kind.F16, "v_proj": Kind.BF16}),
    "queries and values of one type": (Kind.Q8_0, {"k_proj": Kind.Q5_K}),
    "gate and up of different types": (Kind.Q4_K, {"gate_proj": Kind.Q6_K, "lm_head": Kind.Q8_0}),
    "floats among blocks": (Kind.Q4_0, {"down_proj": Kind.F32, "o_proj": Kind.BF16, "embed": Kind.F16}),
}


@pytest.mark.parametrize("mix", MIXES)
def test_types_of_gguf(tmp_path: Path, blocks_of_256: Path, mix: str, caplog: pytest.LogCaptureFixture) -> None:
    """Rows rounded to 8 bits cost some percent; weights in a wrong place would cost everything."""
    path = tmp_path / "model.gguf"
    write_gguf(blocks_of_256, path, MIXES[mix][0], MIXES[mix][1])
    assert relative_error(native_logits(path), torch_logits(path)) < 6e-2
    assert not caplog.records


@pytest.mark.parametrize("mix", [mix for mix in MIXES if not {MIXES[mix][0], *MIXES[mix][1].values()} & {*FLOAT_KINDS}])
def test_what_costs_precision_is_that_rows_are_rounded(
    tmp_path: Path, blocks_of_256: Path, mix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If torch rounds the inputs of products too, much less is left: codes that fall the other way. Products of 4-bit
    weights round scales as well, by so little that it shows only in the number of those codes.
    """
    path = tmp_path / "model.gguf"
    write_gguf(blocks_of_256, path, MIXES[mix][0], MIXES[mix][1])

    def linear(x: torch.Tensor, *weight_and_bias: torch.Tensor) -> torch.Tensor:
        return reference.linear(torch.from_numpy(rounded_to_int8(x.numpy())), *weight_and_bias)

    monkeypatch.setattr(ops, "linear", linear)
    expected = torch_logits(path)
    monkeypatch.undo()
    torch_logits.cache_clear()
    ours, exact = native_logits(path), torch_logits(path)
    if {MIXES[mix][0], *MIXES[mix][1].values()} & {Kind.Q4_0, Kind.Q4_1, Kind.Q4_K}:
        assert relative_error(ours, exact) < 2 * relative_error(expected, exact)
    else:
        assert relative_error(ours, expected) < relative_error(ours, exact) / 2


def test_biases_and_tied_embeddings_beside_mixed_types(tmp_path: Path) -> None:
    """Each part of a projection gets its share of the bias."""
    options = {**BLOCKS_OF_256, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}
    folder, path = make_tiny_llama(tmp_path / "hf", **options), tmp_path / "model.gguf"
    write_gguf(folder, path, Kind.F32, {"v_proj": Kind.F16, "up_proj": Kind.F16})
    assert relative_error(native_logits(path), torch_logits(path)) < 2e-3


@pytest.mark.parametrize("kind", [Kind.Q5_0, Kind.Q5_1])
def test_types_without_kernels_are_converted_with_one_warning(
    tmp_path: Path, blocks_of_256: Path, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(blocks_of_256, path, Kind.Q8_0, {"mlp": kind})
    assert relative_error(native_logits(path), torch_logits(path)) < 6e-2
    (record,) = caplog.records
    assert record.getMessage() == (
        f"model.gguf: 6 matrices of type {kind.name}, for which there are no kernels, are converted to F16"
    )


def test_the_type_of_most_matrices_is_reported(tmp_path: Path, blocks_of_256: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(blocks_of_256, path, Kind.Q4_K, {"v_proj": Kind.Q6_K})
    assert native_backend(path, BEST).dtype == "q4_k"


# --- bits -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory, blocks_of_256: Path) -> Path:
    path = tmp_path_factory.mktemp("quantised") / "model.gguf"
    write_gguf(blocks_of_256, path, Kind.Q4_K, {"v_proj": Kind.Q6_K, "up_proj": Kind.Q8_0})
    return path


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("kv_cache_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("model", ["plain", "quantised"])
@pytest.mark.parametrize("level", LEVELS)
def test_bits_do_not_depend_on_how_a_sequence_is_computed(
    level: str, model: str, kv_cache_dtype: KvCacheDtype, num_threads: int, request: pytest.FixtureRequest
) -> None:
    """In chunks, one by one, beside others, sharing a prefix with others, in slots here and there: at random."""
    path: Path = request.getfixturevalue(model)
    draw = np.random.default_rng(num_threads)
    shared = random_ids(25, 2)
    texts = [shared + random_ids(int(draw.integers(1, 60)), seed) for seed in range(3)] + [random_ids(70, 9)]
    alone = native_backend(path, level, 1, kv_cache_dtype)
    expected = [compute_all(alone.make_runner(NUM_SLOTS), text) for text in texts]

    runner = native_backend(path, level, num_threads, kv_cache_dtype).make_runner(NUM_SLOTS)
    pool = iter(draw.permutation(NUM_SLOTS).tolist())
    prefix = [next(pool) for _ in shared]
    owner, *others = (Stream(text, prefix + [next(pool) for _ in text[len(prefix) :]]) for text in texts[:3])
    streams = [owner, *others, Stream(texts[3], [next(pool) for _ in texts[3]])]
    for reader in others:
        reader.num_computed = len(prefix)  # in the step that computes it, or any later one
    while left := [stream for stream in streams if stream.num_computed < len(stream.token_ids)]:
        chosen = [stream for stream in left if stream in (owner, streams[3]) or owner.num_computed >= len(prefix)]
        chosen = [stream for stream in chosen if draw.random() < 0.7] or chosen[:1]
        parts = [
            (s, 1 if draw.random() < 0.5 else int(draw.integers(1, len(s.token_ids) - s.num_computed + 1)))
            for s in chosen
        ]
        begins = [stream.num_computed for stream, _ in parts]
        results = compute(runner, *parts)
        for (stream, count), begin, logits in zip(parts, begins, results, strict=True):
            whole = expected[[other is stream for other in streams].index(True)]
            assert logits.tobytes() == whole[begin : begin + count].tobytes(), f"tokens {begin} to {begin + count}"


def test_a_prefix_is_read_in_the_step_that_computes_it(plain: Path) -> None:
    backend, shared = native_backend(plain, BEST), random_ids(20, 1)
    texts = [shared + random_ids(5, 2), shared + random_ids(7, 3)]
    expected = [compute_all(backend.make_runner(NUM_SLOTS), text) for text in texts]
    writer = Stream.at_slots(texts[0], 0)
    reader = Stream(texts[1], [*range(20), *range(100, 107)], num_computed=20)
    ours, theirs = compute(backend.make_runner(NUM_SLOTS), (reader, 7), (writer, 25))
    assert ours.tobytes() == expected[1][20:].tobytes()
    assert theirs.tobytes() == expected[0].tobytes()


def test_logits_of_rows_in_any_order(plain: Path) -> None:
    backend, text = native_backend(plain, BEST), random_ids(20, 1)
    runner = backend.make_runner(NUM_SLOTS)
    expected = compute_all(runner, text)
    network = runner._network
    for rows in ([19], [3, 0, 3], list(range(20))):
        assert np.asarray(network.logits(np.array(rows))).tobytes() == expected[rows].tobytes()
