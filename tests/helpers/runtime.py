"""Running engines and servers, watched from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

import psutil

import sglang as sgl

SECONDS = 60.0
"""How long anything that has to happen may take on a busy machine. A failure takes this long, a success never."""

POLL_SECONDS = 0.005

ENGINE_MODULE = "sglang.srt.scheduler.process"


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Looks often instead of long: a machine that stands still for a minute takes no look away."""
    for _ in range(round(SECONDS / POLL_SECONDS)):
        if condition():
            return
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"not so after {SECONDS:g} s of looking: {what}")


def engine_processes(parent: int | None = None) -> list[int]:
    """The engine processes started by a process, by default this one."""
    children = psutil.Process(parent or os.getpid()).children()
    return [child.pid for child in children if is_engine(child)]


def is_engine(process: Any) -> bool:
    try:
        return any(ENGINE_MODULE in argument for argument in process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def is_gone(pid: int) -> bool:
    """Whether a process has ended. One that only waits for its parent to take note has."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def state_of(engine: sgl.Engine) -> dict[str, int]:
    (state,) = engine.get_server_info()["internal_states"]
    return dict(state)


def assert_baseline(engine: sgl.Engine) -> None:
    """Soon no request is left, and then every slot is free or evictable."""

    def is_idle() -> bool:
        state = state_of(engine)
        return state["num_running"] == 0 and state["num_waiting"] == 0

    eventually(is_idle, "no request is left in the engine")
    state = state_of(engine)
    assert (state["running_tokens"], state["protected_tokens"]) == (0, 0)
    assert state["free_tokens"] + state["evictable_tokens"] == state["total_tokens"]


class Server:
    """``python -m sglang.launch_server`` on a free port. Starts at once; `url` waits until it is ready."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sglang.launch_server", "--port", "0", *options], stderr=subprocess.PIPE, text=True
        )
        self._lines: list[str] = []
        self._url: str | None = None
        self._is_ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        try:
            eventually(self._is_ready.is_set, "the server is ready or has ended")
        except AssertionError as error:
            self._fail(str(error))
        if self._url is None:
            self._fail("the server did not start")
        return self._url

    @property
    def log(self) -> str:
        return "".join(self._lines)

    @property
    def engine_pid(self) -> int:
        (pid,) = engine_processes(self.process.pid)
        return pid

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; the exit code of the server."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(SECONDS)  # its end is the engine's, which has the same stderr
        assert not self._reader.is_alive(), "the engine process outlived the server"

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self._lines.append(line)
                if "listening on " in line:
                    self._url = line.split("listening on ")[1].split(",")[0]
                if "ready to roll" in line:
                    self._is_ready.set()
        self._is_ready.set()

    def _fail(self, reason: str) -> NoReturn:
        raise AssertionError(f"{reason}; its log:\n{self.log}")
