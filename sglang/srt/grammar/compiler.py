"""Grammars made ready for a model's vocabulary, in a thread beside the one that computes."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Executor, Future
from functools import cached_property, partial
from time import thread_time
from typing import NamedTuple

import llguidance

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.item_rules import has_unique_items
from sglang.srt.grammar.limits import PARSER_LIMITS
from sglang.srt.grammar.mask_cache import MaskCache, MaskMemory
from sglang.srt.grammar.matcher import Constrained
from sglang.srt.grammar.pace import Pace
from sglang.srt.grammar.shared_matcher import SharedMatcher
from sglang.srt.grammar.text_matcher import ByteMatchers, failure, shared_text_matcher
from sglang.srt.grammar.vocab_tokenizer import TextCutter, make_tokenizer
from sglang.srt.grammar.witness.completer import WORK, WORK_ONCE, WORK_PER_BYTE, Completer
from sglang.srt.grammar.witness.ending import Ending, Spelling
from sglang.srt.grammar.witness.expressions import NotFoundError
from sglang.srt.grammar.witness.lark_reader import UnreadableError
from sglang.srt.grammar.witness.lexing import is_told_by_position
from sglang.srt.grammar.witness.outputs import Outputs
from sglang.srt.grammar.witness.unique_ending import UniqueEnding
from sglang.srt.grammar.witness.unique_items import UniqueItems
from sglang.srt.vocab import Vocab

logger = logging.getLogger(__name__)

MAX_CACHED_GRAMMARS = 256
MAX_CACHED_BYTES = 4 * 1024 * 1024
"""Of the texts of the grammars kept."""


class _Telling:
    """Whether masks of a grammar may be remembered by position (`is_told_by_position`). To find out takes as long as
    all else that a grammar needs, and is of use when many outputs have it: so it is done for one that is asked for
    again, and until then the answer is no.
    """

    def __init__(self, grammar: str, executor: Executor) -> None:
        self._grammar = grammar
        self._executor = executor
        self._found: Future[bool] | None = None

    def find_out(self) -> None:
        if self._found is None:
            self._found = self._executor.submit(self._look)

    def is_told(self) -> bool:
        return self._found is not None and self._found.done() and self._found.result()

    def _look(self) -> bool:
        try:
            return is_told_by_position(self._grammar)
        except Exception:
            logger.exception("masks of a grammar are not remembered")
            return False


class CompiledGrammar:
    """Shared by all requests that have it; never changed but for what is remembered of it."""

    def __init__(
        self,
        matchers: SharedMatcher,
        grammar: str,
        vocab: Vocab,
        cutter: TextCutter,
        masks: MaskCache,
        telling: _Telling,
    ) -> None:
        self._matchers = matchers
        self._text_matchers = _byte_matchers(matchers, grammar, cutter)
        self._grammar = grammar
        self._vocab = vocab
        self._cutter = cutter
        self._outputs = _outputs(grammar)
        self._unique = None if self._outputs is None else _unique_items(self._outputs, cutter)
        self._shortest = None if self._outputs is None or self._unique else _spelling(self._outputs, cutter)
        self._masks = masks
        self._telling = telling
        self._pace = Pace()
        started = thread_time()
        matchers.copy().compute_bitmask()
        self._pace.note(thread_time() - started)

    @property
    def is_slow(self) -> bool:
        """Whether others should not wait while an output is followed. From then on that is done in one thread only."""
        return self._pace.is_slow

    def constrain(self, end_ids: Iterable[int], jumps: bool) -> Constrained:
        """For one output, at its beginning."""
        return Constrained(
            self._matchers, self._text_matchers, self._vocab, end_ids, jumps, self._pace, self._ending(), self._memory()
        )

    def _ending(self) -> Ending | UniqueEnding | None:
        if self._outputs is None:
            return None
        if self._unique is not None:
            return UniqueEnding(*self._unique)
        return Ending(self._outputs, self._cutter, self._shortest)

    def _memory(self) -> MaskMemory | None:
        if self._outputs is None:
            return None
        return MaskMemory(self._masks, self._grammar, self._outputs, self._telling.is_told)


class _Kept(NamedTuple):
    compiled: Future[CompiledGrammar]
    telling: _Telling


class GrammarCompiler:
    """`compile` belongs to one thread; the work is done by `executor`, which must run one piece at a time."""

    def __init__(self, vocab: Vocab, executor: Executor) -> None:
        self._vocab = vocab
        self._cutter = TextCutter(vocab)
        self._executor = executor
        self._masks = MaskCache()
        self._cache: OrderedDict[str, _Kept] = OrderedDict()
        self._num_bytes = 0

    def compile(self, grammar: str) -> Future[CompiledGrammar]:
        """At once if it is cached. The result may be InvalidRequestError: the vocabulary cannot express the grammar."""
        if grammar in self._cache:
            self._cache.move_to_end(grammar)
            known = self._cache[grammar]
            known.telling.find_out()
            return known.compiled
        telling = _Telling(grammar, self._executor)
        future = self._executor.submit(self._compile, grammar, telling)
        self._cache[grammar] = _Kept(future, telling)
        self._num_bytes += len(grammar)
        while len(self._cache) > MAX_CACHED_GRAMMARS or (self._num_bytes > MAX_CACHED_BYTES and len(self._cache) > 1):
            oldest, _ = self._cache.popitem(last=False)
            self._num_bytes -= len(oldest)
            self._masks.forget(oldest)
        return future

    def close(self) -> None:
        """Compile nothing that is not begun."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _compile(self, grammar: str, telling: _Telling) -> CompiledGrammar:
        matchers = SharedMatcher(partial(self._matcher, grammar), llguidance.LLMatcher.compute_bitmask)
        problem = failure(matchers.copy())
        if problem is not None:
            raise InvalidRequestError(f"the constraint cannot be used with this model: {problem}")
        return CompiledGrammar(matchers, grammar, self._vocab, self._cutter, self._masks, telling)

    def _matcher(self, grammar: str) -> llguidance.LLMatcher:
        return llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=PARSER_LIMITS)

    @cached_property
    def _tokenizer(self) -> llguidance.LLTokenizer:
        return make_tokenizer(self._vocab, self._cutter)


