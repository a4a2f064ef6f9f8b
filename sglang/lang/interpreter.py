"""Executes the nodes of one state in order against a backend.

A state is a queue. Users' threads put nodes in; while there are any, one task in the programs' loop takes them out and
executes them, one method per kind of node. Whatever is waited for outside (a variable, the text at this point) is a
future in the queue, so it comes out in order too, with a value or with the error that stopped the state.
"""

from __future__ import annotations

import asyncio
import difflib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, TypeVar

from sglang.lang import ir, loop
from sglang.lang.backends.base import Backend, Generated, Prompt
from sglang.lang.ir import SamplingArguments
from sglang.lang.source_line import SourceLine, calling_line
from sglang.lang.text_stream import Delta, TextStream
from sglang.lang.transcript import Transcript
from sglang.lang.variables import Value, Variable, Variables
from sglang.srt.errors import BackendError, ProgramError, UnsupportedError, VariableNotSetError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What all states of one run have in common. sampling: where `gen` does not say."""

    backend: Backend
    sampling: SamplingArguments
    is_streaming: bool = False
    before_request: Callable[[Prompt], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class _Fill:
    """A node and the variable that had its name when it was queued, though perhaps not yet its value."""

    node: ir.Variable
    variable: Variable

    def __repr__(self) -> str:
        return repr(self.node)


@dataclass(frozen=True, slots=True)
class _Read:
    """What `of` says about the transcript when everything before it is done."""

    of: Callable[[Transcript], Any]


@dataclass(frozen=True, slots=True)
class _Extend:
    branch: Future[Transcript]


@dataclass(frozen=True, slots=True)
class _CachePrefix:
    """Have the backend compute what is there."""


class _Step(NamedTuple):
    node: Any
    line: SourceLine
    outcome: Future[Any] | None = None
    stream: TextStream | None = None


class Interpreter:
    """Every method may be called from any thread, unless it says otherwise. None of them waits.

    Once a node has failed, or after `cancel`, no further node is executed: whatever they would have given gets a
    ProgramError.
    """

    def __init__(
        self,
        setting: Setting,
        origin: Future[Transcript] | None = None,
        inherited: Mapping[str | None, Variable] | None = None,
    ) -> None:
        """origin: what to go on from, where that is not the empty state."""
        self.variables = Variables(inherited)
        self.text_stream = TextStream()
        self.failure: ProgramError | None = None
        self._setting = setting
        self._origin = origin
        self._transcript = Transcript()
        self._queue: deque[_Step] = deque()
        self._is_active = False  # the queue is, or is about to be, worked on
        self._task: asyncio.Task[None] | None = None
        self._lock = threading.Lock()

    # --- from outside

    def append(self, expression: ir.Expr | str) -> None:
        """Queue its nodes. The variables they set are known from now on."""
        line = calling_line()
        self._put([self._step(node, line) for node in ir.leaves(expression)])

    def read(self, of: Callable[[Transcript], T]) -> Future[T]:
        """What `of`, which may not raise, says about the transcript once everything queued by now is done."""
        found: Future[T] = Future()
        with self._lock:
            is_idle = not self._is_active and self._origin is None and self.failure is None
            if is_idle:  # nobody else touches the transcript
                found.set_result(of(self._transcript))
        if not is_idle:
            self._put([_Step(_Read(of), calling_line(), found)])
        return found

    def fork(self, size: int) -> list[Interpreter]:
        """States that go on from here. If they are several, and the backend wants it, what is there is sent first."""
        if size > 1 and self._setting.backend.wants_prefix_first:
            self._put([_Step(_CachePrefix(), calling_line())])
        origin, inherited = self.read(Transcript.copy), self.variables.snapshot()
        return [Interpreter(self._setting, origin, inherited) for _ in range(size)]

    def extend(self, branch: Interpreter) -> None:
        """Append what a fork of this state has by now."""
        self._put([_Step(_Extend(branch.read(Transcript.copy)), calling_line())])

    async def cancel(self, reason: ProgramError) -> None:
        """In the programs' loop: end what runs, and wait until it has ended."""
        with self._lock:
            failure = ProgramError(str(reason), self._transcript.text)
        failure.__cause__ = reason.__cause__
        self._fail(failure)
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])

    # --- the queue

    def _step(self, node: ir.Expr, line: SourceLine) -> _Step:
        match node:
            case ir.Gen(name=name) | ir.Select(name=name):
                variable = Variable(stream=TextStream() if self._setting.is_streaming else None)
            case ir.VarScopeEnd(name=name):
                variable = Variable()
            case ir.Variable(name=name) if (known := self.variables.get(name)) is not None:
                return _Step(_Fill(node, known), line)
            case _:
                return _Step(node, line)
        self.variables.set(name, variable)
        return _Step(node, line, variable.future, variable.stream)

    def known_names(self, wanted: str | None) -> str:
        """What to say to whoever wants a variable that is not there."""
        names = self.variables.names()
        if not names:
            return "there is none"
        close = difflib.get_close_matches(str(wanted), filter(None, names), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"there are {', '.join(map(repr, names))}{hint}"

    def _put(self, steps: Sequence[_Step]) -> None:
        with self._lock:
            failure = self.failure
            if failure is None:
                self._queue.extend(steps)
                is_asleep = not self._is_active
                self._is_active = True
        if failure is not None:
            _refuse(steps, failure)
        elif is_asleep:
            loop.get().post(self._start)

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work())

    def _next_step(self) -> _Step | None:
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            self._is_active = False
            return None

    async def _work(self) -> None:
        step: _Step | None = None
        try:
            await self._begin()
            while (step := self._next_step()) is not None:
                result = await _VISITORS[type(step.node)](self, step)
                if step.outcome is not None:
                    step.outcome.set_result(result)
        except BaseException as error:
            failure = self._fail(self._explain(error, step))
            if step is not None:
                _refuse([step], failure)
            if not isinstance(error, Exception):  # cancelled
                raise
        finally:
            self._task = None

    async def _begin(self) -> None:
        if self._origin is not None:
            self._transcript = (await loop.wait_async(self._origin)).branch()
            self._origin = None
            self._emit(self._transcript.text)

    def _fail(self, failure: ProgramError) -> ProgramError:
        """Stop here. The failure that counts, which is the first."""
        with self._lock:
            if self.failure is None:
                self.failure = failure
            failure = self.failure
            steps = list(self._queue)
            self._queue.clear()
        _refuse(steps, failure)
        return failure

    def _explain(self, error: BaseException, step: _Step | None) -> ProgramError:
        if step is None and isinstance(error, ProgramError):  # what failed is the state this one goes on from
            return error
        what = f"{step.node!r} at {step.line}" if step else "the state"
        failure = ProgramError(f"{what} failed: {type(error).__name__}: {error}", self._transcript.text)
        failure.__cause__ = error
        return failure

    # --- the nodes, in the programs' loop

    async def _text(self, step: _Step) -> None:
        self._append(step.node.value)

    async def _unknown(self, step: _Step) -> NoReturn:
        raise VariableNotSetError(
            f"no variable {step.node.name!r} is set before this; {self.known_names(step.node.name)}"
        )

    async def _fill(self, step: _Step) -> None:
        self._append((await loop.wait_async(step.node.variable.future)).text)

    async def _read(self, step: _Step) -> Any:
        return step.node.of(self._transcript)

    async def _extend(self, step: _Step) -> None:
        self._emit(self._transcript.extend(await loop.wait_async(step.node.branch)))

    async def _gen(self, step: _Step) -> Value:
        sampling = self._sampling(step.node)
        prompt = await self._prompt()
        if self._setting.is_streaming and sampling.n in (None, 1):
            samples = [await self._stream(prompt, sampling, step)]
        else:
            samples = await self._setting.backend.generate(prompt, sampling)
            if len(samples) != (sampling.n or 1):
                raise BackendError(f"{len(samples)} continuations came back, not {sampling.n or 1}")
            self._emit(samples[0].text, samples[0].meta_info, step)
        self._transcript.append_generated(samples[0])
        if sampling.n in (None, 1):
            return Value(samples[0].text, samples[0].meta_info)
        return Value([sample.text for sample in samples], [sample.meta_info for sample in samples])

    async def _stream(self, prompt: Prompt, sampling: SamplingArguments, step: _Step) -> Generated:
        generated = None
        num_shown = 0
        async with aclosing(self._setting.backend.stream(prompt, sampling)) as growing:
            async for generated in growing:
                self._emit(generated.text[num_shown:], generated.meta_info, step)
                num_shown = len(generated.text)
        if generated is None:
            raise BackendError("the stream ended before it began")
        return generated

    async def _select(self, step: _Step) -> Value:
        choices = step.node.choices
        if len(choices) == 1:
            decision, meta_info = choices[0], {}
        else:
            prompt = await self._prompt()
            made = await self._setting.backend.select(prompt, choices, step.node.method)
            decision, meta_info = made.decision, made.meta_info
        self._transcript.append(decision)
        self._emit(decision, meta_info, step)
        return Value(decision, meta_info)

    async def _role_begin(self, step: _Step) -> None:
        role = step.node.role
        around = await self._setting.backend.role_text(self._transcript.roles_with(role))
        self._transcript.begin_role(role, around)
        self._emit(around.prefix)

    async def _role_end(self, step: _Step) -> None:
        self._emit(self._transcript.end_role(step.node.role))

    async def _scope_begin(self, step: _Step) -> None:
        self._transcript.begin_scope(step.node.name)

    async def _scope_end(self, step: _Step) -> Value:
        return Value(self._transcript.end_scope(step.node.name), {})

    async def _image(self, step: _Step) -> NoReturn:
        kind = type(step.node).__name__.lower()
        raise UnsupportedError(f"{type(self._setting.backend).__name__} does not support {kind}")

    async def _cache_prefix(self, step: _Step) -> None:
        prompt = self._transcript.prompt()
        if prompt.text:
            await self._setting.backend.cache_prefix(prompt)

    async def _prompt(self) -> Prompt:
        """What the backend is asked about next."""
        prompt = self._transcript.prompt()
        if self._setting.before_request is not None:
            await self._setting.before_request(prompt)
        return prompt

    def _sampling(self, gen: ir.Gen) -> SamplingArguments:
        sampling = gen.sampling.over(self._setting.sampling)
        return sampling.with_stops(gen.extra_stops) if gen.extra_stops else sampling

    def _append(self, text: str) -> None:
        self._transcript.append(text)
        self._emit(text)

    def _emit(self, text: str, meta_info: dict[str, Any] | None = None, step: _Step | None = None) -> None:
        """Show readers of streams what is new, in the state and in the variable that `step` sets."""
        if self._setting.is_streaming:
            delta = Delta(text, meta_info or {})
            self.text_stream.append(delta)
            if step is not None and step.stream is not None:
                step.stream.append(delta)


def _refuse(steps: Sequence[_Step], failure: ProgramError) -> None:
    for step in steps:
        if step.outcome is not None and not step.outcome.done():
            step.outcome.set_exception(failure)


_VISITORS: dict[type, Callable[[Interpreter, _Step], Awaitable[Any]]] = {
    ir.ConstantText: Interpreter._text,
    ir.Gen: Interpreter._gen,
    ir.Select: Interpreter._select,
    ir.Variable: Interpreter._unknown,
    ir.RoleBegin: Interpreter._role_begin,
    ir.RoleEnd: Interpreter._role_end,
    ir.VarScopeBegin: Interpreter._scope_begin,
    ir.VarScopeEnd: Interpreter._scope_end,
    ir.Image: Interpreter._image,
    ir.Video: Interpreter._image,
    _Fill: Interpreter._fill,
    _Read: Interpreter._read,
    _Extend: Interpreter._extend,
    _CachePrefix: Interpreter._cache_prefix,
}
