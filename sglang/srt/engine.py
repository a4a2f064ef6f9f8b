"""The engine in a user's own process: the server's text side in a thread, and the same engine process behind it."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing, suppress
from types import AsyncGeneratorType, TracebackType
from typing import Any, TypeVar

from sglang.srt.args import engine_args
from sglang.srt.errors import EngineDeadError
from sglang.srt.formats.reasoning import REASONING_FORMATS, reasoning_format_of
from sglang.srt.formats.separation import separate_reasoning
from sglang.srt.model.source import resolve_model
from sglang.srt.select.call import ScoreCall, SelectCall
from sglang.srt.select.exact import select
from sglang.srt.select.scores import score_choices
from sglang.srt.tokenizer.call import NativeInput
from sglang.srt.tokenizer.launch import RunningEngine, launch_engine
from sglang.srt.tokenizer.native import shape_chunk, shape_results
from sglang.srt.tokenizer.role_text import RoleText
from sglang.srt.tokenizer.tokenizer import Tokenizer

T = TypeVar("T")
Result = dict[str, Any]


class Engine:
    """Runs a model in an engine process of its own. Usable from any thread; a context manager.

    Keyword arguments are the fields of EngineArgs. Raises ConfigurationError for wrong ones, ModelLoadError if the
    model cannot be had, EngineDeadError if the process cannot run. Once that process has died, or after `shutdown`,
    every method raises EngineDeadError.

    Results are the published ones: ``{"text", "output_ids", "meta_info"}`` for one prompt, a list of them for a list
    of prompts or for ``n > 1``. With ``stream=True``, an iterator of such results, each with all the text so far, and
    with its ``"index"`` where there are several.
    """

    def __init__(self, model_path: str | None = None, *, log_level: str = "error", **options: Any) -> None:
        args = engine_args(model_path=model_path, log_level=log_level, **options)
        path = resolve_model(args.model_path, args.revision)
        self._loop = _LoopThread()
        try:
            self._engine = self._loop.run(launch_engine(args, path))
        except BaseException:
            self._loop.stop()
            self._loop.join()
            raise
        self._finalizer = weakref.finalize(self, _close, self._engine, self._loop)  # also at interpreter exit

    def generate(
        self,
        prompt: str | Sequence[str] | None = None,
        sampling_params: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        input_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
        return_logprob: bool | Sequence[bool] = False,
        logprob_start_len: int | Sequence[int] | None = None,
        top_logprobs_num: int | Sequence[int] | None = None,
        stream: bool = False,
        *,
        rid: str | Sequence[str] | None = None,
        cache_salt: str | Sequence[str] | None = None,
        extra_key: str | Sequence[str] | None = None,
        return_text_in_logprobs: bool = False,
        segments: Sequence[Any] | None = None,
    ) -> Any:
        """Continue one prompt or many, given as ``prompt``, as ``input_ids`` or as ``segments``.

        ``segments`` is a list of strings and lists of token ids, or a list of such lists. Results then have
        ``"segments"`` too: what to append for a prompt that goes on after them, without tokenizing them again.

        Raises InvalidRequestError before anything is computed, RequestFailedError if the engine fails on it.
        Closing a stream early, or interrupting the call, cancels its requests.
        """
        given = NativeInput(
            prompt, input_ids, sampling_params, rid, return_logprob, logprob_start_len, top_logprobs_num,
            return_text_in_logprobs, cache_salt, extra_key, segments,
        )  # fmt: skip
        return self._iterate(given) if stream else self._run(self._collect(given))

    async def async_generate(
        self,
        prompt: str | Sequence[str] | None = None,
        sampling_params: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        input_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
        return_logprob: bool | Sequence[bool] = False,
        logprob_start_len: int | Sequence[int] | None = None,
        top_logprobs_num: int | Sequence[int] | None = None,
        stream: bool = False,
        *,
        rid: str | Sequence[str] | None = None,
        cache_salt: str | Sequence[str] | None = None,
        extra_key: str | Sequence[str] | None = None,
        return_text_in_logprobs: bool = False,
        segments: Sequence[Any] | None = None,
    ) -> Any:
        """`generate` for coroutines of any event loop; ``stream=True`` gives an async iterator.

        Cancelling the awaiting task cancels the requests.
        """
        given = NativeInput(
            prompt, input_ids, sampling_params, rid, return_logprob, logprob_start_len, top_logprobs_num,
            return_text_in_logprobs, cache_salt, extra_key, segments,
        )  # fmt: skip
        return self._iterate_async(given) if stream else await self._run_async(self._collect(given))

    def select(self, prompt: str | None = None, choices: Sequence[str] | None = None, **fields: Any) -> Result:
        """Which of `choices` comes after the prompt? Each one's probability is summed over all the ways to spell it.

        Keyword arguments are the other fields of ``/select``: ``input_ids`` or ``segments`` instead of a prompt,
        ``temperature`` (0 decides), ``sampling_seed``, ``max_unexplored_mass``, ``max_rows``, ``rid``, ``cache_salt``
        and ``extra_key``. Gives ``{"decision", "index", "meta_info"}``. Raises as `generate`.
        """
        return self._run(self._select(SelectCall.parse({"text": prompt, "choices": choices, **fields})))

    async def async_select(
        self, prompt: str | None = None, choices: Sequence[str] | None = None, **fields: Any
    ) -> Result:
        """`select` for coroutines of any event loop. Cancelling the awaiting task cancels the request."""
        return await self._run_async(self._select(SelectCall.parse({"text": prompt, "choices": choices, **fields})))

    async def async_score_choices(self, choices: Sequence[str], **fields: Any) -> Result:
        """The log-probabilities of the tokens of each choice after a prompt, for coroutines of any event loop.

        Keyword arguments are the other fields of ``/score_choices``. Gives ``{"input_token_logprobs", "meta_info"}``,
        with ``unconditional=True`` also ``"unconditional_token_logprobs"``. Raises as `generate`.
        """
        return await self._run_async(self._score_choices(ScoreCall.parse({"choices": choices, **fields})))

    @property
    def tokenizer(self) -> Tokenizer:
        return self._engine.manager.tokenizer

    def role_text(self, roles: Sequence[str]) -> RoleText:
        """What the chat template puts around the last message of a conversation with these roles."""
        return self.tokenizer.role_text(roles)

    def separate_reasoning(self, text: str, reasoning_parser: str = "auto") -> dict[str, str]:
        """Thoughts and answer in what a model said: ``reasoning_text``, and ``text`` without it.

        reasoning_parser: how thoughts are marked; ``auto`` goes by the chat template. Raises InvalidRequestError if
        that says nothing, and for an unknown name.
        """
        template = self.tokenizer.chat_template
        name = None if template is None else reasoning_format_of(template.tool_use_source)
        return separate_reasoning(text, reasoning_parser, None if name is None else REASONING_FORMATS[name])

    def flush_cache(self) -> None:
        """Forget every cached prefix that no running request uses."""
        self._run(self._engine.manager.flush_cache())

    def get_server_info(self) -> dict[str, Any]:
        """The options in force, what they came to for this model and machine, and a snapshot of the engine's state."""
        return self._run(self._engine.server_info())

    def shutdown(self) -> None:
        """End the engine process. Requests still running get EngineDeadError. Harmless when called twice."""
        self._finalizer()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    async def _collect(self, given: NativeInput) -> Result | list[Result]:
        return shape_results(given, await self._engine.manager.collect(given.calls))

    async def _select(self, call: SelectCall) -> Result:
        return await select(self._engine.manager, call)

    async def _score_choices(self, call: ScoreCall) -> Result:
        return await score_choices(self._engine.manager, call)

    async def _chunks(self, given: NativeInput) -> AsyncGenerator[Result, None]:
        async with aclosing(await self._engine.manager.submit(given.calls, stream=True)) as running:
            async for completion in running:
                yield shape_chunk(given, completion)

    def _iterate(self, given: NativeInput) -> Iterator[Result]:
        chunks = self._chunks(given)
        try:
            while (chunk := self._run(_next(chunks))) is not None:
                yield chunk
        finally:
            with suppress(EngineDeadError):
                self._loop.wait(self._loop.submit(_end(chunks)))

    async def _iterate_async(self, given: NativeInput) -> AsyncIterator[Result]:
        chunks = self._chunks(given)
        try:
            while (chunk := await self._run_async(_next(chunks))) is not None:
                yield chunk
        finally:
            with suppress(EngineDeadError):
                await self._run_async(_end(chunks))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` in the engine's loop and wait for it here; an interrupt cancels it."""
        return self._loop.run(work)

    async def _run_async(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self._loop.submit(work))


class _LoopThread:
    """An event loop running in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.RLock()  # a finalizer may run anywhere, also inside `submit`
        self._is_stopping = False
        self._process_id = os.getpid()
        self._thread = threading.Thread(target=self._work, name="sglang-engine", daemon=True)
        self._thread.start()

    @property
    def is_inherited(self) -> bool:
        """Whether this is the copy in a forked child, where nothing runs the loop."""
        return os.getpid() != self._process_id

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Raises EngineDeadError once stopped; the future gets it if that happens meanwhile."""
        if self.is_inherited:
            work.close()
            raise EngineDeadError(
                f"this engine belongs to process {self._process_id}, which this one was forked from; "
                "create an engine after the fork, or start processes with the 'spawn' method"
            )
        with self._lock:
            if not self._is_stopping:
                return asyncio.run_coroutine_threadsafe(self._until_stopped(work), self._loop)
        work.close()
        raise _shut_down()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def wait(self, future: Future[None]) -> None:
        """For finalizers: does not wait in the loop's own thread, where the garbage collector may have called them."""
        if threading.current_thread() is not self._thread:
            future.result()

    def stop(self) -> None:
        with self._lock:
            if not self._is_stopping:
                self._is_stopping = True
                self._loop.call_soon_threadsafe(self._loop.stop)

    def join(self) -> None:
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _work(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(_cancel_others())
        self._loop.close()

    async def _until_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except asyncio.CancelledError:
            if self._is_stopping:
                raise _shut_down() from None
            raise


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


async def _next(chunks: AsyncGenerator[Result, None]) -> Result | None:
    return await anext(chunks, None)


async def _end(chunks: AsyncGenerator[Result, None]) -> None:
    """Close `chunks`, whose last `_next` is over or has just been cancelled."""
    assert isinstance(chunks, AsyncGeneratorType)
    while chunks.ag_running:
        await asyncio.sleep(0)
    await chunks.aclose()


def _shut_down() -> EngineDeadError:
    return EngineDeadError("the engine was shut down; create a new one to go on")


def _close(engine: RunningEngine, loop: _LoopThread) -> None:
    if loop.is_inherited:
        return
    closing = loop.submit(engine.close())
    closing.add_done_callback(lambda _: loop.stop())
    loop.wait(closing)
    loop.join()
