"""Where the model runs and what that machine has. With the attention backends and kernels/ops, the only place that
knows one device from another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from sglang.srt.args import Dtype
from sglang.srt.errors import ConfigurationError

HOST = torch.device("cpu")
"""Where tables are made and results are read, wherever the model runs."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Device:
    torch_device: torch.device
    num_threads: int

    def available_bytes(self) -> int:
        """Memory a new allocation could take without pushing others out, within this process's limits."""
        return min(_free_memory_bytes(), _cgroup_headroom_bytes())

    def torch_dtype(self, name: Dtype) -> torch.dtype:
        """The dtype that torch computes in: float32 unless asked otherwise, because here only float32 products agree
        between batches closely enough.
        """
        return torch.float32 if name == "auto" else _DTYPES[name]


def open_device(name: str, num_threads: int | None) -> Device:
    """Choose the device and set torch's thread counts for this process.

    Raises ConfigurationError for a device that this version cannot use.
    """
    if name not in ("auto", "cpu"):
        raise ConfigurationError(f"device={name!r} is not supported; this version runs on 'cpu'")
    threads = num_threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    return Device(HOST, threads)


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
