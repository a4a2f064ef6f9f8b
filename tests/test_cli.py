"""The ``sglang`` command, run as a person runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sglang as sgl
from tests.helpers.runtime import SECONDS

PROMPT = "The quick brown fox"


def sglang(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sglang", *arguments]
    return subprocess.run(command, check=False, input=stdin, capture_output=True, text=True, timeout=SECONDS)


def generate(tiny_model: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    options = ("--model-path", tiny_model, "--num-threads", "1", "--max-new-tokens", "12")
    return sglang("generate", *arguments, *options, stdin=stdin)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--help"], ["serve", "generate", "models", "Try: sglang generate"]),
        (["serve", "--help"], ["--host", "--port", "30000", "--model-path", "--max-total-tokens", "smollm2"]),
        (["generate", "--help"], ["prompt", "--raw", "--max-new-tokens", "--temperature", "--model-path"]),
        (["models", "--help"], ["list", "fetch"]),
        (["--version"], [sgl.__version__]),
    ],
)
def test_help(arguments: list[str], parts: list[str]) -> None:
    result = sglang(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert all(part in result.stdout for part in parts), result.stdout


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["serve", "--max-total-token", "3000"], "; did you mean --max-total-tokens?"),
        (["generate", "--max_new_tokens", "5", "hi"], "; did you mean --max-new-tokens?"),
        (["serve", "--prot=3"], "; did you mean --port?"),
        (["generate", "hi", "--promt", "x"], ""),
        (["serve", "--zzz"], ""),
    ],
)
def test_an_option_that_is_none_is_named_with_the_one_that_it_comes_close_to(arguments: list[str], meant: str) -> None:
    result = sglang(*arguments)
    unknown = [argument for argument in arguments if argument.startswith("--")]
    assert (result.returncode, result.stdout) == (2, "")
    assert f"unrecognized arguments: {unknown[0]}" in result.stderr
    assert result.stderr.endswith(f"{meant}\n") and ("did you mean" in result.stderr) == bool(meant)


def test_launch_server_is_serve() -> None:
    command = [sys.executable, "-m", "sglang.launch_server", "--help"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
    assert result.returncode == 0 and "--port" in result.stdout


def test_generate_raw_continues_the_text(tiny_model: str, tiny_engine: sgl.Engine) -> None:
    params = {"temperature": 0.0, "max_new_tokens": 12}
    expected = tiny_engine.generate(PROMPT, params)
    assert expected["meta_info"]["finish_reason"]["type"] == "length"
    result = generate(tiny_model, PROMPT, "--raw")
    assert (result.returncode, result.stdout) == (0, expected["text"] + "\n")
    assert result.stderr == "[ended after --max-new-tokens 12]\n"


def test_generate_asks_as_a_chat_and_reads_a_prompt_from_stdin(tiny_model: str, tiny_engine: sgl.Engine) -> None:
    ids = tiny_engine.tokenizer.apply_chat_template([{"role": "user", "content": PROMPT}])
    params = {"temperature": 0.9, "max_new_tokens": 12, "top_k": 20, "sampling_seed": 3}
    expected = tiny_engine.generate(input_ids=ids, sampling_params=params)
    result = generate(tiny_model, "-", "--temperature", "0.9", "--top-k", "20", "--seed", "3", stdin=PROMPT)
    assert (result.returncode, result.stdout) == (0, expected["text"] + "\n")


def test_generate_clips_its_own_default_to_what_fits(tiny_model: str) -> None:
    options = ("--model-path", tiny_model, "--num-threads", "1", "--context-length", "40")
    result = sglang("generate", PROMPT, "--raw", *options)
    assert (result.returncode, result.stderr) == (0, "[ended after 21 tokens: no more fit]\n")
    result = sglang("generate", PROMPT, "--raw", *options, "--max-new-tokens", "22")
    assert result.returncode == 1 and "at most 21 new tokens fit" in result.stderr


def test_generate_says_that_a_prompt_is_empty(tiny_model: str) -> None:
    result = generate(tiny_model, "-", "--raw")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "sglang: the prompt is empty: there is nothing to continue\n"


def test_generate_ends_quietly_when_its_reader_has_seen_enough(tiny_model: str) -> None:
    options = ["--model-path", tiny_model, "--num-threads", "1", "--raw", "--max-new-tokens", "50000"]
    command = [sys.executable, "-m", "sglang", "generate", PROMPT, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(SECONDS) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("command", [["serve"], ["generate", "a"]])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model-path", "/nowhere/model.gguf"], "no file or folder '/nowhere/model.gguf'"),
        (["--max-total-tokens", "0"], "max_total_tokens must be an integer of at least 1, not 0"),
        (["--tp", "2"], "tp_size must be 1 here, not 2: tensor parallelism is not available yet"),
        (["--quantization", "fp8"], "option 'quantization' exists in the published SGLang, but not here yet"),
        (["--enable-radix-cache", "--disable-radix-cache"], "enable_radix_cache and disable_radix_cache are both true"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(command: list[str], options: list[str], message: str) -> None:
    port = ["--port", "0"] if command == ["serve"] else []
    result = sglang(*command, *options, *port)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("sglang: ") and message in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["serve", "--prot", "1"],
        ["serve", "--max-total", "5"],
        ["generate", "a", "--top-k", "many"],
        ["models", "list", "x"],
        ["models", "x"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str]) -> None:
    result = sglang(*arguments)
    assert result.returncode == 2 and "usage: " in result.stderr


def test_models_lists_what_is_known(default_model_path: Path) -> None:
    result = sglang("models")
    assert result.returncode == 0 and result.stdout == sglang("models", "list").stdout
    assert sglang("models", "fetch", "SmolLM2").stdout == f"{default_model_path}\n"
    assert "smollm2" in result.stdout and default_model_path.name in result.stdout and "(fetched)" in result.stdout
