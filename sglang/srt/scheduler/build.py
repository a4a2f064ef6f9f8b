"""From arguments and a loaded model to a scheduler."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sglang.srt.args import EngineArgs
from sglang.srt.cache.pool import SlotPool
from sglang.srt.cache.prefix_cache import NoPrefixCache, PrefixCache, RadixPrefixCache
from sglang.srt.executor.build import LoadedModel
from sglang.srt.grammar.compiler import GrammarCompiler
from sglang.srt.scheduler.grammar_queue import GrammarQueue
from sglang.srt.scheduler.policy import make_policy
from sglang.srt.scheduler.scheduler import Scheduler
from sglang.srt.vocab import Vocab


def build_scheduler(
    args: EngineArgs, loaded: LoadedModel, vocab: Vocab, on_grammar_ready: Callable[[], None]
) -> Scheduler:
    """`on_grammar_ready` is called from another thread when the scheduler, though idle, has work again."""
    pool = SlotPool(loaded.info.max_total_tokens + 1)
    cache: PrefixCache = NoPrefixCache(pool) if args.disable_radix_cache else RadixPrefixCache(pool)
    return Scheduler(
        cache=cache,
        executor=loaded.runner,
        policy=make_policy("fcfs" if args.disable_radix_cache else args.schedule_policy),
        vocab=vocab,
        without_grammar=GrammarQueue(GrammarCompiler(vocab, ThreadPoolExecutor(1, "grammars")), on_grammar_ready),
        max_running_requests=loaded.info.max_running_requests,
        token_budget=loaded.info.chunked_prefill_size,
    )
