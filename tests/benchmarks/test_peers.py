"""The adapters of peers, on programs that answer as those do."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.processes import family
from benchmarks.systems import child_pipeline, openvino
from benchmarks.systems.base import Answer, BenchmarkError, Request
from benchmarks.systems.llama_cpp import LlamaBatchedBench, LlamaServer
from benchmarks.systems.openvino import OpenVino
from benchmarks.systems.vllm import Vllm, VllmServer, environment
from tests.helpers.runtime import eventually

MODEL = Path("model.gguf")

CHILD = """
import json, sys
print(json.dumps({"ready": "1"}), flush=True)
for line in sys.stdin:
    for request in json.loads(line):
        if request["prompt"] == [13]:
            sys.exit(1)
        times = [100.0 + request["prompt"][0] + step for step in range(request["new_tokens"])]
        token_ids = [len(request["prompt"])] * request["new_tokens"]
        answer = {"id": request["id"], "token_ids": token_ids, "times": times, "cached_tokens": 1}
        print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def openvino_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenVino:
    """Its child gives each request a token a second, later by as many seconds as its prompt's first token says."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    monkeypatch.setattr(openvino, "CHILD", script)
    return OpenVino("openvino", sys.executable, MODEL, threads=1)


def test_openvino_counts_what_comes_while_all_decode(openvino_system: OpenVino) -> None:
    openvino_system.start()
    try:
        assert openvino_system.decode_rate([[0], [0], [3]], 10) == pytest.approx(3.0)
        with pytest.raises(BenchmarkError, match="too few"):
            openvino_system.decode_rate([[0], [9]], 5)
    finally:
        openvino_system.stop()


def test_openvino_answers_single_requests(openvino_system: OpenVino) -> None:
    openvino_system.start()
    try:
        assert asyncio.run(openvino_system.complete(Request([5, 5], 2))) == Answer([2, 2], 1)
    finally:
        openvino_system.stop()
    assert openvino_system.process_ids() == []
    openvino_system.stop()


def test_openvino_that_dies_leaves_nobody_waiting(openvino_system: OpenVino) -> None:
    openvino_system.start()
    with pytest.raises(BenchmarkError, match="ended with requests open"):
        asyncio.run(openvino_system.complete(Request([13], 2)))
    openvino_system.stop()


SILENT = """
import json, sys
print(json.dumps({"ready": "1"}), flush=True)
sys.stdin.read()
"""


def test_a_library_that_hangs_is_named(openvino_system: OpenVino) -> None:
    openvino.CHILD.write_text(SILENT)
    system = OpenVino("openvino Q4", sys.executable, MODEL, threads=1, request_seconds=0.05)
    system.start()
    try:
        with pytest.raises(BenchmarkError, match=r"openvino Q4 did not answer within 0\.05 s"):
            asyncio.run(system.complete(Request([5], 2)))
        with pytest.raises(BenchmarkError, match=r"openvino Q4 did not answer within 0\.05 s"):
            system.total_seconds([[5], [6]], 2)
    finally:
        system.stop()


def test_a_library_that_never_starts_is_ended(openvino_system: OpenVino, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino.CHILD.write_text("import sys; sys.stdin.read()")
    monkeypatch.setattr(child_pipeline, "READY_SECONDS", 0.05)
    with pytest.raises(BenchmarkError, match=r"child\.py.* was not ready after 0\.05 s"):
        openvino_system.start()
    assert openvino_system.process_ids() == []


def test_openvino_that_is_dead_takes_no_requests(openvino_system: OpenVino) -> None:
    openvino_system.start()
    for process in family(openvino_system.process_ids()):
        process.kill()
        process.wait()
    with pytest.raises(BenchmarkError, match="takes no more requests"):
        asyncio.run(openvino_system.complete(Request([5], 2)))
    openvino_system.stop()


TALKATIVE = """
import json, subprocess, sys
print("INFO loading", flush=True)
process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], stdout=subprocess.DEVNULL)
print(json.dumps({"ready": "1"}), flush=True)
for line in sys.stdin:
    print("INFO a request", flush=True)
    for request in json.loads(line):
        answer = {"id": request["id"], "token_ids": [process.pid], "times": [0.0], "cached_tokens": None}
        print(json.dumps(answer), flush=True)
"""


def test_a_library_may_print_and_its_processes_end_with_it(
    openvino_system: OpenVino, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino.CHILD.write_text(TALKATIVE)
    openvino_system.start()
    (pid,) = asyncio.run(openvino_system.complete(Request([5], 1))).token_ids
    assert is_alive(pid)
    openvino_system.stop()
    eventually(lambda: not is_alive(pid), "the library's process has ended")


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_openvino_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "child.py"
    script.write_text("import a_module_that_is_not_there")
    monkeypatch.setattr(openvino, "CHILD", script)
    with pytest.raises(BenchmarkError, match="a_module_that_is_not_there"):
        OpenVino("openvino", sys.executable, MODEL, threads=1).start()


VLLM = """
class LLM:
    def __init__(self, model, **options):
        assert model == "model.gguf" and options["enable_prefix_caching"]
        self.llm_engine, self.running = self, {}

    def add_request(self, name, prompt, sampling_params):
        self.running[name] = (len(prompt["prompt_token_ids"]), sampling_params.max_tokens)

    def step(self):
        outputs = []
        for name, (length, left) in list(self.running.items()):
            self.running[name] = (length, left - 1)
            if left == 1:
                del self.running[name]
            outputs.append(Output(name, length, left == 1))
        return outputs

