"""The server as its operator sees it: start, clients that leave, death of the engine, signals, and idleness."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from sglang.srt.errors import ConfigurationError
from sglang.srt.kernels.native import choose_kernels
from sglang.srt.server import launch_server
from sglang.srt.server.listener import listen
from tests.helpers.runtime import SECONDS, Server, eventually, is_gone

LONG = {"temperature": 0.0, "max_new_tokens": 90_000, "ignore_eos": True}
"""Of a tiny model: takes minutes."""

ONE = {"max_new_tokens": 1}


@pytest.fixture
def tiny_server(tiny_model: str) -> Iterator[Server]:
    with start(tiny_model) as running:
        yield running


@pytest.fixture(scope="module")
def one_at_a_time(tiny_model: str) -> Iterator[Server]:
    """Computes one request at a time, so that one that is not ended blocks all that follow for minutes."""
    with start(tiny_model, "--max-running-requests", "1") as running:
        yield running
        assert "Traceback" not in running.log, running.log


def start(tiny_model: str, *options: str) -> Server:
    return Server("--model-path", tiny_model, "--num-threads", "1", *options)


def generate(url: str, text: str, params: dict[str, Any], **fields: Any) -> httpx.Response:
    body = {"text": text, "sampling_params": params, **fields}
    return httpx.post(f"{url}/generate", json=body, timeout=SECONDS)


def open_stream(url: str, text: str, pool: ThreadPoolExecutor) -> Any:
    """A future of all events of a long stream, which has begun."""
    lines: list[str] = []

    def read() -> list[str]:
        body = {"text": text, "sampling_params": LONG, "stream": True}
        with httpx.stream("POST", f"{url}/generate", json=body, timeout=SECONDS) as response:
            lines.extend(line for line in response.iter_lines() if line)
        return lines

    future = pool.submit(read)
    eventually(lambda: bool(lines) or future.done(), "the stream has begun")
    return future


def is_known(url: str, rid: str) -> bool:
    """Whether the server has a request of this name. Asks by one that is refused in any case."""
    body = {"text": ["a", "b", "c"], "rid": [rid, "twice", "twice"]}
    response = httpx.post(f"{url}/generate", json=body, timeout=SECONDS)
    assert response.status_code == 400
    return f"rid {rid!r}" in response.text


def send(url: str, request: bytes) -> socket.socket:
    target = httpx.URL(url)
    connection = socket.create_connection((target.host, target.port or 0), timeout=SECONDS)
    connection.sendall(request)
    return connection


def post_bytes(body: object) -> bytes:
    data = json.dumps(body).encode()
    return b"POST /generate HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)


# --- clients that leave ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3])
def test_a_client_that_leaves_its_stream_frees_the_request(one_at_a_time: Server, n: int) -> None:
    url = one_at_a_time.url
    body = {"text": "a", "sampling_params": {**LONG, "n": n}, "stream": True}
    with httpx.stream("POST", f"{url}/generate", json=body, timeout=SECONDS) as response:
        next(response.iter_raw())
    assert generate(url, "b", ONE).status_code == 200


@pytest.mark.parametrize("n", [1, 3])
def test_a_client_that_leaves_while_it_waits_frees_the_request(one_at_a_time: Server, n: int) -> None:
    url = one_at_a_time.url
    request = post_bytes({"text": "a", "sampling_params": {**LONG, "n": n}, "rid": "ghost"})
    with send(url, request):
        eventually(lambda: is_known(url, "ghost" if n == 1 else f"ghost_{n - 1}"), "the request is known")
    assert generate(url, "b", ONE).status_code == 200


def test_clients_that_leave_while_their_requests_are_queued(one_at_a_time: Server) -> None:
    url = one_at_a_time.url
    body = {"text": "first", "sampling_params": LONG, "stream": True}
    with httpx.stream("POST", f"{url}/generate", json=body, timeout=SECONDS) as response:
        next(response.iter_raw())
        queued = [
            send(url, post_bytes({"text": "a", "sampling_params": LONG, "stream": stream, "rid": f"{stream}"}))
            for stream in (False, True)
        ]
        eventually(lambda: is_known(url, "False") and is_known(url, "True"), "both are known")
        for connection in queued:
            connection.close()
    assert generate(url, "b", ONE).status_code == 200


def test_a_client_that_leaves_before_it_has_sent_its_body(one_at_a_time: Server) -> None:
    send(one_at_a_time.url, post_bytes({"text": "a"})[:-5]).close()
    assert generate(one_at_a_time.url, "b", ONE).status_code == 200


def test_an_idle_connection_outlives_those_that_clients_keep(one_at_a_time: Server) -> None:
    """httpx and so OpenAI's client keep one for 5 s; a request that is sent as it is closed would be lost."""
    with send(one_at_a_time.url, b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n") as connection:
        assert connection.recv(10_000).startswith(b"HTTP/1.1 200")
        connection.settimeout(6)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_a_busy_server_is_healthy(one_at_a_time: Server) -> None:
    """Also if the token that the check asks for has its turn only in minutes."""
    url = one_at_a_time.url
    body = {"text": "a", "sampling_params": LONG, "stream": True}
    with httpx.stream("POST", f"{url}/generate", json=body, timeout=SECONDS) as response:
        chunks = response.iter_raw()
        next(chunks)
        for path in ("/health", "/health_generate"):
            assert httpx.get(url + path, timeout=SECONDS).status_code == 200
        assert next(chunks)
    assert generate(url, "b", ONE).status_code == 200


def test_an_idle_server_uses_no_processor(one_at_a_time: Server) -> None:
    """After the work above, whose traces the engine checks once it idles."""
    url = one_at_a_time.url
    assert generate(url, "b", ONE).status_code == 200
    processes = [psutil.Process(pid) for pid in (one_at_a_time.process.pid, one_at_a_time.engine_pid)]
    time.sleep(1.2)  # the check is after a second
    used = [-sum(process.cpu_times()[:2]) for process in processes]
    time.sleep(1)
    for index, process in enumerate(processes):
        assert used[index] + sum(process.cpu_times()[:2]) < 0.05
    assert httpx.get(f"{url}/health").status_code == 200


async def test_an_answer_is_sent_at_once() -> None:
    """A kernel that waits for more to send (Nagle's algorithm) makes every answer 40 ms late."""
    options: list[int] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        options.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = listen("127.0.0.1", 0)
    async with await asyncio.start_server(note, sock=listener):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        await reader.read()
        writer.close()
        await writer.wait_closed()
    assert options == [1]


# --- what it is made of ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "absent"),
    [("sglang", ("torch", "fastapi", "numpy")), ("sglang.srt.server.launch", ("torch", "transformers"))],
)
def test_what_an_import_does_not_bring(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; sys.exit(' '.join({set(absent)!r} & sys.modules.keys()) or None)"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=SECONDS)
    assert (result.returncode, result.stderr) == (0, ""), f"import {module} imports {result.stderr}"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
@pytest.mark.skipif(not choose_kernels().is_native, reason="torch computes")
def test_no_process_has_torch(one_at_a_time: Server) -> None:
    assert generate(one_at_a_time.url, "a", ONE).status_code == 200
    has_torch = {
        pid: "libtorch" in Path(f"/proc/{pid}/maps").read_text()
        for pid in (one_at_a_time.process.pid, one_at_a_time.engine_pid)
    }
    assert list(has_torch.values()) == [False, False]


# --- the end ---------------------------------------------------------------------------------------------------------


def test_the_death_of_the_engine_is_told_at_once(tiny_server: Server) -> None:
    url, engine_pid = tiny_server.url, tiny_server.engine_pid
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(generate, url, "waits", LONG, rid="waits")
        eventually(lambda: is_known(url, "waits"), "the request is known")
        stream = open_stream(url, "streams", pool)
        psutil.Process(engine_pid).kill()
        *_, error, done = stream.result(SECONDS)
        response = waiting.result(SECONDS)
    assert done == "data: [DONE]"
    for body in (json.loads(error.removeprefix("data: ")), response.json()):
        assert (body["error"]["type"], body["error"]["code"]) == ("engine_dead", 503)
        assert "killed by SIGKILL" in body["error"]["message"]
    assert response.status_code == 503
    for path in ("/health", "/health_generate", "/metrics"):
        assert httpx.get(url + path).status_code == 503
    assert generate(url, "a", ONE).status_code == 503
    assert tiny_server.process.poll() is None
    tiny_server.stop()
    assert "the engine process was killed by SIGKILL" in tiny_server.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_both_processes_and_leaves_no_files(
    tiny_model: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with start(tiny_model) as server:
        assert generate(server.url, "a", ONE).status_code == 200
        engine_pid = server.engine_pid
        assert server.stop(number) in (0, -number, 128 + number)
        eventually(lambda: is_gone(engine_pid), "the engine process has ended")
    assert "Traceback" not in server.log
    assert list(tmp_path.iterdir()) == []


def test_sigterm_lets_answers_end_that_are_under_way_and_then_ends_both_processes(tiny_server: Server) -> None:
    url, engine_pid, events = tiny_server.url, tiny_server.engine_pid, list[str]()
    params = {**LONG, "max_new_tokens": 300}  # also on a busy machine in far less time than they are given
    body = {"text": "a", "sampling_params": params, "stream": True}
    with httpx.stream("POST", f"{url}/generate", json=body, timeout=SECONDS) as response:
        lines = response.iter_lines()
        next(lines)
        tiny_server.process.send_signal(signal.SIGTERM)
        events += [line for line in lines if line]
    assert events[-1] == "data: [DONE]"
    assert len(json.loads(events[-2].removeprefix("data: "))["output_ids"]) == 300
    assert tiny_server.process.wait(SECONDS) in (0, -signal.SIGTERM)
    eventually(lambda: is_gone(engine_pid), "the engine process has ended")
    assert "Traceback" not in tiny_server.log


def test_a_second_interrupt_ends_the_answers_under_way(tiny_server: Server) -> None:
    """Each gets an error that says why; the first interrupt would have waited for them."""
    url = tiny_server.url
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(generate, url, "waits", LONG, rid="waits")
        eventually(lambda: is_known(url, "waits"), "the request is known")
        stream = open_stream(url, "streams", pool)
        tiny_server.process.send_signal(signal.SIGINT)
        eventually(lambda: "answers under way: 2; waiting up to 10 s" in tiny_server.log, "it says that it waits")
        tiny_server.process.send_signal(signal.SIGINT)
        *_, error, done = stream.result(SECONDS)
        response = waiting.result(SECONDS)
    assert (done, response.status_code) == ("data: [DONE]", 503)
    for body in (json.loads(error.removeprefix("data: ")), response.json()):
        assert body["error"]["message"] == "the server is shutting down"
    assert tiny_server.process.wait(SECONDS) in (-signal.SIGINT, 128 + signal.SIGINT)
    assert "Traceback" not in tiny_server.log


def test_who_takes_nothing_is_cut_off_in_the_end(tiny_server: Server) -> None:
    request = post_bytes({"text": "a", "sampling_params": LONG, "stream": True, "rid": "unread"})
    with send(tiny_server.url, request):
        eventually(lambda: is_known(tiny_server.url, "unread"), "the request is known")
        tiny_server.process.send_signal(signal.SIGINT)
        eventually(lambda: "answers under way: 1; waiting up to 10 s" in tiny_server.log, "it says that it waits")
        assert tiny_server.stop(signal.SIGINT) in (-signal.SIGINT, 128 + signal.SIGINT)
    assert "Traceback" not in tiny_server.log


LAUNCH = """
import sys
from sglang.srt.server import launch_server

assert "fastapi" not in sys.modules
launch_server(model_path=sys.argv[1], host="127.0.0.1", port=0, tp_size=1, num_threads=1)
print("interrupted")
"""


def test_launch_server_is_a_function_too(tiny_model: str) -> None:
    command = [sys.executable, "-c", LAUNCH, tiny_model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        log = ""
        while "ready to roll" not in log:
            line = process.stderr.readline()
            assert line, log
            log += line
        process.send_signal(signal.SIGINT)
        output, rest = process.communicate(timeout=SECONDS)
    assert (output, process.returncode) == ("interrupted\n", 0)
    assert "Traceback" not in rest


def test_launch_server_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ConfigurationError, match="tp_size must be 1 here, not 2"):
        launch_server(model_path="smollm2", tp_size=2)
    with pytest.raises(ConfigurationError, match="unknown option 'prot'"):
        launch_server(model_path="smollm2", prot=5)


def test_a_port_in_use_is_said_before_the_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "sglang.launch_server", "--model-path", "/nowhere", "--port", str(port)]
        result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr and "choose another --port" in result.stderr
    assert "Traceback" not in result.stderr
