"""Bringing up both sides of an engine: the process that computes and the text side that talks to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sglang.srt.args import EngineArgs
from sglang.srt.errors import ConfigurationError, InvalidRequestError
from sglang.srt.grammar.lowering import Lowering
from sglang.srt.model.config import ModelConfig, load_config
from sglang.srt.sampling_params import sampling_defaults
from sglang.srt.tokenizer.channel import EngineChannel
from sglang.srt.tokenizer.chat_template_file import read_chat_template
from sglang.srt.tokenizer.manager import TokenizerManager
from sglang.srt.tokenizer.request_log import RequestLog
from sglang.srt.tokenizer.score_memory import ScoreMemory
from sglang.srt.tokenizer.tokenizer import load_tokenizer
from sglang.version import __version__


@dataclass(frozen=True, slots=True)
class RunningEngine:
    args: EngineArgs
    config: ModelConfig
    manager: TokenizerManager
    channel: EngineChannel

    async def server_info(self) -> dict[str, Any]:
        """The options in force, what they came to for this model and machine, and a snapshot of the engine's state."""
        return {
            **msgspec.to_builtins(self.args),
            **msgspec.to_builtins(self.manager.info),
            "max_total_num_tokens": self.manager.info.max_total_tokens,
            "internal_states": [msgspec.to_builtins(await self.manager.stats())],
            "version": __version__,
        }

    async def close(self) -> None:
        """End the engine process. Whoever still waits for it gets EngineDeadError."""
        self.manager.close()
        await self.channel.close()


async def launch_engine(args: EngineArgs, path: Path) -> RunningEngine:
    """Start the engine process on the model at `path`, as `resolve_model` gave it, and wait until it is ready.

    Must run in the event loop that will use the engine. Raises ModelLoadError, ConfigurationError or EngineDeadError;
    nothing is left running then.
    """
    template_source = None if args.chat_template is None else read_chat_template(args.chat_template)
    config = load_config(path)
    lowering = Lowering(args.constrained_json_whitespace_pattern or "")
    channel = EngineChannel(args, str(path))  # it loads the weights while we load the tokenizer
    try:
        tokenizer = await asyncio.to_thread(load_tokenizer, path, config.eos_token_ids, template_source)
        info = await channel.start(tokenizer.vocab)
        memory = ScoreMemory(capacity=0) if args.disable_radix_cache else ScoreMemory()
        defaults = _sampling_defaults(config)
        manager = TokenizerManager(tokenizer, channel, info, defaults, args.random_seed, memory, lowering)
        if args.log_requests:
            log = RequestLog(args.log_requests_level, args.log_requests_format, manager.decode_token)
            manager.observers.add(log)
    except BaseException:
        await channel.close()
        raise
    return RunningEngine(args, config, manager, channel)


def _sampling_defaults(config: ModelConfig) -> dict[str, object]:
    try:
        return sampling_defaults(config.generation_config)
    except InvalidRequestError as error:
        raise ConfigurationError(f"the model's generation_config is wrong: {error}") from error
