"""What a program writes to and reads from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, overload

from sglang.lang import ir
from sglang.lang.arguments import variable_name
from sglang.lang.execution.run import cancel_all
from sglang.lang.execution.variables import Key, Plain, Several, Variable
from sglang.lang.execution.waiting import Steps, finish, finish_async
from sglang.lang.reading import ReadableState
from sglang.srt.errors import RequestAbortedError, UnsupportedError, shown


class ProgramState(ReadableState):
    """Appending queues what is to be done and returns at once. Usable from any thread."""

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
        self._interpreter.variables.set(variable_name(name), Variable.of(Plain(value, {})))

    def __setitem__(self, name: str | None, value: Any) -> None:
        self.set_var(name, value)

    def cancel(self) -> None:
        """End the program this state is of: its requests, those of its forks, and, where it next reads, its body.

        Does not wait. What is queued or asked for from now on gets a ProgramError; variables that are set can be read.
        """
        cancel_all([self._run], RequestAbortedError("the program was cancelled"))

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

    def _role(self, role: str, expression: ir.Expr | str | None) -> _Scope | None:
        begin, end = ir.RoleBegin(role), ir.RoleEnd(role)
        if expression is None:
            return _Scope(self, begin, end)
        self.append(ir.ExprList.of(begin, expression, end))
        return None


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
        run = self._parent._run
        return finish(self._joined(mode), partial(run.check_may_block, "await forks.ajoin()"))

    async def ajoin(self, mode: str = "gather_variable") -> ir.ExprList:
        """`join` for coroutines."""
        return await finish_async(self._joined(mode))

    def _joined(self, mode: str) -> Steps[ir.ExprList]:
        if mode not in ("gather_variable", "concate_and_append"):
            raise ValueError(f"mode must be 'gather_variable' or 'concate_and_append', not {mode!r}")
        for state in self._states:
            yield from state._synced()
        if mode == "gather_variable":
            self._gather_variables()
        elif not self._is_appended:
            self._is_appended = True
            for state in self._states:
                self._parent._interpreter.extend(state._interpreter)
        return ir.ExprList()

    def _gather_variables(self) -> None:
        setters: dict[Key, list[Variable]] = {}
        for state in self._states:
            for key, variable in state._interpreter.variables.own().items():
                setters.setdefault(key, []).append(variable)
        for key, variables in setters.items():
            values = [variable.future.result() for variable in variables]
            gathered = Variable.of(Several(tuple(values)))
            self._parent._interpreter.variables.set(key, variables[0] if len(variables) == 1 else gathered)


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
    """For ``with`` in a plain function, for ``async with`` in an async one."""

    def __init__(self, forks: ProgramStateGroup) -> None:
        self._forks = forks

    def __enter__(self) -> ProgramState:
        return self._forks[0]

    async def __aenter__(self) -> ProgramState:
        return self._forks[0]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._forks.join()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self._forks.ajoin()
