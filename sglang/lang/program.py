"""The object that ``@sgl.function`` makes of a function."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from operator import itemgetter
from typing import Any, Literal, overload

from sglang.lang.arguments import RUN_ARGUMENTS, SHORT_NAMES, run_sampling, sampling_arguments
from sglang.lang.backends.base import Backend
from sglang.lang.default_backend import chosen_backend
from sglang.lang.direct import async_body_of, body_of
from sglang.lang.execution import loop
from sglang.lang.execution.batch import AUTO_ASYNC_IN_FLIGHT, AUTO_IN_FLIGHT, Batch, Manner, Outcome, max_in_flight
from sglang.lang.execution.body import Body, Program
from sglang.lang.execution.interpreter import Setting
from sglang.lang.execution.run import current_run
from sglang.lang.ir import SamplingArguments
from sglang.lang.state import ProgramState
from sglang.srt.errors import ProgramError, UnsupportedError, shown

STATE_PARAMETER = "s"

_ITERATED = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)

BATCH_ARGUMENTS = (
    "backend", "runtime", "num_threads", "progress_bar", "return_exceptions", "generator_style", "ordered",
)  # fmt: skip
"""Those of `run_batch` beside how to generate."""

Items = Sequence[Mapping[str, Any] | Sequence[Any]]
"""What a batch runs over: dicts of arguments, or tuples of them."""


class SglFunction:
    """Runs a function, plain or async, that writes to a state, its first parameter ``s``, and reads from it.

    A function whose first parameter is not ``s`` is in direct style: it has no state, and ``gen(prompt)`` in it is the
    value itself. One that is called in another asks the same backend in the same way, where the call says nothing else.

    `run` and `run_batch`, and in coroutines `arun` and `arun_batch`, take the arguments of the function, and beside
    them, by name, how to generate where `gen` does not say: ``max_new_tokens, min_new_tokens, n, stop, stop_token_ids,
    stop_regex, temperature, top_p, top_k, min_p, frequency_penalty, presence_penalty, repetition_penalty, ignore_eos,
    sampling_seed, return_logprob, logprob_start_len, top_logprobs_num, return_text_in_logprobs, logprobs_mode``. By
    default temperature and top_p are 1. Of these a name that is a parameter of the function is the function's own.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        bound: Mapping[str, Any] | None = None,
        num_api_spec_tokens: int | None = None,
    ) -> None:
        """Raises TypeError for a generator, and for an async function whose first parameter is not ``s``; TypeError or
        ValueError if `num_api_spec_tokens` is given and no positive integer.
        """
        if not callable(func):
            raise TypeError(f"sgl.function makes a program of a function, not of {shown(func)}")
        self.func = func
        self.bound = dict(bound or {})
        self.num_api_spec_tokens = _checked_number(num_api_spec_tokens)
        self._signature = inspect.signature(func)
        if any(kind(func) for kind in _ITERATED):
            raise TypeError(f"{self._name} must be a plain or an async function, not a generator")
        self.is_async = inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(type(func).__call__)
        self.is_direct = next(iter(self._signature.parameters), None) != STATE_PARAMETER
        if self.is_direct and self.is_async:
            raise TypeError(
                f"{self._name} has no state, and such a function waits where it asks the model, which an async one may "
                f"not; make it a plain one, or the state {STATE_PARAMETER!r} its first parameter"
            )
        functools.update_wrapper(self, func)

    def bind(self, **arguments: Any) -> SglFunction:
        """The same program with some of its arguments given, which win over those of a call."""
        unknown = arguments.keys() - self._signature.parameters.keys()
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in self._signature.parameters.values())
        if unknown and not takes_any:
            raise TypeError(f"{self._name} has no parameter {sorted(unknown)[0]!r}")
        return SglFunction(self.func, {**self.bound, **arguments}, self.num_api_spec_tokens)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`run`; of a function without a state what it returned."""
        state = self.run(*args, **kwargs)
        return state.ret_value if self.is_direct and not kwargs.get("stream") else state

    def run(
        self,
        *args: Any,
        stream: bool = False,
        backend: Any = None,
        runtime: Any = None,
        use_thread: bool = True,
        **kwargs: Any,
    ) -> ProgramState:
        """Run the program; its state, with everything done.

        What its own code raises, this raises, after everything it started has been cancelled. What goes wrong in the
        backend is raised where a value of the state is read, in the program or afterwards.

        stream: return at once. The program goes on in a thread of its own, and whatever it raises is the cause of a
        ProgramError where the state is read. use_thread=False: every statement waits until what it appended is done.
        """
        program = self._program(args, kwargs, backend, runtime, is_streaming=stream, is_stepwise=not use_thread)
        if stream:
            program.start_thread()
            return program.state
        self._check_may_block("arun(...)")
        program.complete()
        return program.state

    async def arun(
        self, *args: Any, stream: bool = False, backend: Any = None, runtime: Any = None, **kwargs: Any
    ) -> ProgramState:
        """`run` for coroutines. An async function runs in this event loop, a plain one in a thread of its own.

        If the task that awaits this is cancelled, so is the program: its requests have ended then, and a plain function
        has found out where it reads.
        """
        program = self._program(args, kwargs, backend, runtime, is_streaming=stream)
        program.run.belong_to_this_loop()
        if stream:
            program.start()
            return program.state
        if self.is_async:
            await program.complete_async()
        else:
            program.start()
            await program.run.wait_async()
        return program.state

    @overload
    def run_batch(
        self, batch_kwargs: Items, *, generator_style: Literal[False] = False,
        return_exceptions: Literal[False] = False, **options: Any,
    ) -> list[ProgramState]: ...  # fmt: skip
    @overload
    def run_batch(
        self, batch_kwargs: Items, *, generator_style: Literal[True], ordered: Literal[True] = True,
        return_exceptions: Literal[False] = False, **options: Any,
    ) -> Iterator[ProgramState]: ...  # fmt: skip
    @overload
    def run_batch(self, batch_kwargs: Items, **options: Any) -> Any: ...
    def run_batch(
        self,
        batch_kwargs: Items,
        *,
        generator_style: bool = False,
        ordered: bool = True,
        **options: Any,
    ) -> Any:
        """Run the program once for every item, which is a dict of its arguments or a tuple of them, many at a time.

        Returns the states, in order and with everything done. What all have in common is computed first, once. If one
        raises, the others are cancelled and this raises it. Beside how to generate, `options` are:

        backend, runtime: as for `run`. progress_bar. num_threads: how many run at a time, by default up to 512, of an
        async function 4,096; with 1 they run one after the other. return_exceptions: what `run` would have raised for
        an item stands in the place of its state, and the others go on.

        generator_style: an iterator instead, in order; with ``ordered=False`` of pairs of an item's index and its
        state, as they end. Closing it cancels what is in flight.
        """
        self._check_may_block("arun_batch(...)")
        outcomes = self._batch(batch_kwargs, generator_style, ordered, **options).outcomes()
        if generator_style:
            return _states(outcomes) if ordered else outcomes
        return _in_order(list(outcomes))

    @overload
    def arun_batch(
        self, batch_kwargs: Items, *, generator_style: Literal[False] = False,
        return_exceptions: Literal[False] = False, **options: Any,
    ) -> Awaitable[list[ProgramState]]: ...  # fmt: skip
    @overload
    def arun_batch(
        self, batch_kwargs: Items, *, generator_style: Literal[True], ordered: Literal[True] = True,
        return_exceptions: Literal[False] = False, **options: Any,
    ) -> AsyncGenerator[ProgramState, None]: ...  # fmt: skip
    @overload
    def arun_batch(self, batch_kwargs: Items, **options: Any) -> Any: ...
    def arun_batch(
        self, batch_kwargs: Items, *, generator_style: bool = False, ordered: bool = True, **options: Any
    ) -> Any:
        """`run_batch` for coroutines: gives what is to be awaited, or with `generator_style` iterated by ``async for``.

        Cancelling the task that does so cancels what is in flight.
        """
        outcomes = self._batch(batch_kwargs, generator_style, ordered, **options).outcomes_async()
        if generator_style:
            return _states_async(outcomes) if ordered else outcomes
        return _collect(outcomes)

    def _program(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], backend: Any, runtime: Any, is_streaming: bool,
        is_stepwise: bool = False,
    ) -> Program:  # fmt: skip
        if self.num_api_spec_tokens is not None and is_streaming:
            raise UnsupportedError(
                "stream=True cannot be had with num_api_spec_tokens: an answer is cut out of a completion that is there"
            )
        if self.is_async and is_stepwise:
            raise ValueError(
                "use_thread=False waits after every statement, which an async function may not; await there"
            )
        arguments, sampling = _split(kwargs, self._signature.parameters)
        body = self._body(args, arguments)
        setting = Setting(*self._way_to_ask(backend, runtime, sampling), is_streaming=is_streaming)
        return Program(body, setting, is_stepwise)

    def _batch(
        self,
        batch_kwargs: Items,
        generator_style: bool,
        ordered: bool,
        *,
        backend: Any = None,
        runtime: Any = None,
        num_threads: int | str = "auto",
        progress_bar: bool = False,
        return_exceptions: bool = False,
        **sampling: Any,
    ) -> Batch:
        if unknown := sampling.keys() - set(RUN_ARGUMENTS):
            name = min(unknown)
            hint = _close_to(name, (*BATCH_ARGUMENTS, *RUN_ARGUMENTS))
            raise TypeError(f"run_batch takes arguments of the program as items; {name!r} is not known{hint}")
        if not isinstance(batch_kwargs, (list, tuple)):
            raise TypeError(f"run_batch takes a list of dicts or of tuples, not {shown(batch_kwargs)}")
        if not (ordered or generator_style):
            raise ValueError("ordered=False needs generator_style=True: a list has the order of its items")
        bodies = [self._item(item) for item in batch_kwargs]
        limit = max_in_flight(num_threads, len(bodies), AUTO_ASYNC_IN_FLIGHT if self.is_async else AUTO_IN_FLIGHT)
        manner = Manner(
            limit,
            is_ordered=generator_style and ordered,
            returns_exceptions=return_exceptions,
            shows_progress=progress_bar,
        )
        return Batch(bodies, *self._way_to_ask(backend, runtime, sampling), manner)

    def _way_to_ask(self, backend: Any, runtime: Any, sampling: Mapping[str, Any]) -> tuple[Backend, SamplingArguments]:
        outer = current_run() if self.is_direct else None
        if outer is None:
            return self._asked(chosen_backend(backend, runtime)), run_sampling(sampling)
        is_same = backend is None and runtime is None
        chosen = outer.setting.backend if is_same else chosen_backend(backend, runtime)
        return self._asked(chosen), sampling_arguments(sampling).over(outer.setting.sampling)

    def _asked(self, backend: Backend) -> Backend:
        return backend if self.num_api_spec_tokens is None else backend.speculating(self.num_api_spec_tokens)

    def _check_may_block(self, instead: str) -> None:
        instead = f"await {self._name}.{instead}"
        if self.is_async and loop.running() is not None:
            raise ProgramError(f"this would block the event loop it is called in; write: {instead}")
        if (current := current_run()) is not None:
            current.check_may_block(instead)

    @property
    def _name(self) -> str:
        return getattr(self.func, "__name__", repr(self.func))

    def _item(self, item: Mapping[str, Any] | Sequence[Any]) -> Body:
        if isinstance(item, Mapping):
            return self._body((), item)
        if isinstance(item, (list, tuple)):
            return self._body(item, {})
        raise TypeError(f"an item of run_batch is a dict or a tuple of arguments, not {shown(item)}")

    def _body(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Body:
        """The call of the function, but for the state. Raises TypeError if the arguments are not its own."""
        kwargs = {**kwargs, **self.bound}
        try:
            self._signature.bind(*([] if self.is_direct else [None]), *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._name}: {error}{self._hint(kwargs, str(error))}") from None
        entry = async_body_of(self.func) if self.is_async else body_of(self.func, self.is_direct)
        return Body(entry, args, kwargs, self.is_async)

    def _hint(self, kwargs: Mapping[str, Any], message: str) -> str:
        """What an argument that the function does not have, and that `message` may not name, may be meant for."""
        unknown = [name for name in kwargs if name not in self._signature.parameters]
        if not unknown:
            no_state = f"; it has no state, since its first parameter is not {STATE_PARAMETER!r}"
            return no_state if self.is_direct else ""
        found = "" if repr(unknown[0]) in message else f" instead of {unknown[0]!r}"
        return _close_to(unknown[0], (*self._signature.parameters, *RUN_ARGUMENTS), found)


def _close_to(unknown: str, known: Sequence[str], found: str = "") -> str:
    """Which of the names of a run may be meant. found: what is said of the unknown one."""
    if unknown in SHORT_NAMES:
        return f"; for all generations of a run it is called {SHORT_NAMES[unknown]}"
    close = difflib.get_close_matches(unknown, known, n=1)
    return f"; did you mean {close[0]!r}{found}?" if close else ""


def _split(kwargs: Mapping[str, Any], parameters: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of the program, and those of its generations. What the program has a parameter for is its own, as
    in an item of a batch.
    """
    sampling = {name: value for name, value in kwargs.items() if name in RUN_ARGUMENTS and name not in parameters}
    return {name: value for name, value in kwargs.items() if name not in sampling}, sampling


def _checked_number(num_api_spec_tokens: int | None) -> int | None:
    if num_api_spec_tokens is None:
        return None
    if isinstance(num_api_spec_tokens, bool) or not isinstance(num_api_spec_tokens, int):
        raise TypeError(f"num_api_spec_tokens must be an integer, not {shown(num_api_spec_tokens)}")
    if num_api_spec_tokens < 1:
        raise ValueError(f"num_api_spec_tokens must be at least 1, not {num_api_spec_tokens}")
    return num_api_spec_tokens


def _in_order(outcomes: list[Outcome]) -> list[ProgramState | Exception]:
    return [found for _, found in sorted(outcomes, key=itemgetter(0))]


async def _collect(outcomes: AsyncGenerator[Outcome, None]) -> list[ProgramState | Exception]:
    return _in_order([outcome async for outcome in outcomes])


def _states(outcomes: Generator[Outcome, None, None]) -> Iterator[ProgramState | Exception]:
    with closing(outcomes):
        for _, found in outcomes:
            yield found


async def _states_async(outcomes: AsyncGenerator[Outcome, None]) -> AsyncGenerator[ProgramState | Exception, None]:
    async with aclosing(outcomes):
        async for _, found in outcomes:
            yield found
