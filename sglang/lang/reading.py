"""What can be read from a state, by threads and by coroutines."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from sglang.lang import ir
from sglang.lang.backends.base import Message
from sglang.lang.execution.interpreter import Interpreter
from sglang.lang.execution.run import Run
from sglang.lang.execution.text_stream import Delta
from sglang.lang.execution.transcript import Transcript
from sglang.lang.execution.variables import Key, Plain, Value, Variable
from sglang.lang.execution.waiting import Steps, finish, finish_async, items, items_async
from sglang.lang.trace.trace import Trace, trace_of
from sglang.lang.typed.text_form import TextForm
from sglang.lang.typed.value import handle, value_as, values_as
from sglang.srt.errors import ProgramError, VariableNotSetError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


class ReadableState:
    """Reading waits for what is read, and raises ProgramError if it could not be done. Usable from any thread, but not
    in the programs' own event loop.

    Every method that waits has a twin with an ``a`` before its name, to be awaited, in any event loop. Where an event
    loop runs the program or awaits it, methods that would block that loop raise ProgramError instead.

    ret_value: what the program returned.
    """

    def __init__(self, run: Run, interpreter: Interpreter) -> None:
        self.ret_value: Any = None
        self._run = run
        self._interpreter = interpreter

    def get_var(self, name: str | None) -> Any:
        """Waits for this variable only. With ``n > 1`` a list.

        Raises VariableNotSetError if nothing that is queued sets it, ProgramError if that failed.
        """
        return self._finish(self._value(name), f"s.aget({name!r})").value

    def __getitem__(self, name: str | None) -> Any:
        """Like `get_var`; also the items of a dict that the program returned."""
        return self.get_var(name)

    @overload
    async def aget(self, of: ir.TypedGen[T]) -> T: ...
    @overload
    async def aget(self, of: str | None, type: None = None) -> Any: ...
    @overload
    async def aget(self, of: str, type: builtins.type[T] | TypeAdapter[T]) -> T: ...
    @overload
    async def aget(self, of: str, type: object) -> Any: ...
    async def aget(self, of: ir.TypedGen[Any] | str | None, type: Any = None) -> Any:
        """`get` for coroutines, and `get_var`."""
        if type is None and not isinstance(of, ir.TypedGen):
            return (await finish_async(self._value(of))).value
        return await finish_async(self._value_as(value_as, of, type))

    @overload
    async def aget_all(self, of: ir.TypedGen[T]) -> list[T]: ...
    @overload
    async def aget_all(self, of: str, type: builtins.type[T] | TypeAdapter[T]) -> list[T]: ...
    @overload
    async def aget_all(self, of: str, type: object) -> list[Any]: ...
    async def aget_all(self, of: ir.TypedGen[Any] | str, type: Any = None) -> list[Any]:
        return await finish_async(self._value_as(values_as, of, type))

    @overload
    def get(self, of: ir.TypedGen[T]) -> T: ...
    @overload
    def get(self, of: str, type: builtins.type[T] | TypeAdapter[T]) -> T: ...
    @overload
    def get(self, of: str, type: object) -> Any: ...
    def get(self, of: ir.TypedGen[Any] | str, type: Any = None) -> Any:
        """The value that `gen` gave a handle for; or the value of a variable as a type, read from its text as
        ``gen(type=...)`` would read it, where it is not of that type already. Type checkers know it.

        Raises like `get_var`; ProgramError if the text is none; TypeError if it is several values (`get_all`).
        """
        return self._finish(self._value_as(value_as, of, type), "s.aget(...)")

    @overload
    def get_all(self, of: ir.TypedGen[T]) -> list[T]: ...
    @overload
    def get_all(self, of: str, type: builtins.type[T] | TypeAdapter[T]) -> list[T]: ...
    @overload
    def get_all(self, of: str, type: object) -> list[Any]: ...
    def get_all(self, of: ir.TypedGen[Any] | str, type: Any = None) -> list[Any]:
        """Like `get`, of ``n > 1`` samples and of a variable that several forks have set; a list of one otherwise."""
        return self._finish(self._value_as(values_as, of, type), "s.aget_all(...)")

    def __contains__(self, key: Key) -> bool:
        return self._interpreter.variables.get(key) is not None or self._is_returned(key)

    def get_meta_info(self, name: str | None, timeout: float | None = None) -> Any:
        """What the backend said about the generation of a variable; with ``n > 1`` a list.

        Raises like `get_var`, and TimeoutError after `timeout` seconds.
        """
        return self._finish(self._value(name), f"s.aget_meta_info({name!r})", timeout).meta_info

    async def aget_meta_info(self, name: str | None) -> Any:
        return (await finish_async(self._value(name))).meta_info

    def text(self) -> str:
        """Waits until all that is queued is done. Raises ProgramError if some of it failed."""
        return self._finish(self._complete(_text), "s.atext()")

    async def atext(self) -> str:
        return await finish_async(self._complete(_text))

    def messages(self) -> list[Message]:
        """The messages that are complete, as in the OpenAI API. Waits and raises like `text`."""
        return self._finish(self._complete(_messages), "s.amessages()")

    async def amessages(self) -> list[Message]:
        return await finish_async(self._complete(_messages))

    def sync(self) -> None:
        """Waits and raises like `text`."""
        self._finish(self._synced(), "s.async_()")

    async def async_(self) -> None:
        """`sync` for coroutines."""
        await finish_async(self._synced())

    def error(self) -> ProgramError | None:
        """Waits like `text`. What stopped the state; its cause is what went wrong."""
        return self._finish(self._failure(), "s.aerror()")

    async def aerror(self) -> ProgramError | None:
        return await finish_async(self._failure())

    def text_iter(self, var_name: str | None = None) -> Iterator[str]:
        """The text as it grows, or that of a variable; all at once if the program was not run with ``stream=True``.

        Joined, it is the whole. Ends when the program has, or in the program itself, when all that is queued is done.
        Raises like `text` and `get_var`, where the text ends that there is.
        """
        before_blocking = partial(self._run.check_may_block, "async for text in s.text_async_iter()")
        for delta in items(self._deltas(var_name), before_blocking):
            if delta.text:
                yield delta.text

    @overload
    def text_async_iter(self, var_name: str | None = None) -> AsyncIterator[str]: ...
    @overload
    def text_async_iter(
        self, var_name: str | None = None, *, return_meta_data: Literal[False]
    ) -> AsyncIterator[str]: ...
    @overload
    def text_async_iter(
        self, var_name: str | None = None, *, return_meta_data: Literal[True]
    ) -> AsyncIterator[tuple[str, Any]]: ...
    async def text_async_iter(self, var_name: str | None = None, return_meta_data: bool = False) -> AsyncIterator[Any]:
        """`text_iter` for a coroutine of any event loop.

        return_meta_data: gives pairs of a text, which may be empty, and the meta info at that point.
        """
        async for delta in items_async(self._deltas(var_name)):
            if return_meta_data:
                yield delta.text, delta.meta_info
            elif delta.text:
                yield delta.text

    def trace(self) -> Trace:
        """What this state and its forks have done so far, as a tree. Does not wait."""
        return trace_of(self._interpreter.records)

    # --- how

    def _finish(self, steps: Steps[T], instead: str, timeout: float | None = None) -> T:
        """instead: what a coroutine awaits."""
        return finish(steps, partial(self._run.check_may_block, f"await {instead}"), timeout)

    def _variable(self, key: Key) -> Steps[Variable]:
        known = self._interpreter.variables
        if known.get(key) is None and self._run.may_still_set_names():
            yield known.when_known(key)
        variable = known.get(key)
        if variable is None and self._is_returned(key):
            variable = Variable.of(Plain(self.ret_value[key], {}))
        if variable is None:
            yield from self._synced()  # a state that failed has its reason to have no such variable
            raise self._not_set(key)
        return variable

    def _not_set(self, key: Key) -> VariableNotSetError:
        if isinstance(key, ir.TypedGen):
            return VariableNotSetError(f"{key!r} has no value here: this very gen was not appended to this state")
        return VariableNotSetError(f"no variable {key!r} is set; {self._interpreter.known_names(key)}", variable=key)

    def _value(self, key: Key) -> Steps[Value]:
        variable = yield from self._variable(key)
        yield variable.future
        return variable.future.result()

    def _value_as(self, reads: Callable[[Value, TextForm[Any], Key], T], of: Any, type: Any) -> Steps[T]:
        key, form = handle(of, type)
        value = yield from self._value(key)
        return reads(value, form, key)

    def _is_returned(self, key: Key) -> bool:
        return isinstance(self.ret_value, dict) and key in self.ret_value

    def _complete(self, of: Callable[[Transcript], T]) -> Steps[T]:
        """What `of` says when everything is done: what is queued by now, or what the program does elsewhere."""
        if self._run.may_still_set_names():
            yield self._run.ended
        found = self._interpreter.read(of)
        yield found
        return found.result()

    def _synced(self) -> Steps[None]:
        return self._complete(_nothing)

    def _failure(self) -> Steps[ProgramError | None]:
        done: Future[None] = Future()
        if self._run.may_still_set_names():
            yield self._run.ended
        self._interpreter.read(_nothing).add_done_callback(lambda _: done.set_result(None))
        yield done
        failure = self._interpreter.failure
        return failure and failure.again()

    def _deltas(self, name: str | None) -> Generator[Delta | Future[Any], None, None]:
        if name is not None:
            yield from self._deltas_of_variable(name)
        elif self._run.setting.is_streaming:
            until = self._run.ended if self._run.may_still_set_names() else self._interpreter.read(_nothing)
            yield from self._interpreter.text_stream.follow(until)
            yield from self._synced()
        else:
            text = yield from self._complete(_text)
            yield Delta(text, {})

    def _deltas_of_variable(self, name: str) -> Generator[Delta | Future[Any], None, None]:
        variable = yield from self._variable(name)
        if variable.stream is not None:
            yield from variable.stream.follow(variable.future)
        yield variable.future
        if variable.stream is None:
            value = variable.future.result()
            yield Delta(value.text, value.meta_info)


def _nothing(_: Transcript) -> None:
    return None


def _text(transcript: Transcript) -> str:
    return transcript.text


def _messages(transcript: Transcript) -> list[Message]:
    return transcript.messages
