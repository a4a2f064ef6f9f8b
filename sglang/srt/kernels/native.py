"""Whether this process computes with the native kernels, and with which instructions.

The kernels are compiled when the package is installed, for several levels of processors in one module. Where they could
not be compiled the package works without them, on torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import ModuleType

from sglang.srt.errors import ConfigurationError, did_you_mean, shown

NATIVE_LEVELS = ("avx512", "avx_vnni", "avx2", "portable")
"""The levels of the native kernels, best first. The last runs on every processor."""

TORCH = "torch"
"""The level without native kernels."""

LEVEL_VARIABLE = "SGLANG_CPU_LEVEL"

_NOT_BUILT = "the native kernels were not built (`pip install -v` of the source says why)"


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """What computes in this process. As a string: one line for the log."""

    level: str
    reason: str

    @property
    def is_native(self) -> bool:
        return self.level != TORCH

    def __str__(self) -> str:
        return f"computing with {f'native {self.level} kernels' if self.is_native else TORCH}: {self.reason}"


def cpu_level() -> str:
    """The level that this process computes with: one of NATIVE_LEVELS, or TORCH.

    Raises ConfigurationError as choose_kernels does.
    """
    return choose_kernels().level


def choose_kernels() -> KernelChoice:
    """What SGLANG_CPU_LEVEL asks for; without it the best level there is.

    Raises ConfigurationError if that is no level, or one that was not compiled in or that this processor cannot run.
    """
    module, problem = _load()
    usable = usable_levels()
    wanted = os.environ.get(LEVEL_VARIABLE)
    if not wanted:
        return KernelChoice(usable[0], "the best level of this processor") if usable else KernelChoice(TORCH, problem)
    if wanted not in (*NATIVE_LEVELS, TORCH):
        hint = did_you_mean(wanted, (*NATIVE_LEVELS, TORCH), "levels")
        raise ConfigurationError(f"{LEVEL_VARIABLE}={shown(wanted)} is not a level; {hint}")
    if wanted not in (*usable, TORCH):
        lack = problem
        if module:
            lack = "this processor lacks it" if wanted in module.compiled_levels() else "it was not compiled in"
        raise ConfigurationError(f"{LEVEL_VARIABLE}={wanted}: {lack}; there is {', '.join([*usable, TORCH])}")
    return KernelChoice(wanted, f"{LEVEL_VARIABLE} asks for it")


def usable_levels() -> list[str]:
    """The native levels that this processor can run, best first; empty if the native kernels were not built."""
    module, _ = _load()
    return module.usable_levels() if module else []


def _load() -> tuple[ModuleType | None, str]:
    """The native module, or None and why there is none."""
    try:
        import sglang.srt.kernels._native as module
    except ModuleNotFoundError:
        return None, _NOT_BUILT
    except ImportError as error:
        return None, f"the native kernels cannot be loaded ({error})"
    return module, ""
