"""Where the model runs and what that machine has. With the attention backends and kernels/ops, the only place that
knows one device from another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sglang.srt.errors import ConfigurationError

MAX_THREADS_PER_CORE = 4
"""More take turns on the cores, and each has memory of its own."""

HOST = "cpu"
"""Where tables are made and results are read, wherever the model runs. As torch calls it."""


@dataclass(frozen=True, slots=True)
class Device:
    """name: as torch calls it."""

    name: str
    num_threads: int

    def available_bytes(self) -> int:
        """Memory a new allocation could take without pushing others out, within this process's limits."""
        return min(_free_memory_bytes(), _cgroup_headroom_bytes())


def open_device(name: str, num_threads: int | None) -> Device:
    """num_threads: None takes one for each core that this process may use.

    Raises ConfigurationError for a device that this version cannot use, and for far more threads than it has cores.
    """
    if name not in ("auto", "cpu"):
        raise ConfigurationError(f"device={name!r} is not supported; this version runs on 'cpu'")
    num_cores = len(os.sched_getaffinity(0))
    if num_threads is not None and num_threads > (most := MAX_THREADS_PER_CORE * num_cores):
        raise ConfigurationError(
            f"num_threads={num_threads} is more than {most}, {MAX_THREADS_PER_CORE} for each of the {num_cores} cores "
            f"that this process may use; {num_cores}, the default, is as many as can compute at a time"
        )
    return Device(HOST, num_threads or num_cores)


def _free_memory_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroup_headroom_bytes() -> int:
    """What a container's memory limit leaves; unlimited if there is none."""
    root = Path("/sys/fs/cgroup")
    try:
        limit, used = (root / "memory.max").read_text().strip(), (root / "memory.current").read_text().strip()
    except OSError:
        return 1 << 62
    return 1 << 62 if limit == "max" else max(int(limit) - int(used), 0)
