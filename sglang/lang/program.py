"""The object that ``@sgl.function`` makes of a function."""

from __future__ import annotations

import difflib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import copy_context
from typing import Any, Literal, overload

from sglang.lang.arguments import RUN_ARGUMENTS, SHORT_NAMES, run_sampling
from sglang.lang.batch import Batch, Body, max_in_flight
from sglang.lang.default_backend import chosen_backend
from sglang.lang.interpreter import Setting
from sglang.lang.run import Run
from sglang.lang.state import ProgramState
from sglang.srt.errors import shown

STATE_PARAMETER = "s"

_KINDS_THAT_WAIT = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)

Items = Sequence[Mapping[str, Any] | Sequence[Any]]
"""What a batch runs over: dicts of arguments, or tuples of them."""


class SglFunction:
    """Runs a function that writes to a state and reads from it.

    `run` and `run_batch` take the arguments of the function, and beside them, by name, how to generate where `gen` does
    not say: ``max_new_tokens, min_new_tokens, n, stop, stop_token_ids, stop_regex, temperature, top_p, top_k, min_p,
    frequency_penalty, presence_penalty, repetition_penalty, ignore_eos, sampling_seed, return_logprob,
    logprob_start_len, top_logprobs_num, return_text_in_logprobs``. By default temperature and top_p are 1.
    """

    def __init__(self, func: Callable[..., Any], bound: Mapping[str, Any] | None = None) -> None:
        """Raises TypeError if the first parameter of `func` is not ``s``, or if it is not a plain function."""
        if not callable(func):
            raise TypeError(f"sgl.function makes a program of a function, not of {shown(func)}")
        self.func = func
        self.bound = dict(bound or {})
        self._signature = inspect.signature(func)
        if any(kind(func) for kind in _KINDS_THAT_WAIT):
            raise TypeError(
                f"{self._name} must be a plain function: async functions and generators are not supported yet"
            )
        if next(iter(self._signature.parameters), None) != STATE_PARAMETER:
            raise TypeError(f"the first parameter of {self._name} must be the state, {STATE_PARAMETER!r}")
        functools.update_wrapper(self, func)

    def bind(self, **arguments: Any) -> SglFunction:
        """The same program with some of its arguments given, which win over those of a call."""
        unknown = arguments.keys() - self._signature.parameters.keys()
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in self._signature.parameters.values())
        if unknown and not takes_any:
            raise TypeError(f"{self._name} has no parameter {sorted(unknown)[0]!r}")
        return SglFunction(self.func, {**self.bound, **arguments})

    def __call__(self, *args: Any, **kwargs: Any) -> ProgramState:
        return self.run(*args, **kwargs)

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
        arguments, sampling = _split(kwargs)
        call = self._call(args, arguments)
        setting = Setting(chosen_backend(backend, runtime), run_sampling(sampling), is_streaming=stream)
        run = Run(setting, is_stepwise=not use_thread)
        state = ProgramState(run, run.root)
        body = functools.partial(call, state)
        if stream:
            target = functools.partial(copy_context().run, run.execute, body)
            threading.Thread(target=target, name=f"sglang-{self._name}", daemon=True).start()
            return state
        run.execute(body)
        run.wait()
        return state

    @overload
    def run_batch(
        self, batch_kwargs: Items, *, generator_style: Literal[False] = False, **options: Any
    ) -> list[ProgramState]: ...
    @overload
    def run_batch(
        self, batch_kwargs: Items, *, generator_style: Literal[True], **options: Any
    ) -> Iterator[ProgramState]: ...
    @overload
    def run_batch(
        self, batch_kwargs: Items, *, generator_style: bool, **options: Any
    ) -> list[ProgramState] | Iterator[ProgramState]: ...
    def run_batch(
        self,
        batch_kwargs: Items,
        *,
        backend: Any = None,
        runtime: Any = None,
        num_threads: int | str = "auto",
        progress_bar: bool = False,
        generator_style: bool = False,
        **sampling: Any,
    ) -> list[ProgramState] | Iterator[ProgramState]:
        """Run the program once for every item, which is a dict of its arguments or a tuple of them, many at a time.

        Returns the states, in order and with everything done; with `generator_style` an iterator of them. What all have
        in common is computed first, once. num_threads: how many run at a time; with 1 they run one after the other.
        If one raises, the others are cancelled and this raises it.
        """
        if unknown := sampling.keys() - set(RUN_ARGUMENTS):
            raise TypeError(f"run_batch takes arguments of the program as items; {sorted(unknown)[0]!r} is not known")
        if not isinstance(batch_kwargs, (list, tuple)):
            raise TypeError(f"run_batch takes a list of dicts or of tuples, not {shown(batch_kwargs)}")
        bodies = [self._item(item) for item in batch_kwargs]
        limit = max_in_flight(num_threads, len(bodies))
        batch = Batch(bodies, chosen_backend(backend, runtime), run_sampling(sampling), limit, progress_bar)
        return batch.in_order() if generator_style else batch.all()

    @property
    def _name(self) -> str:
        return getattr(self.func, "__name__", repr(self.func))

    def _item(self, item: Mapping[str, Any] | Sequence[Any]) -> Body:
        if isinstance(item, Mapping):
            return self._call((), item)
        if isinstance(item, (list, tuple)):
            return self._call(item, {})
        raise TypeError(f"an item of run_batch is a dict or a tuple of arguments, not {shown(item)}")

    def _call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Body:
        """The call of the function, but for the state. Raises TypeError if the arguments are not its own."""
        kwargs = {**kwargs, **self.bound}
        try:
            self._signature.bind(None, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._name}: {error}{self._hint(kwargs)}") from None

        def body(state: ProgramState) -> None:
            state.ret_value = self.func(state, *args, **kwargs)

        return body

    def _hint(self, kwargs: Mapping[str, Any]) -> str:
        """What an argument that the function does not have may be meant for."""
        unknown = [name for name in kwargs if name not in self._signature.parameters]
        if not unknown:
            return ""
        if unknown[0] in SHORT_NAMES:
            return f"; for all generations of a run it is called {SHORT_NAMES[unknown[0]]}"
        close = difflib.get_close_matches(unknown[0], (*self._signature.parameters, *RUN_ARGUMENTS), n=1)
        return f"; did you mean {close[0]!r}?" if close else ""


def _split(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of the program, and those of its generations."""
    arguments = {name: value for name, value in kwargs.items() if name not in RUN_ARGUMENTS}
    return arguments, {name: value for name, value in kwargs.items() if name in RUN_ARGUMENTS}
