"""Processes of a system: their output, the memory they take, and keeping them still while another one is timed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import psutil

from benchmarks.systems.base import BenchmarkError

STOP_SECONDS = 30.0


class Child:
    """A process with variables of its own, and its standard error kept in a file, which a failure shows the end of."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, *, has_pipes: bool = False
    ) -> None:
        variables = {**os.environ, **(environment or {})}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        pipe = subprocess.PIPE if has_pipes else subprocess.DEVNULL
        try:
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._log, env=variables)
        except OSError as error:
            self._log.close()
            raise BenchmarkError(f"cannot run {command[0]!r}: {error}") from error

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        """Raises BenchmarkError with the end of its output if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise self.failure(f"ended with {code}")

    def failure(self, what: str) -> BenchmarkError:
        """What to raise because of this process."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 2000))
        tail = self._log.read().decode(errors="replace")
        return BenchmarkError(f"{self.process.args!r} {what}; the end of its output:\n{tail}")

    def stop(self) -> None:
        """End it and its children, first kindly; at once if that is interrupted."""
        children = family([self.pid])
        self.process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        finally:
            kill(children)
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout, self._log):
                if stream is not None:
                    with suppress(BrokenPipeError):  # what it has not read
                        stream.close()

    def kill(self) -> None:
        """End it and its children at once. `stop` is still to be called."""
        kill(family([self.pid]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def family(pids: Iterable[int]) -> list[psutil.Process]:
    """These processes and all that descend from them, as far as they still live."""
    found = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return found


def kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def frozen(pids: Iterable[int]) -> Iterator[None]:
    """Stops these processes and what descends from them meanwhile, so that no thread of theirs spins."""
    processes = family(pids)
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # it ended meanwhile; who asks it for something will find out
                process.send_signal(signal.SIGCONT)


def proportional_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes and what descends from them: a page that several share counts once (PSS)."""
    total = 0
    for process in family(pids):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total
