"""Divergences known by hand, windows of a text, llama.cpp's process with a double of llama.cpp, and one whole run."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import quality_scores, quality_text
from benchmarks.quality import find_llama_cpp, main, verdict
from benchmarks.quality_models import reference_model, start_llama_cpp
from benchmarks.quality_scores import Logits, WindowScores, estimate, score_window
from benchmarks.quality_text import Text, default_text, windows_of
from sglang.srt.device import HOST
from sglang.srt.errors import BackendError, ConfigurationError
from sglang.srt.model.config import load_config
from sglang.srt.model.loader.load import load_model
from sglang.srt.tokenizer.tokenizer import Tokenizer, load_tokenizer
from tests.model.dense_attention import forward_logits


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- scores ---------------------------------------------------------------------------------------------------------


def logits_of(*probabilities: tuple[float, ...]) -> Logits:
    return np.log(np.array(probabilities, np.float32))


def random_logits(rows: int, seed: int) -> Logits:
    return np.random.default_rng(seed).normal(0, 5, (rows, 50)).astype(np.float32)


def test_scores_of_distributions_known_by_hand() -> None:
    reference = logits_of((0.5, 0.25, 0.25), (0.2, 0.2, 0.6))
    scores = score_window(logits_of((0.25, 0.5, 0.25), (0.2, 0.2, 0.6)), reference, np.array([0, 2]))
    assert scores.nll == pytest.approx([np.log(4), -np.log(0.6)])
    assert scores.divergence == pytest.approx([0.25 * np.log(2), 0.0])
    assert scores.same_top.tolist() == [False, True]


def test_only_the_distribution_counts() -> None:
    """Logits that differ by a constant are the same distribution."""
    logits, targets = random_logits(9, 1), np.arange(9)
    scores = score_window(logits + np.float32(4), logits, targets)
    assert scores.divergence == pytest.approx(np.zeros(9), abs=1e-9)
    assert scores.nll == pytest.approx(score_window(logits, logits, targets).nll, abs=1e-5)


@pytest.mark.parametrize("rows_at_once", [1, 7, 100])
def test_a_small_divergence_is_exact(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """About 1e-7 nats, which float32 arithmetic would lose."""
    monkeypatch.setattr(quality_scores, "ROWS_AT_ONCE", rows_at_once)
    reference = random_logits(20, 1)
    logits = reference + 1e-4 * random_logits(20, 2)
    p, q = (np.exp(x.astype(np.float64)) for x in (reference, logits))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    scores = score_window(logits, reference, np.arange(20))
    assert scores.divergence == pytest.approx((p * np.log(p / q)).sum(1), rel=1e-6)
    assert 0 < scores.divergence.mean() < 1e-6
    assert scores.nll == pytest.approx(-np.log(q[np.arange(20), np.arange(20)]), rel=1e-9)


def test_the_error_of_a_mean_is_that_of_the_windows_means() -> None:
    found = estimate(np.array([[1.0, 3.0], [5.0, 7.0]]))
    assert (found.mean, found.standard_error) == pytest.approx((4.0, 2.0))


def test_verdict_pairs_the_windows() -> None:
    """Windows differ much from each other, the two systems by the same in each."""
    theirs = WindowScores(np.zeros((2, 1)), np.array([[0.01], [0.03]]), np.ones((2, 1), np.bool_))
    ours = WindowScores(theirs.nll, theirs.divergence - 0.005, theirs.same_top)
    assert "0.750 times llama.cpp's; the difference is -0.005000 ± 0.000000" in verdict(ours, theirs)


# --- text -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tiny_model: str) -> Tokenizer:
    """A token is a byte."""
    return load_tokenizer(Path(tiny_model), ())


def test_windows_follow_each_other_and_know_the_token_after_them(tokenizer: Tokenizer) -> None:
    windows = windows_of(Text("alphabet", "abcdefghijklm"), tokenizer, num_tokens=10, window=4)
    assert [tokenizer.decode(window) for window in windows.tolist()] == ["abcde", "efghi", "ijklm"]


@pytest.mark.parametrize(
    ("num_tokens", "message"),
    [(13, "4 windows of 4 tokens need 17 tokens of text, but alphabet has 13"), (4, "4 tokens are one window of 4")],
)
def test_too_little_text(num_tokens: int, message: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        windows_of(Text("alphabet", "abcdefghijklm"), tokenizer, num_tokens, window=4)


def test_default_text_is_made_of_the_shared_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {
        "mt-bench/question.jsonl": {"turns": ["Who?", "Why?"]},
        "gsm8k/test.jsonl": {"question": "3 times 4?", "answer": "It is 3*4=<<3*4=12>>12\n#### 12"},
    }
    for name, entry in entries.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(json.dumps(entry) + "\n")
    monkeypatch.setattr(quality_text, "SHARED_DATA", tmp_path)
    assert default_text().content == "Who?\nWhy?\n\n3 times 4?\nIt is 3*4=12\n#### 12"


def test_where_there_is_no_shared_data_python_has_text_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_text, "SHARED_DATA", tmp_path)
    text = default_text()
    assert "pydoc" in text.name
    assert len(text.content.split()) > 20_000


# --- llama.cpp's process --------------------------------------------------------------------------------------------

DOUBLE = """
import numpy, os
__version__ = "0.0.1"
GGML_TYPE_Q8_0 = 8

