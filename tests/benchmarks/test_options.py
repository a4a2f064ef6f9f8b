"""Which systems a command line means."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import pytest

from benchmarks.options import (
    batch_systems,
    endpoints,
    make_parser,
    new_measurements,
    only_configuration,
    our_configurations,
    parse,
    parse_pairs,
    run,
    vllm_servers,
    vocab_size,
)
from benchmarks.systems.base import BenchmarkError
from benchmarks.systems.ours import OurEngine

VARIABLES = ("LLAMA_BIN", "LLAMA_MODELS", "OPENVINO_PYTHON", "OPENVINO_MODELS", "VLLM_PYTHON", "VLLM_MODELS")


@pytest.fixture(autouse=True)
def _no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"SGLANG_BENCH_{name}", raising=False)


def options(monkeypatch: pytest.MonkeyPatch, *given: str) -> argparse.Namespace:
    monkeypatch.setattr(sys, "argv", ["driver", *given])
    return parse(make_parser("what it does", rounds=5), quick={"threads": 7})


def names(parsed: argparse.Namespace) -> list[str]:
    return [system.name for system in batch_systems(parsed)]


def test_ours_alone_where_no_peer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = options(monkeypatch)
    assert names(parsed) == ["sglang"]
    assert parsed.rounds == 5


def test_peers_are_found_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGLANG_BENCH_LLAMA_BIN", "/llama")
    monkeypatch.setenv("SGLANG_BENCH_LLAMA_MODELS", "/m/model.Q4_0.gguf:/m/model-Q8_0.gguf")
    monkeypatch.setenv("SGLANG_BENCH_OPENVINO_PYTHON", "/openvino/python")
    monkeypatch.setenv("SGLANG_BENCH_OPENVINO_MODELS", "/m/model.Q4_0.gguf")
    monkeypatch.setenv("SGLANG_BENCH_VLLM_PYTHON", "/vllm/python")
    monkeypatch.setenv("SGLANG_BENCH_VLLM_MODELS", "/m/model.BF16")
    everything = ["sglang", "llama.cpp Q4_0", "llama.cpp Q8_0", "openvino Q4_0", "vllm BF16"]
    assert names(options(monkeypatch)) == everything
    assert [system.name for system in endpoints(options(monkeypatch), slots=2, slot_tokens=8)] == everything
    assert names(options(monkeypatch, "--peers", "openvino")) == ["sglang", "openvino Q4_0"]
    assert names(options(monkeypatch, "--peers", "none")) == ["sglang"]


def test_how_long_peers_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGLANG_BENCH_LLAMA_BIN", "/llama")
    monkeypatch.setenv("SGLANG_BENCH_LLAMA_MODELS", "/m/model.Q4_0.gguf")
    monkeypatch.setenv("SGLANG_BENCH_OPENVINO_PYTHON", "/openvino/python")
    monkeypatch.setenv("SGLANG_BENCH_OPENVINO_MODELS", "/m/model.Q4_0.gguf")
    monkeypatch.setenv("SGLANG_BENCH_VLLM_PYTHON", "/vllm/python")
    monkeypatch.setenv("SGLANG_BENCH_VLLM_MODELS", "/m/model.BF16")
    for given, seconds in (((), 600.0), (("--request-seconds", "5.5"), 5.5)):
        parsed = options(monkeypatch, "--peer-url", "other=http://127.0.0.1:8000", *given)
        asked = endpoints(parsed, slots=2, slot_tokens=8) + batch_systems(parsed)[:-1] + list(vllm_servers(parsed))
        peers = [system for system in asked if not isinstance(system, OurEngine)]
        assert len(peers) == 8
        assert {vars(peer)["request_seconds"] for peer in peers} == {seconds}


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_that_is_none(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    with pytest.raises(SystemExit):
        options(monkeypatch, f"--request-seconds={seconds}")


def test_a_peer_asked_for_by_name_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchmarkError, match=r"llama\.cpp was asked for"):
        names(options(monkeypatch, "--peers", "llama.cpp", "--llama-bin", "/llama"))


def test_an_unknown_peer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options(monkeypatch, "--peers", "vlm,openvino")
    assert "unknown peer 'vlm'" in capsys.readouterr().err


def test_servers_that_run_already(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("--peer-url", "other=http://127.0.0.1:8000/v1/", "--peer-url", "third=http://[::1]:8001")
    parsed = options(monkeypatch, *given)
    assert parsed.peer_url == [("other", "http://127.0.0.1:8000"), ("third", "http://[::1]:8001")]
    assert names(parsed) == ["sglang", "other", "third"]
    assert [system.name for system in endpoints(parsed, slots=2, slot_tokens=8)] == ["sglang", "other", "third"]
    assert names(options(monkeypatch, *given, "--peers", "none")) == ["sglang"]
    assert new_measurements("title", parsed)[0].is_peer("other")


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1:8000", "=http://127.0.0.1", "a=https://b", "a=127.0.0.1:80", "a=http://b:x", "a=http://[b"],
)
def test_an_address_that_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    with pytest.raises(SystemExit):
        options(monkeypatch, "--peer-url", text)
    assert f"{text!r} should be NAME=http://HOST:PORT" in capsys.readouterr().err


def test_quick_leaves_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = options(monkeypatch, "--quick")
    assert (quick.rounds, quick.threads) == (1, 7)
    given = options(monkeypatch, "--quick", "--rounds", "2", "--threads", "1")
    assert (given.rounds, given.threads) == (2, 1)


def test_several_configurations_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = options(monkeypatch, "--ours", "", "--ours", "dtype=bfloat16,random_seed=3", "--threads", "1")
    common = {"model_path": "smollm2", "num_threads": 1}
    assert our_configurations(parsed) == {
        "sglang": common,
        "sglang dtype=bfloat16,random_seed=3": {**common, "dtype": "bfloat16", "random_seed": 3},
    }


def test_values_are_read_as_json_where_they_are_json() -> None:
    assert parse_pairs("a=1,b=true,c=word") == {"a": 1, "b": True, "c": "word"}
    with pytest.raises(BenchmarkError, match="'word' should be NAME=VALUE"):
        parse_pairs("word")


def test_the_vocabulary_is_the_models(monkeypatch: pytest.MonkeyPatch, tiny_model: str) -> None:
    assert vocab_size(options(monkeypatch, "--model", tiny_model)) == 257


def test_help_names_every_variable() -> None:
    help_text = make_parser("what it does", rounds=5).format_help()
    assert all(f"SGLANG_BENCH_{name}" in help_text for name in VARIABLES)


def test_an_error_of_a_benchmark_is_a_message() -> None:
    def main() -> None:
        raise BenchmarkError("no such peer")

    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit, match="error: no such peer"):
            run(main)
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_label_is_the_format_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    given = options(monkeypatch, "--openvino-python", "/p", "--openvino-models", str(Path("/m/some-model.BF16.gguf")))
    assert names(given) == ["sglang", "openvino BF16"]


def test_several_step_sizes_of_openvino_are_systems_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given = (
        "--openvino-python",
        "/p",
        "--openvino-models",
        "/m/model.Q4_0.gguf",
        "--openvino-batched-tokens",
        "256,512",
    )
    assert names(options(monkeypatch, *given)) == ["sglang", "openvino Q4_0 256", "openvino Q4_0 512"]


def test_a_driver_that_compares_ours_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = make_parser("what it does", rounds=1, peers=())
    assert "--peers" not in parser.format_help()
    monkeypatch.setattr(sys, "argv", ["driver", "--ours", "a=1", "--ours", "a=2"])
    with pytest.raises(BenchmarkError, match="only once"):
        only_configuration(parse(parser, quick={}))
    monkeypatch.setattr(sys, "argv", ["driver", "--ours", "a=1", "--threads", "3"])
    assert only_configuration(parse(parser, quick={})) == {"model_path": "smollm2", "num_threads": 3, "a": 1}
