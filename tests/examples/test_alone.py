"""Examples in processes of their own, only an address replaced: those that start a model, and those for a shell."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from sglang.cli import main
from sglang.srt.args import EngineArgs, ServerArgs
from sglang.srt.tokenizer.chat_template import ChatTemplate
from sglang.srt.tokenizer.chat_template_file import read_chat_template
from tests.examples.running import SECONDS, commands, environment, run_alone, source
from tests.examples.seeds import EXAMPLES
from tests.helpers.runtime import eventually


def test_runtimes_with_and_without_the_cache(tmp_path: Path) -> None:
    with_cache, without = (int(line.rpartition(" ")[2]) for line in run_alone("001_5_radix_cache.py", tmp_path).lines)
    assert with_cache > without == 0


def test_the_first_runtime_is_the_default_backend(tmp_path: Path) -> None:
    assert run_alone("002_1_basic_use.py", tmp_path).printed.strip()


def test_an_engine_as_default_backend(server_url: str, tmp_path: Path) -> None:
    assert run_alone("004_1_default_backend.py", tmp_path, server_url).printed.strip()


@contextlib.contextmanager
def serving(command: Sequence[str], port: int) -> Iterator[str]:
    """A server's command while it runs. Its address, once it answers; at the end it is interrupted and ends well."""
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, f"{command} ended with {process.returncode}"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}/health", trust_env=False).is_success
        return False

    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as process:
        try:
            eventually(answers, f"{command} serves")
            yield url
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) in (0, 130)
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_launch_server_from_python(tmp_path: Path) -> None:
    port, script = free_port(), tmp_path / "launch.py"
    script.write_text(source("002_3_launch_server.py").replace("30000", str(port)), encoding="utf-8")
    with serving([sys.executable, str(script)], port) as url:
        assert httpx.get(f"{url}/v1/models", trust_env=False).json()["data"][0]["id"] == "smollm2"


def test_launch_server_from_the_shell() -> None:
    (python, *launch), curl = commands("004_1_launch_server.sh")
    port = free_port()
    assert python == "python"
    with serving([sys.executable, *(word.replace("30000", str(port)) for word in launch)], port) as url:
        command = [word.replace("http://127.0.0.1:30000", url) for word in curl]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    assert '"smollm2"' in answer


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[EngineArgs, ServerArgs]]:
    """What servers would have been started with; none is."""
    started: list[tuple[EngineArgs, ServerArgs]] = []
    monkeypatch.setattr("sglang.srt.server.launch.run_server", lambda *args: started.append(args))
    monkeypatch.chdir(EXAMPLES)
    return started


def launch(words: Sequence[str]) -> int:
    """What ``python -m sglang.launch_server ...`` does."""
    assert words[:3] == ["python", "-m", "sglang.launch_server"]
    return main(["serve", *words[3:]])


def test_first_command(launched: list[tuple[EngineArgs, ServerArgs]]) -> None:
    (command,) = commands("000_5_launch_server.sh")
    assert launch(command) == 0
    ((engine, server),) = launched
    assert (engine.model_path, server.host, server.port) == ("smollm2", "0.0.0.0", 30000)


def test_server_options(launched: list[tuple[EngineArgs, ServerArgs]], capsys: pytest.CaptureFixture[str]) -> None:
    basic, full, table = commands("001_9_launch_server.sh")
    assert launch(basic) == launch(table) == 0
    assert launch(full) == 1
    assert re.search(r"\btp\b|tp_size", capsys.readouterr().err), "the refusal names the option"
    at = full.index("--tp")
    assert launch([*full[:at], *full[at + 2 :]]) == 0
    (basic_engine, basic_server), (table_engine, _), (full_engine, _) = launched
    assert basic_server.port == 8000
    assert (table_engine.disable_radix_cache, table_engine.chunked_prefill_size) == (True, -1)
    assert not basic_engine.disable_radix_cache and not full_engine.disable_radix_cache
    assert (full_engine.mem_fraction_static, full_engine.chat_template) == (0.88, "chat_template.jinja")


def test_template_of_the_server_options() -> None:
    template = ChatTemplate(read_chat_template(str(EXAMPLES / "chat_template.jinja")))
    prompt = template.render([{"role": "user", "content": "Hi"}], add_generation_prompt=True)
    assert prompt == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
