"""What a program writes to and reads from."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

from sglang.lang import ir, loop
from sglang.lang.arguments import variable_name
from sglang.lang.backends.base import Message
from sglang.lang.interpreter import Interpreter
from sglang.lang.run import Run
from sglang.lang.text_stream import Delta
from sglang.lang.transcript import Transcript
from sglang.lang.variables import Value, Variable
from sglang.srt.errors import ProgramError, UnsupportedError, VariableNotSetError, shown

T = TypeVar("T")

Steps = Generator[Future[Any], None, T]
"""What to wait for, one after the other, and then a result, so that threads and coroutines wait in their own way."""


class ProgramState:
    """Appending queues what is to be done and returns at once. Reading waits for what is read, and raises ProgramError
    if it could not be done. Usable from any thread, but not in the programs' own event loop.

    ret_value: what the program returned.
    """

    def __init__(self, run: Run, interpreter: Interpreter) -> None:
        self.ret_value: Any = None
        self._run = run
        self._interpreter = interpreter

    # --- writing

    def append(self, expression: ir.Expr | str) -> None:
        """Raises TypeError for what is no text or expression, ValueError for None."""
        self._interpreter.append(expression)
        if self._run.is_stepwise:
            self.sync()

    def __iadd__(self, expression: ir.Expr | str) -> ProgramState:
        self.append(expression)
        return self

    @overload
    def system(self, expression: ir.Expr | str) -> None: ...
    @overload
    def system(self) -> _Scope: ...
    def system(self, expression: ir.Expr | str | None = None) -> _Scope | None:
        """The system message: its content, or without one a context manager in which it is appended."""
        return self._role("system", expression)

    @overload
    def user(self, expression: ir.Expr | str) -> None: ...
    @overload
    def user(self) -> _Scope: ...
    def user(self, expression: ir.Expr | str | None = None) -> _Scope | None:
        return self._role("user", expression)

    @overload
    def assistant(self, expression: ir.Expr | str) -> None: ...
    @overload
    def assistant(self) -> _Scope: ...
    def assistant(self, expression: ir.Expr | str | None = None) -> _Scope | None:
        return self._role("assistant", expression)

    def var_scope(self, name: str) -> _Scope:
        """A context manager; what is appended in it is the variable's value."""
        return _Scope(self, ir.VarScopeBegin(name), ir.VarScopeEnd(name))

    def set_var(self, name: str | None, value: Any) -> None:
        self._interpreter.variables.set(variable_name(name), Variable.of(value, {}))

    def __setitem__(self, name: str | None, value: Any) -> None:
        self.set_var(name, value)

    # --- forking

    def fork(self, size: int = 1, position_ids_offset: Sequence[int] | None = None) -> ProgramStateGroup:
        """States that go on from here, side by side. Does not wait."""
        if position_ids_offset is not None:
            raise UnsupportedError("position_ids_offset is not supported: a fork goes on from its parent's position")
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"size must be an integer, not {shown(size)}")
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        forks = self._run.fork(self._interpreter, size)
        return ProgramStateGroup([ProgramState(self._run, fork) for fork in forks], self)

    def copy(self, position_ids_offset: Sequence[int] | None = None) -> _Copy:
        """A context manager that gives one fork, and joins it."""
        return _Copy(self.fork(1, position_ids_offset))

    # --- reading

    def get_var(self, name: str | None) -> Any:
        """Waits for this variable only. With ``n > 1`` a list.

        Raises VariableNotSetError if nothing that is queued sets it, ProgramError if that failed.
        """
        return _finish(self._value(name)).value

    def __getitem__(self, name: str | None) -> Any:
        """Like `get_var`; also the items of a dict that the program returned."""
        return self.get_var(name)

    def __contains__(self, name: str | None) -> bool:
        return self._interpreter.variables.get(name) is not None or self._is_returned(name)

    def get_meta_info(self, name: str | None, timeout: float | None = None) -> Any:
        """What the backend said about the generation of a variable; with ``n > 1`` a list.

        Raises like `get_var`, and TimeoutError after `timeout` seconds.
        """
        return _finish(self._value(name), timeout).meta_info

    def text(self) -> str:
        """Waits until all that is queued is done. Raises ProgramError if some of it failed."""
        return _finish(self._complete(_text))

    def messages(self) -> list[Message]:
        """The messages that are complete, as in the OpenAI API. Waits and raises like `text`."""
        return _finish(self._complete(lambda transcript: transcript.messages))

    def sync(self) -> None:
        """Waits and raises like `text`."""
        _finish(self._complete(_nothing))

    def error(self) -> ProgramError | None:
        """Waits like `text`. What stopped the state; its cause is what went wrong."""
        try:
            self.sync()
        except ProgramError as error:
            return error
        return None

    def text_iter(self, var_name: str | None = None) -> Iterator[str]:
        """The text as it grows, or that of a variable; all at once if the program was not run with ``stream=True``.

        Joined, it is the whole. Ends when the program has, or in the program itself, when all that is queued is done.
        Raises like `text` and `get_var`, where the text ends that there is.
        """
        for item in self._deltas(var_name):
            if isinstance(item, Future):
                _wait(item)
            elif item.text:
                yield item.text

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
        for item in self._deltas(var_name):
            if isinstance(item, Future):
                await _wait_async(item)
            elif return_meta_data:
                yield item.text, item.meta_info
            elif item.text:
                yield item.text

    # --- how

    def _role(self, role: str, expression: ir.Expr | str | None) -> _Scope | None:
        begin, end = ir.RoleBegin(role), ir.RoleEnd(role)
        if expression is None:
            return _Scope(self, begin, end)
        self.append(ir.ExprList.of(begin, expression, end))
        return None

    def _variable(self, name: str | None) -> Steps[Variable]:
        known = self._interpreter.variables
        if known.get(name) is None and self._run.may_still_set_names():
            yield known.when_known(name)
        variable = known.get(name)
        if variable is None and self._is_returned(name):
            variable = Variable.of(self.ret_value[name], {})
        if variable is None:
            yield from self._complete(_nothing)  # a state that failed has its reason to have no such variable
            raise VariableNotSetError(f"no variable {name!r} is set; {self._interpreter.known_names(name)}")
        return variable

    def _value(self, name: str | None) -> Steps[Value]:
        variable = yield from self._variable(name)
        yield variable.future
        return variable.future.result()

    def _is_returned(self, name: str | None) -> bool:
        return isinstance(self.ret_value, dict) and name in self.ret_value

    def _complete(self, of: Callable[[Transcript], T]) -> Steps[T]:
        """What `of` says when everything is done: what is queued by now, or what the program does elsewhere."""
        if self._run.may_still_set_names():
            yield self._run.ended
        found = self._interpreter.read(of)
        yield found
        return found.result()

    def _deltas(self, name: str | None) -> Generator[Delta | Future[Any], None, None]:
        if name is not None:
            yield from self._deltas_of_variable(name)
        elif self._run.setting.is_streaming:
            until = self._run.ended if self._run.may_still_set_names() else self._interpreter.read(_nothing)
            yield from self._interpreter.text_stream.follow(until)
            yield from self._complete(_nothing)
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


