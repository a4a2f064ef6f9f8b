"""Every option of the engine and the server, with its default and its check. The command line is made from these."""

from __future__ import annotations

import difflib
from typing import Any, Literal, get_args

import msgspec

from sglang.srt.errors import ConfigurationError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
SchedulePolicyName = Literal["lpm", "fcfs"]
LogLevel = Literal["debug", "info", "warning", "error"]

UNLIMITED = -1


class EngineArgs(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the engine, named and meant as in the published system. None means: chosen at start.

    model_path: an alias such as ``smollm2``, a .gguf file, a Hugging Face folder, or a hub name.
    dtype: ``auto`` is float32 on a CPU, where torch's matrix products then agree between batches to about 1e-6.
    context_length: at most the model's own, which is the default.
    mem_fraction_static: part of the available memory the key/value cache may use.
    max_total_tokens: size of the key/value cache in tokens; given, it replaces the choice by memory.
    max_running_requests: how many requests are computed in one step.
    chunked_prefill_size: token budget of a step: prompt tokens beside the decoding rows; -1 for no limit.
    schedule_policy: ``lpm`` serves the longest cached prefix first, ageing so that none starves; ``fcfs`` by arrival.
    random_seed: makes the seeds of requests that bring none repeat from start to start.
    num_threads: compute threads; by default one per core this process may use.
    """

    model_path: str
    revision: str | None = None
    dtype: Dtype = "auto"
    device: str = "auto"
    context_length: int | None = None
    mem_fraction_static: float | None = None
    max_total_tokens: int | None = None
    max_running_requests: int | None = None
    chunked_prefill_size: int | None = None
    schedule_policy: SchedulePolicyName = "lpm"
    disable_radix_cache: bool = False
    random_seed: int | None = None
    num_threads: int | None = None
    log_level: LogLevel = "info"

    def __post_init__(self) -> None:
        if not isinstance(self.model_path, str) or not self.model_path:
            raise ConfigurationError(f"model_path must name a model, not {self.model_path!r}; try 'smollm2'")
        self._check_choice("dtype", get_args(Dtype))
        self._check_choice("schedule_policy", get_args(SchedulePolicyName))
        self._check_choice("log_level", get_args(LogLevel))
        for name in ("context_length", "max_total_tokens", "max_running_requests", "num_threads"):
            self._check_integer(name, 1)
        if self.chunked_prefill_size != UNLIMITED:
            self._check_integer("chunked_prefill_size", 1, f"{UNLIMITED} (no limit) or ")
        self._check_integer("random_seed", 0)
        fraction = self.mem_fraction_static
        if fraction is not None and not (isinstance(fraction, (int, float)) and 0.0 < fraction < 1.0):
            raise ConfigurationError(f"mem_fraction_static must be between 0 and 1, not {fraction!r}")
        if not isinstance(self.device, str):
            raise ConfigurationError(f"device must be text, not {self.device!r}")
        if not isinstance(self.revision, str | None):
            raise ConfigurationError(f"revision must be text, not {self.revision!r}")
        if not isinstance(self.disable_radix_cache, bool):
            raise ConfigurationError(f"disable_radix_cache must be true or false, not {self.disable_radix_cache!r}")

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise ConfigurationError(f"{name} must be one of {', '.join(choices)}, not {value!r}")

    def _check_integer(self, name: str, least: int, otherwise: str = "") -> None:
        """Of 64 bits, as messages need."""
        value = getattr(self, name)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (is_integer and least <= value < 2**63):
            raise ConfigurationError(f"{name} must be {otherwise}an integer of at least {least}, not {value!r}")


def engine_args(**given: Any) -> EngineArgs:
    """EngineArgs from keyword arguments. Raises ConfigurationError naming what is missing, unknown or wrong."""
    if not given.get("model_path"):
        raise ConfigurationError("model_path is missing; try model_path='smollm2'")
    known = EngineArgs.__struct_fields__
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known options: {', '.join(known)}"
            raise ConfigurationError(f"unknown option {name!r}; {hint}")
    return EngineArgs(**given)


class ServerArgs(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the HTTP side."""

    host: str = "127.0.0.1"
    port: int = 30000

    def __post_init__(self) -> None:
        if not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise ConfigurationError(f"port must be 0 to 65535, not {self.port!r}")
