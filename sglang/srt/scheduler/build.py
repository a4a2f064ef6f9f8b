"""From arguments and a loaded model to a scheduler."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable

from sglang.srt.args import UNLIMITED, EngineArgs
from sglang.srt.cache.pool import SlotPool
from sglang.srt.cache.prefix_cache import EndedPrefixCache, NoPrefixCache, PrefixCache, RadixPrefixCache
from sglang.srt.executor.build import LoadedModel
from sglang.srt.grammar.compiler import GrammarCompiler
from sglang.srt.grammar.workers import grammar_threads
from sglang.srt.scheduler.constraint_queue import ConstraintQueue
from sglang.srt.scheduler.policy import (
    FirstComeFirstServed,
    LongestPrefixMatch,
    RandomOrder,
    SchedulePolicy,
)
from sglang.srt.scheduler.scheduler import Scheduler
from sglang.srt.vocab import Vocab

logger = logging.getLogger(__name__)


def build_scheduler(args: EngineArgs, loaded: LoadedModel, vocab: Vocab, on_answer: Callable[[], None]) -> Scheduler:
    """`on_answer` is called from another thread when the scheduler, though idle, has work again."""
    pool = SlotPool(loaded.info.max_total_tokens + 1)
    return Scheduler(
        cache=make_cache(args, pool),
        executor=loaded.runner,
        policy=make_policy(args),
        vocab=vocab,
        constraints=ConstraintQueue(
            GrammarCompiler(vocab, grammar_threads(1, "grammars")), grammar_threads(1, "slow-grammars"), on_answer
        ),
        max_running_requests=loaded.info.max_running_requests,
        token_budget=token_budget(args, loaded.info.chunked_prefill_size),
    )


def make_cache(args: EngineArgs, pool: SlotPool) -> PrefixCache:
    if args.disable_radix_cache:
        return NoPrefixCache(pool)
    return EndedPrefixCache(pool) if args.disable_in_flight_sharing else RadixPrefixCache(pool)


def token_budget(args: EngineArgs, chunk: int) -> int:
    """Without a limit there is none beside decoding rows either, where prompts have a part of this."""
    return sys.maxsize if args.chunked_prefill_size == UNLIMITED else chunk


def make_policy(args: EngineArgs) -> SchedulePolicy:
    if args.schedule_policy == "random":
        return RandomOrder(random.Random(args.random_seed))
    if args.schedule_policy == "lpm" and not args.disable_radix_cache:
        return LongestPrefixMatch()
    if args.schedule_policy == "lpm":
        logger.warning(
            "without the radix cache there are no cached prefixes to go by: schedule_policy=lpm, the default, is fcfs"
        )
    return FirstComeFirstServed()