def _byte_matchers(matchers: SharedMatcher, grammar: str, cutter: TextCutter) -> ByteMatchers:
    ids = cutter.byte_ids
    return shared_text_matcher(grammar) if ids is None else ByteMatchers(matchers, ids)


def _outputs(grammar: str) -> Outputs | None:
    """None for a grammar whose outputs cannot be followed, and so not be ended when the budget runs out. Raises
    InvalidRequestError for one whose outputs have to be followed.
    """
    try:
        return Outputs(grammar)
    except UnreadableError as error:
        if has_unique_items(grammar):
            raise InvalidRequestError(_NOT_UNIQUE) from error
        return None


def _unique_items(outputs: Outputs, cutter: TextCutter) -> tuple[UniqueItems, Completer, TextCutter, Spelling] | None:
    """What `UniqueEnding` needs; None if there are none. Raises InvalidRequestError if no output is found."""
    if not outputs.has_unique_items:
        return None
    items = UniqueItems(outputs)
    completer = Completer(items, outputs, work=WORK_ONCE)
    end = completer.end(items.start[0])
    shortest = None if end is None else _spelled(completer.text(end), cutter)
    if shortest is None:
        raise InvalidRequestError(_NOT_UNIQUE)
    cutter.beginning_with(b"")  # sorts the vocabulary, once, which the engine's thread is not to wait for
    work = WORK + WORK_PER_BYTE * len(shortest.text)
    completer = Completer(items, outputs, items.items_of(shortest.text), work=work)
    return items, completer, cutter, shortest


def _spelling(outputs: Outputs, cutter: TextCutter) -> Spelling | None:
    """Of the shortest output, which may be long; None where no tokens say it."""
    try:
        return _spelled(outputs.shortest_end(outputs.start), cutter)
    except NotFoundError:
        return None


def _spelled(text: bytes, cutter: TextCutter) -> Spelling | None:
    tokens = cutter.cut(text)
    return None if tokens is None else Spelling(text, tokens, cutter)


_NOT_UNIQUE = (
    "the constraint has 'uniqueItems', which cannot be enforced: its outputs cannot be followed item by item, or no "
    "short one is found"
)