class ProgramStateGroup:
    """The forks of a state, in order."""

    def __init__(self, states: Sequence[ProgramState], parent: ProgramState) -> None:
        self._states = states
        self._parent = parent
        self._is_appended = False

    def __len__(self) -> int:
        return len(self._states)

    def __getitem__(self, index: int) -> ProgramState:
        return self._states[index]

    def __setitem__(self, index: int, state: ProgramState) -> None:
        """For ``forks[i] += ...``, which sets the item to the state it is."""
        if state is not self._states[index]:
            raise TypeError("a fork cannot be replaced by something else")

    def __iter__(self) -> Iterator[ProgramState]:
        return iter(self._states)

    def __iadd__(
        self, expressions: ir.Expr | str | Sequence[ir.Expr | str] | Callable[[int], ir.Expr | str]
    ) -> ProgramStateGroup:
        """Append the same to every fork, or what a list has for it, or what a function gives for its index."""
        if callable(expressions):
            expressions = [expressions(index) for index in range(len(self))]
        elif isinstance(expressions, (ir.Expr, str)):
            expressions = [expressions] * len(self)
        elif not isinstance(expressions, (list, tuple)):
            raise TypeError(f"forks take an expression, a list of them or a function, not {shown(expressions)}")
        if len(expressions) != len(self):
            raise ValueError(f"{len(expressions)} expressions for {len(self)} forks")
        for state, expression in zip(self._states, expressions, strict=True):
            state.append(expression)
        return self

    def join(self, mode: str = "gather_variable") -> ir.ExprList:
        """Wait for the forks. Raises ProgramError if one of them failed.

        gather_variable: the parent gets the variables that forks have set: one that a single fork has set as it is, one
        that several have set as the list of their values, in order. concate_and_append: the parent gets their texts.
        Returns what can be appended to the parent, and adds nothing: all is done already.
        """
        if mode not in ("gather_variable", "concate_and_append"):
            raise ValueError(f"mode must be 'gather_variable' or 'concate_and_append', not {mode!r}")
        for state in self._states:
            state.sync()
        if mode == "gather_variable":
            self._gather_variables()
        elif not self._is_appended:
            self._is_appended = True
            for state in self._states:
                self._parent._interpreter.extend(state._interpreter)
        return ir.ExprList()

    def _gather_variables(self) -> None:
        setters: dict[str | None, list[Variable]] = {}
        for state in self._states:
            for name, variable in state._interpreter.variables.own().items():
                setters.setdefault(name, []).append(variable)
        for name, variables in setters.items():
            values = [variable.future.result() for variable in variables]
            gathered = Variable.of([found.value for found in values], [found.meta_info for found in values])
            self._parent._interpreter.variables.set(name, variables[0] if len(variables) == 1 else gathered)


class _Scope:
    """Appends one node when it is entered and another when it is left, however that happens."""

    def __init__(self, state: ProgramState, begin: ir.Expr, end: ir.Expr) -> None:
        self._state = state
        self._begin = begin
        self._end = end

    def __enter__(self) -> ProgramState:
        self._state.append(self._begin)
        return self._state

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._state.append(self._end)


class _Copy:
    def __init__(self, forks: ProgramStateGroup) -> None:
        self._forks = forks

    def __enter__(self) -> ProgramState:
        return self._forks[0]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._forks.join()


def _nothing(_: Transcript) -> None:
    return None


def _text(transcript: Transcript) -> str:
    return transcript.text


def _finish(steps: Steps[T], timeout: float | None = None) -> T:
    """Wait in this thread for all that `steps` asks for, for at most `timeout` seconds."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        try:
            future = next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
        _wait(future, None if deadline is None else max(deadline - time.monotonic(), 0.0))


def _wait(future: Future[Any], timeout: float | None = None) -> None:
    try:
        loop.wait(future, timeout)
    except ProgramError as error:
        raise _again(error) from error.__cause__


async def _wait_async(future: Future[Any]) -> None:
    try:
        await loop.wait_async(future)
    except ProgramError as error:
        raise _again(error) from error.__cause__


def _again(error: ProgramError) -> ProgramError:
    """One error may be raised by many reads, in several threads, each with its own traceback."""
    return type(error)(str(error), error.text)