class Llama:
    '''Row i of a window says the vocabulary's number, or its token and the KV type at the end: [n_ctx, 7].'''

    def __init__(self, *, model_path, n_ctx, type_k, type_v, **options):
        if "broken" in model_path:
            raise SystemExit(3)
        os.write(1, b"what a library prints\\n")
        self.scores = numpy.zeros((n_ctx, 7), numpy.float32)
        self.kv_types = type_k, type_v

    def n_vocab(self):
        return 7

    def reset(self):
        self.scores[:] = 0

    def eval(self, tokens):
        if 6 in tokens:
            raise SystemExit(4)
        self.scores[range(len(tokens)), tokens] = 1
        self.scores[:, -1] = sum(self.kv_types)
"""


@pytest.fixture
def _double_of_llama_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llama_cpp.py").write_text(DOUBLE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("_double_of_llama_cpp")
def test_llama_cpp_answers_window_by_window() -> None:
    with start_llama_cpp(sys.executable, Path("m.gguf"), window=3, num_threads=1, kv_type="q8_0") as model:
        assert model.name == "llama-cpp-python 0.0.1, KV q8_0"
        for token_ids in ([0, 5, 2], [4, 4, 1]):
            expected = np.eye(7, dtype=np.float32)[token_ids]
            expected[:, -1] = 16
            assert np.array_equal(model.window_logits(np.array(token_ids)), expected)


@pytest.mark.usefixtures("_double_of_llama_cpp")
def test_llama_cpp_that_ends_is_an_error() -> None:
    with (
        start_llama_cpp(sys.executable, Path("m.gguf"), window=1, num_threads=1, kv_type="q8_0") as model,
        pytest.raises(BackendError, match="ended with status 4"),
    ):
        model.window_logits(np.array([6]))


@pytest.mark.usefixtures("_double_of_llama_cpp")
@pytest.mark.parametrize(
    ("python", "message"), [(sys.executable, "ended with status 3"), ("/no/python", "cannot start '/no/python'")]
)
def test_llama_cpp_that_does_not_start_is_an_error(python: str, message: str) -> None:
    starting = start_llama_cpp(python, Path("broken.gguf"), window=1, num_threads=1, kv_type="q8_0")
    with pytest.raises(BackendError, match=message), starting:
        pytest.fail("it started")


def test_where_llama_cpp_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf, folder = Path("m.gguf"), Path("m")
    assert find_llama_cpp("/other/python", gguf) == "/other/python"
    with pytest.raises(ConfigurationError, match="gguf file, not m"):
        find_llama_cpp("/other/python", folder)
    (tmp_path / "llama_cpp.py").write_text(DOUBLE)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_llama_cpp(None, gguf) == sys.executable
    assert find_llama_cpp(None, folder) is None


# --- a model --------------------------------------------------------------------------------------------------------


def test_the_reference_is_the_model_computed_densely(tiny_model: str) -> None:
    path, random = Path(tiny_model), np.random.default_rng(1)
    model, reference = load_model(path, load_config(path), torch.float32, HOST), reference_model(path, 50)
    for token_ids in random.integers(0, 256, (2, 50)):  # the first leaves nothing behind for the second
        logits = torch.from_numpy(reference.window_logits(token_ids))
        torch.testing.assert_close(logits, forward_logits(model, token_ids.tolist()), atol=1e-4, rtol=0)


def test_a_whole_run(tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "mine.txt"
    text.write_text("A text of one's own is what quality should be measured on. " * 4)
    main(["--model-path", tiny_model, "--text", str(text), "--tokens", "200", "--window", "50", "--num-threads", "1"])
    output = capsys.readouterr().out
    assert "mine.txt: 4 windows of 50 tokens" in output and "llama.cpp is not compared" in output
    (reference, ours), (zero, divergence) = (numbers_of(output, row) for row in ("perplexity", "KL divergence, median"))
    assert reference > 10 and ours == pytest.approx(reference, rel=0.05)
    assert zero == 0 and divergence < 0.01


def numbers_of(output: str, row: str) -> list[float]:
    (line,) = (line for line in output.splitlines() if row in line)
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "/nowhere.txt"], "--text must name a file of UTF-8 text"),
        (["--dtype", "float12"], "dtype must be one of"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str], message: str, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--model-path", tiny_model, *arguments])
    assert message in capsys.readouterr().err