class Output:
    def __init__(self, name, length, finished):
        self.request_id, self.finished, self.num_cached_tokens = name, finished, 3
        self.outputs, self.token_ids = [self], [length]

__version__ = "1"
"""
VLLM_PARAMS = """
import types
RequestOutputKind = types.SimpleNamespace(DELTA="delta")

class SamplingParams:
    def __init__(self, **given):
        assert given["ignore_eos"] and given["output_kind"] == "delta" and given["structured_outputs"] is None
        self.max_tokens = given["max_tokens"]

StructuredOutputsParams = None
"""


@pytest.fixture
def vllm_system(tmp_path: Path) -> Vllm:
    """Its library gives each request a token a step: the length of its prompt."""
    package = tmp_path / "vllm"
    package.mkdir()
    (package / "__init__.py").write_text(VLLM)
    (package / "sampling_params.py").write_text(VLLM_PARAMS)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}:$PYTHONPATH" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return Vllm("vllm", str(python), MODEL, threads=1)


def test_vllm_answers_requests_of_any_length(vllm_system: Vllm) -> None:
    async def ask() -> list[Answer]:
        requests = (Request([1] * length, length) for length in (4, 2))
        return list(await asyncio.gather(*map(vllm_system.complete, requests)))

    vllm_system.start()
    try:
        assert asyncio.run(ask()) == [Answer([4] * 4, 3), Answer([2] * 2, 3)]
        assert vllm_system.decode_rate([[1], [2]], 8) > 0
    finally:
        vllm_system.stop()


def test_vllm_server_is_asked_as_openai(tmp_path: Path) -> None:
    server = VllmServer("vllm", "/bin/python", tmp_path, threads=2)
    assert server.command(port=5)[-4:] == ["--host", "127.0.0.1", "--port", "5"]
    assert server.body(Request([1], 2), stream=False)["model"] in server.command(port=5)
    assert environment(threads=2)["OMP_NUM_THREADS"] == "2"


def install_batched_bench(folder: Path, script: str) -> LlamaBatchedBench:
    tool = folder / "llama-batched-bench"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return LlamaBatchedBench("llama.cpp", folder, MODEL, threads=2)


def test_batched_bench_is_asked_for_this_work(tmp_path: Path) -> None:
    line = '{"t_pp": 2.0, "t_tg": 4.0, "speed_tg": 16.0}'
    system = install_batched_bench(tmp_path, f"echo \"$@\" > {tmp_path}/asked; echo main: note; echo '{line}'")
    prompts = [[1] * 24] * 8
    assert system.prefill_seconds(prompts) == 2.0
    assert system.decode_rate(prompts, 8) == 16.0
    assert system.total_seconds(prompts, 8) == 2.0 + 4.0 * 7 / 8
    asked = (tmp_path / "asked").read_text()
    assert asked.strip() == "-m model.gguf -t 2 -npp 24 -ntg 8 -npl 8 -c 256 --output-format jsonl"


def test_batched_bench_that_fails(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"ended with 3(.|\n)*no such model"):
        install_batched_bench(tmp_path, "echo no such model >&2; exit 3").prefill_seconds([[1]])


def test_batched_bench_that_hangs_is_named(tmp_path: Path) -> None:
    install_batched_bench(tmp_path, "exec sleep 600")
    system = LlamaBatchedBench("llama.cpp Q4", tmp_path, MODEL, threads=2, request_seconds=0.05)
    with pytest.raises(BenchmarkError, match=r"llama\.cpp Q4 did not answer within 0\.05 s"):
        system.prefill_seconds([[1]])


def test_batched_bench_takes_equal_lengths_only(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="equal length"):
        install_batched_bench(tmp_path, "").prefill_seconds([[1], [1, 2]])


def test_llama_server_gets_token_ids() -> None:
    server = LlamaServer("llama.cpp", Path("/bin"), MODEL, threads=2, total_tokens=64, slots=4, options=("--x",))
    command = server.command(port=5)
    assert command[0] == "/bin/llama-server"
    assert [*command[command.index("-c") :]] == ["-c", "64", "-np", "4", "--no-ui", "--x", "--port", "5"]
    free = server.body(Request([1, 2], 3), stream=True)
    assert (free["prompt"], free["n_predict"], free["stream"], free["ignore_eos"]) == ([1, 2], 3, True, True)
    constrained = server.body(Request([1, 2], 3, {"type": "object"}), stream=False)
    assert constrained["json_schema"] == {"type": "object"}
    assert "ignore_eos" not in constrained
    assert server.answer({"tokens": [7], "timings": {"cache_n": 2}}) == Answer([7], 2)
