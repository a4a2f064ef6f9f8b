"""Which kernels compute, what they refuse, and that none are needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sglang.srt.args import engine_args
from sglang.srt.device import open_device
from sglang.srt.errors import ConfigurationError
from sglang.srt.executor.build import load_engine_model
from sglang.srt.kernels.native import LEVEL_VARIABLE, TORCH, usable_levels
from tests.helpers.tiny_models import make_tiny_llama

LEVELS = [*usable_levels(), TORCH]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("tiny"))


def info(path: Path, level: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    monkeypatch.setenv(LEVEL_VARIABLE, level)
    args = engine_args(model_path=str(path), num_threads=1, max_total_tokens=64, **options)
    return load_engine_model(args, str(path)).info


@pytest.mark.parametrize("level", LEVELS)
def test_what_computes_is_reported(tiny: Path, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = info(tiny, level, monkeypatch)
    cache = ("float32", 2 * 3 * 2 * 16 * 4) if level == TORCH else ("bfloat16", 2 * 3 * 2 * 16 * 2)
    assert (loaded.kernels, loaded.kv_cache_dtype, loaded.kv_bytes_per_token) == (level, *cache)
    assert (loaded.dtype, loaded.max_total_tokens, loaded.num_threads) == ("float32", 64, 1)


@pytest.mark.parametrize(
    ("context_length", "max_total_tokens", "said"),
    [
        (512, 10, ["a cache of 10 tokens is too small", "max_total_tokens=256 holds", "the whole context needs 512"]),
        (512, 255, ["a cache of 255 tokens"]),
        (512, 256, []),
        (64, 63, ["a cache of 63 tokens", "max_total_tokens=64 holds"]),
        (64, 64, []),
    ],
)
def test_a_cache_for_hardly_any_request_is_warned_of(
    tmp_path: Path, context_length: int, max_total_tokens: int, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = str(make_tiny_llama(tmp_path, max_position_embeddings=context_length))
    args = engine_args(model_path=path, num_threads=1, max_total_tokens=max_total_tokens, log_level="warning")
    with caplog.at_level("WARNING", "sglang.srt.executor.build"):
        loaded = load_engine_model(args, path)
    assert loaded.info.max_total_tokens == max_total_tokens
    assert len(caplog.messages) == bool(said)
    assert all(part in message for message in caplog.messages for part in said)


def test_of_two_sizes_of_the_cache_it_is_said_which_counts(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    for options, said in (({"mem_fraction_static": 0.5}, 1), ({}, 0)):
        args = engine_args(model_path=str(tiny), num_threads=1, max_total_tokens=600, **options)
        with caplog.at_level("WARNING", "sglang.srt.executor.build"):
            assert load_engine_model(args, str(tiny)).info.max_total_tokens == 600
        assert len(caplog.messages) == said
        caplog.clear()


def test_far_more_threads_than_cores_are_refused() -> None:
    cores = len(os.sched_getaffinity(0))
    assert open_device("auto", None).num_threads == cores
    assert open_device("auto", 4 * cores).num_threads == 4 * cores
    with pytest.raises(ConfigurationError, match=f"num_threads={4 * cores + 1} is more than {4 * cores}, 4 for each"):
        open_device("auto", 4 * cores + 1)


@pytest.mark.parametrize("level", LEVELS[-2:])
def test_a_cache_of_bfloat16(tiny: Path, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = info(tiny, level, monkeypatch, dtype="bfloat16", kv_cache_dtype="bfloat16")
    assert (loaded.kv_cache_dtype, loaded.kv_bytes_per_token) == ("bfloat16", 2 * 3 * 2 * 16 * 2)
    assert loaded.dtype == "bfloat16"


@pytest.mark.skipif(not usable_levels(), reason="no native kernels")
def test_a_cache_of_int8_has_a_scale_for_32_dimensions_or_fewer(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = info(tiny, usable_levels()[0], monkeypatch, kv_cache_dtype="int8")
    assert (loaded.kv_cache_dtype, loaded.kv_bytes_per_token) == ("int8", 2 * 3 * 2 * (16 + 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kv_cache_dtype": "int8"}, r"kv_cache_dtype='int8' needs the native kernels; .*asks for it"),
        ({"kv_cache_dtype": "bfloat16"}, r"needs the native kernels, or dtype='bfloat16'"),
    ],
)
def test_what_torch_does_not_have_is_refused(
    tiny: Path, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        info(tiny, TORCH, monkeypatch, **options)


def test_without_the_compiled_module_torch_computes(tiny: Path) -> None:
    code = """if True:
        import sys
        sys.modules["sglang.srt.kernels._native"] = None
        from sglang.srt.args import engine_args
        from sglang.srt.executor.build import load_engine_model
        args = engine_args(model_path=sys.argv[1], num_threads=1, max_total_tokens=64, log_level="error")
        print(load_engine_model(args, sys.argv[1]).info.kernels)
    """
    run = subprocess.run([sys.executable, "-c", code, str(tiny)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [TORCH]
