"""From arguments to a model in memory and the room for its keys and values."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sglang.srt.args import UNLIMITED, EngineArgs
from sglang.srt.device import Device, open_device
from sglang.srt.errors import ConfigurationError
from sglang.srt.executor.backend import open_backend
from sglang.srt.executor.loading_bar import loading_bar
from sglang.srt.executor.model_runner import ModelRunner
from sglang.srt.messages import EngineInfo
from sglang.srt.model.config import ModelConfig, load_config

logger = logging.getLogger(__name__)

DEFAULT_MEM_FRACTION = 0.5
DEFAULT_TOKENS_CAP = 65_536
"""Unless asked for more, the cache is at most this long (or one context, if that is longer)."""

SMALLEST_USEFUL_CACHE = 256
"""Tokens of the shortest chats: some tens for the template and its system message, a question, and a paragraph."""

DEFAULT_CHUNK = 512
DEFAULT_MAX_RUNNING = 256


@dataclass(frozen=True, slots=True)
class LoadedModel:
    runner: ModelRunner[Any]
    info: EngineInfo


def load_engine_model(args: EngineArgs, model_path: str) -> LoadedModel:
    """Read the model at `model_path` (a file or folder on disk) and size everything.

    Raises ModelLoadError, or ConfigurationError if an argument does not fit the model or the machine.
    """
    started = time.perf_counter()
    device = open_device(args.device, args.num_threads)
    path = Path(model_path)
    config = load_config(path)
    context_length = _context_length(args, config)
    with loading_bar(f"Loading {path.name}", is_wanted=args.log_level in ("debug", "info")) as on_progress:
        backend = open_backend(device, path, config, args, on_progress)
    max_total_tokens = _max_total_tokens(args, device, context_length, backend.kv_bytes_per_token)
    # A request whose whole prompt is cached computes its last token beside the shared slots: one slot to spare.
    runner = backend.make_runner(max_total_tokens + 1)
    chunk = args.chunked_prefill_size or DEFAULT_CHUNK
    info = EngineInfo(
        context_length=context_length,
        vocab_size=config.vocab_size,
        max_total_tokens=max_total_tokens,
        max_running_requests=args.max_running_requests or min(DEFAULT_MAX_RUNNING, max_total_tokens),
        chunked_prefill_size=max_total_tokens if chunk == UNLIMITED else chunk,
        dtype=backend.dtype,
        kv_cache_dtype=backend.kv_cache_dtype,
        kernels=backend.kernels,
        kv_bytes_per_token=backend.kv_bytes_per_token,
        num_threads=device.num_threads,
        load_seconds=time.perf_counter() - started,
    )
    logger.info(
        "%s loaded in %.1f s: %s weights, %s, %d threads, cache of %d tokens in %s (up to %.1f GiB)",
        config.architecture, info.load_seconds, info.dtype, backend.description, info.num_threads, max_total_tokens,
        info.kv_cache_dtype, max_total_tokens * info.kv_bytes_per_token / 2**30,
    )  # fmt: skip
    _warn_of_a_small_cache(info)
    return LoadedModel(runner, info)


def _warn_of_a_small_cache(info: EngineInfo) -> None:
    useful = min(info.context_length, SMALLEST_USEFUL_CACHE)
    if info.max_total_tokens < useful:
        logger.warning(
            "a cache of %d tokens is too small for most requests: a prompt and its answer have to fit in it together; "
            "max_total_tokens=%d holds a short chat, and the whole context needs %d",
            info.max_total_tokens, useful, info.context_length,
        )  # fmt: skip


def _context_length(args: EngineArgs, config: ModelConfig) -> int:
    own = config.max_position_embeddings
    if args.context_length is not None and args.context_length > own:
        raise ConfigurationError(f"context_length={args.context_length} is more than the model was made for: {own}")
    return args.context_length or own


def _max_total_tokens(args: EngineArgs, device: Device, context_length: int, bytes_per_token: int) -> int:
    available = device.available_bytes()
    if args.max_total_tokens is not None:
        needed = args.max_total_tokens * bytes_per_token
        if needed > available:
            raise ConfigurationError(
                f"max_total_tokens={args.max_total_tokens} needs {needed / 2**30:.1f} GiB for the key/value cache, "
                f"but {available / 2**30:.1f} GiB are available; at most {available // bytes_per_token} fit"
            )
        if args.mem_fraction_static is not None:
            logger.warning(
                "max_total_tokens=%d is the size of the key/value cache; beside it mem_fraction_static=%s, by which it "
                "would be chosen, changes nothing", args.max_total_tokens, args.mem_fraction_static,
            )  # fmt: skip
        return args.max_total_tokens
    fitting = int(available * (args.mem_fraction_static or DEFAULT_MEM_FRACTION)) // bytes_per_token
    if fitting < 1:
        raise ConfigurationError(
            f"no room for a key/value cache: {available / 2**20:.0f} MiB are available, "
            f"and a token needs {bytes_per_token / 1024:.0f} KiB; free some memory or raise mem_fraction_static"
        )
    return min(fitting, max(DEFAULT_TOKENS_CAP, context_length))
