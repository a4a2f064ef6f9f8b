"""Runtime: a server that is started, used, and never left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import sglang as sgl
from sglang.lang.backends.base import Prompt
from sglang.lang.backends.runtime import Runtime
from sglang.lang.backends.runtime_endpoint import RuntimeEndpoint
from sglang.lang.ir import SamplingArguments
from sglang.srt.errors import (
    AuthenticationError,
    BackendError,
    ConfigurationError,
    EngineDeadError,
    InvalidRequestError,
    ModelLoadError,
    UnsupportedError,
)
from tests.helpers.runtime import SECONDS, engine_processes, eventually, is_gone

GREEDY = {"temperature": 0.0, "max_new_tokens": 8, "ignore_eos": True}
LONG = SamplingArguments(max_new_tokens=90_000, temperature=0.0, ignore_eos=True)


def processes_of(runtime: Runtime) -> list[int]:
    return [runtime.pid, *engine_processes(runtime.pid)]


# --- using it ---------------------------------------------------------------------------------------------------------


def test_generate_answers_json_text(runtime: Runtime, tiny_engine: sgl.Engine) -> None:
    answer = json.loads(runtime.generate("Once", GREEDY, return_logprob=True, top_logprobs_num=2))
    assert answer["text"] == tiny_engine.generate("Once", GREEDY)["text"]
    assert [len(top) for top in answer["meta_info"]["output_top_logprobs"]] == [2] * 8
    assert len(json.loads(runtime.generate(["a", "b"], GREEDY))) == 2
    with pytest.raises(InvalidRequestError, match="sampling_params"):
        runtime.generate("Once", 3)  # type: ignore[arg-type]


async def test_async_generate_gives_the_pieces(runtime: Runtime) -> None:
    whole = json.loads(runtime.generate("Once", GREEDY))["text"]
    async with aclosing(runtime.async_generate("Once", GREEDY)) as pieces:
        assert "".join([piece async for piece in pieces]) == whole
    async with aclosing(runtime.add_request("Once")) as pieces:
        assert await anext(pieces)


async def test_prefixes_and_state(runtime: Runtime) -> None:
    runtime.flush_cache()
    runtime.cache_prefix("A long beginning")
    assert json.loads(runtime.generate("A long beginning!", GREEDY))["meta_info"]["cached_tokens"] == 16
    runtime.flush_cache()
    assert json.loads(runtime.generate("A long beginning!", GREEDY))["meta_info"]["cached_tokens"] == 0
    assert (await runtime.get_server_info())["version"] == sgl.__version__
    assert runtime.endpoint.get_server_info()["version"] == sgl.__version__
    assert httpx.get(f"{runtime.url}/health").status_code == 200
    assert runtime.generate_url == f"{runtime.url}/generate"


def test_what_is_not_there_says_so(runtime: Runtime) -> None:
    with pytest.raises(UnsupportedError, match="get_tokenizer"):
        runtime.get_tokenizer()
    with pytest.raises(UnsupportedError, match="encode"):
        runtime.encode("text")


# --- starting it ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tp_size": 2}, "tp_size"),
        ({"no_such_option": False}, "unknown option 'no_such_option'"),
        ({"port": 99_999}, "port must be 0 to 65535"),
        ({"host": "no.such.host.invalid"}, "cannot listen on"),
        ({"dtype": object()}, "no plain value"),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigurationError, UnsupportedError), match=message):
        Runtime("smollm2", **options)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=str(tmp_path)):
        Runtime(str(tmp_path), port=0)


def test_a_server_that_takes_too_long(tiny_model: str) -> None:
    with pytest.raises(EngineDeadError, match="in time"):
        Runtime(tiny_model, port=0, launch_timeout=0.01)


def test_a_port_in_use_is_passed_over_and_the_key_is_used(tiny_model: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options: dict[str, Any] = {
            "tp_size": 1,
            "base_gpu_id": 0,
            "enable_radix_cache": False,
            "enable_torch_compile": False,
        }
        with Runtime(tiny_model, port=port, api_key="secret", num_threads=1, **options) as runtime:
            assert int(runtime.url.rpartition(":")[2]) > port
            assert len(json.loads(runtime.generate("Once", GREEDY))["output_ids"]) == 8
            assert json.loads(runtime.generate("Once", GREEDY))["meta_info"]["cached_tokens"] == 0
            with pytest.raises(AuthenticationError, match="needs its API key"):
                RuntimeEndpoint(runtime.url, api_key="wrong")
            running = processes_of(runtime)
            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(asyncio.run, generate_for_long(runtime))
                eventually(lambda: num_running(runtime) == 1, "the request runs")
                runtime.shutdown()
                with pytest.raises((BackendError, EngineDeadError), match=r"ended the connection|is shutting down"):
                    answer.result()
    eventually(lambda: all(map(is_gone, running)), "server and engine have ended")
    runtime.shutdown()  # twice is harmless
    with pytest.raises(BackendError, match="cannot be reached"):
        runtime.generate("Once")


async def generate_for_long(runtime: Runtime) -> None:
    try:
        await runtime.endpoint.generate(Prompt("for ever", ("for ever",)), LONG)
    finally:
        await runtime.endpoint.aclose()


def num_running(runtime: Runtime) -> int:
    (state,) = runtime.endpoint.get_server_info()["internal_states"]
    return int(state["num_running"])


# --- ending with its parent -------------------------------------------------------------------------------------------

SCRIPT = """
import os, sys
import sglang as sgl
runtime = sgl.Runtime(sys.argv[1], port=0, num_threads=1)
pid, endpoint = runtime.pid, runtime.endpoint
sgl.set_default_backend(None)
del runtime  # programs keep the endpoint, and by it the server
endpoint.get_server_info()
child = os.fork()  # holds what it inherits, and ends without ending what is its parent's
if not child:
    sys.stdin.read()
    sys.exit()
print(pid, child, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["killed", "ends"])
def test_nothing_outlives_the_process_that_started_it(tiny_model: str, how: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, tiny_model]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        server, child = map(int, process.stdout.readline().split())
        engines = engine_processes(server)
        assert len(engines) == 1 and psutil.pid_exists(child)
        if how == "killed":
            process.kill()
            eventually(lambda: all(map(is_gone, [server, *engines])), "server and engine end with their parent")
            os.kill(child, signal.SIGKILL)
        else:
            process.stdin.close()
            assert process.wait(SECONDS) == 0
            assert is_gone(server)
    eventually(lambda: all(map(is_gone, [server, child, *engines])), "all have ended")
