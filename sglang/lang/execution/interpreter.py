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
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, NoReturn, TypeVar

from sglang.lang import ir
from sglang.lang.backends.base import Backend, Generated, Prompt
from sglang.lang.choices import ChoicesDecision, Exact
from sglang.lang.execution import loop
from sglang.lang.execution.steps import CachePrefix, Extend, Fill, Fork, Read, Reasoning, Record, Step
from sglang.lang.execution.text_stream import Delta, TextStream
from sglang.lang.execution.transcript import Transcript
from sglang.lang.execution.variables import Key, Plain, Several, Value, Variable, Variables
from sglang.lang.ir import SamplingArguments
from sglang.lang.source_line import SourceLine, calling_line
from sglang.lang.typed.value import Origin, TypedValue
from sglang.srt.errors import BackendError, ProgramError, UnsupportedError, VariableNotSetError

T = TypeVar("T")

REASONING_SUFFIX = "_reasoning_content"
"""Of the name of the variable that holds what a model thought before it said what the variable without it holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What all states of one run have in common. sampling: where `gen` does not say."""

    backend: Backend
    sampling: SamplingArguments
    is_streaming: bool = False
    before_request: Callable[[Prompt], Awaitable[None]] | None = None


class Interpreter:
    """Every method may be called from any thread, unless it says otherwise. None of them waits.

    Once a node has failed, or after `cancel`, no further node is executed: whatever they would have given gets a
    ProgramError.
    """

    def __init__(
        self,
        setting: Setting,
        origin: Future[Transcript] | None = None,
        inherited: Mapping[Key, Variable] | None = None,
    ) -> None:
        """origin: what to go on from, where that is not the empty state."""
        self.variables = Variables(inherited)
        self.text_stream = TextStream()
        self.failure: ProgramError | None = None
        self.records: list[Record] = []
        self._setting = setting
        self._origin = origin
        self._transcript = Transcript()
        self._queue: deque[Step] = deque()
        self._is_active = False  # the queue is, or is about to be, worked on
        self._task: asyncio.Task[None] | None = None
        self._record: Record | None = None  # of the node that is being executed
        self._lock = threading.Lock()

    # --- from outside

    def append(self, expression: ir.Expr | str) -> None:
        """Queue its nodes. The variables they set are known from now on."""
        line = calling_line()
        self._put([step for node in ir.leaves(expression) for step in self._steps(node, line)])

    def read(self, of: Callable[[Transcript], T]) -> Future[T]:
        """What `of`, which may not raise, says about the transcript once everything queued by now is done."""
        found: Future[T] = Future()
        with self._lock:
            is_idle = not self._is_active and self._origin is None and self.failure is None
            if is_idle:  # nobody else touches the transcript
                found.set_result(of(self._transcript))
        if not is_idle:
            self._put([Step(Read(of), calling_line(), found)])
        return found

    def fork(self, size: int) -> list[Interpreter]:
        """States that go on from here. If they are several, and the backend wants it, what is there is sent first."""
        line = calling_line()
        if size > 1 and self._setting.backend.wants_prefix_first:
            self._put([self._step(CachePrefix(), line)])
        origin, inherited = self.read(Transcript.copy), self.variables.snapshot()
        forks = [Interpreter(self._setting, origin, inherited) for _ in range(size)]
        self.records.append(Record(Fork(size), line, [fork.records for fork in forks]))
        return forks

    def extend(self, branch: Interpreter) -> None:
        """Append what a fork of this state has by now."""
        self._put([self._step(Extend(branch.read(Transcript.copy)), calling_line())])

    async def cancel(self, reason: ProgramError) -> None:
        """In the programs' loop: end what runs, and wait until it has ended."""
        with self._lock:
            text = self._text_so_far()
        self.refuse(reason, text)
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])

    def refuse(self, reason: ProgramError, text: str = "") -> None:
        """Execute nothing more. text: what the state holds."""
        failure = reason.again()
        failure.text = text
        self._fail(failure)

    # --- the queue

    def _steps(self, node: ir.Expr, line: SourceLine) -> Iterator[Step]:
        yield self._step(node, line)
        match node:
            case ir.Gen(name=str(name)) if node.sampling.separate_reasoning is not None:
                generated, thoughts = self.variables.get(name), Variable()
                assert generated is not None, "its step is made, so the name is known"
                self.variables.set(name + REASONING_SUFFIX, thoughts)
                yield Step(Reasoning(generated), line, thoughts.future)

    def _step(self, node: ir.Expr | CachePrefix | Extend, line: SourceLine) -> Step:
        record = Record(node, line)
        self.records.append(record)
        match node:
            case ir.Gen(name=name) | ir.Select(name=name):
                variable = Variable(stream=TextStream() if self._setting.is_streaming else None)
            case ir.VarScopeEnd(name=name):
                variable = Variable()
            case ir.Variable(name=name) if (known := self.variables.get(name)) is not None:
                return Step(Fill(node, known), line, record=record)
            case _:
                return Step(node, line, record=record)
        self.variables.set(name, variable)
        if name is None and isinstance(node, ir.TypedGen):
            self.variables.set(node, variable)
        return Step(node, line, variable.future, variable.stream, record)

    def known_names(self, wanted: str | None) -> str:
        """What to say to whoever wants a variable that is not there."""
        names = self.variables.names()
        if not names:
            return "there is none"
        close = difflib.get_close_matches(str(wanted), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"there are {', '.join(map(repr, names))}{hint}"

    def _put(self, steps: Sequence[Step]) -> None:
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

    def _next_step(self) -> Step | None:
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            self._is_active = False
            return None

    def _is_at_end(self) -> bool:
        """Whether the queue is empty. If so it is asleep from now on."""
        with self._lock:
            self._is_active = bool(self._queue)
            return not self._is_active

    async def _work(self) -> None:
        step: Step | None = None
        try:
            await self._begin()
            while (step := self._next_step()) is not None:
                result = await self._execute(step)
                if step.outcome is not None:
                    is_over = self._is_at_end()  # before anybody hears of the outcome, who may look whether it is idle
                    step.outcome.set_result(result)
                    if is_over:
                        return
        except BaseException as error:
            failure = self._fail(self._explain(error, step))
            if step is not None:
                _refuse([step], failure)
                if step.record is not None:
                    step.record.failure, step.record.ended = failure, perf_counter()
            if not isinstance(error, Exception):  # cancelled
                raise
        finally:
            self._task = None

    async def _execute(self, step: Step) -> Any:
        visit, record = _VISITORS[type(step.node)], step.record
        if record is None:
            return await visit(self, step)
        self._record = record
        record.began = perf_counter()
        result = await visit(self, step)
        record.value, record.ended = result, perf_counter()
        self._record = None
        return result

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

    def _explain(self, error: BaseException, step: Step | None) -> ProgramError:
        if step is None and isinstance(error, ProgramError):  # what failed is the state this one goes on from
            return error
        request_id = getattr(error, "request_id", None)  # our own errors' name for it, and that of client libraries
        what = f"{step.node!r} at {step.line}" if step else "the state"
        which = f" (request {request_id})" if request_id else ""
        failure = ProgramError(
            f"{what} failed{which}: {type(error).__name__}: {error}",
            self._text_so_far(),
            file=step.line.file if step else None,
            line=step.line.line if step else None,
            variable=_variable_name(step.node) if step else None,
            request_id=request_id,
        )
        failure.__cause__ = error
        return failure

    def _text_so_far(self) -> str:
        """With what has come of a stream, which is not in the transcript before its end."""
        record = self._record
        growing = record.texts if record is not None and isinstance(record.node, ir.Gen) else []
        return self._transcript.text + "".join(growing)

    # --- the nodes, in the programs' loop

    async def _text(self, step: Step) -> None:
        self._append(step.node.value)

    async def _unknown(self, step: Step) -> NoReturn:
        raise VariableNotSetError(
            f"no variable {step.node.name!r} is set before this; {self.known_names(step.node.name)}"
        )

    async def _fill(self, step: Step) -> None:
        self._append((await loop.wait_async(step.node.variable.future)).text)

    async def _read(self, step: Step) -> Any:
        return step.node.of(self._transcript)

    async def _extend(self, step: Step) -> None:
        self._emit(self._transcript.extend(await loop.wait_async(step.node.branch)))

    async def _gen(self, step: Step) -> Value:
        sampling = self._sampling(step.node)
        prompt = await self._prompt()
        is_streamed = self._setting.is_streaming and sampling.n in (None, 1) and sampling.separate_reasoning is None
        if is_streamed:
            samples = [await self._stream(prompt, sampling, step)]
        else:
            samples = await self._setting.backend.generate(prompt, sampling)
            if len(samples) != (sampling.n or 1):
                raise BackendError(f"{len(samples)} continuations came back, not {sampling.n or 1}")
            self._emit(samples[0].text, samples[0].meta_info, step)
        self._transcript.append_generated(samples[0])
        values = [self._value(step, sample) for sample in samples]
        return values[0] if sampling.n in (None, 1) else Several(tuple(values))

    def _value(self, step: Step, generated: Generated) -> Value:
        if not isinstance(step.node, ir.TypedGen):
            return Plain(generated.text, generated.meta_info)
        origin = Origin(step.node.name, step.line, self._transcript.text)
        return TypedValue(generated.text, generated.meta_info, step.node.form, origin)

    async def _stream(self, prompt: Prompt, sampling: SamplingArguments, step: Step) -> Generated:
        generated = None
        num_shown = 0
        async with aclosing(self._setting.backend.stream(prompt, sampling)) as growing:
            async for generated in growing:
                if step.record is not None and step.record.first_token is None:
                    step.record.first_token = perf_counter()
                self._emit(generated.text[num_shown:], generated.meta_info, step)
                num_shown = len(generated.text)
        if generated is None:
            raise BackendError("the stream ended before it began")
        return generated

    async def _select(self, step: Step) -> Value:
        if step.node.is_decided:
            decision, meta_info = step.node.choices[0], {}
        else:
            prompt = await self._prompt()
            made = await self._decide(prompt, step.node)
            decision, meta_info = made.decision, made.meta_info
        self._transcript.append(decision)
        self._emit(decision, meta_info, step)
        return Plain(decision, meta_info)

    async def _decide(self, prompt: Prompt, select: ir.Select) -> ChoicesDecision:
        backend, method = self._setting.backend, select.method
        if not isinstance(method, Exact):
            return await backend.select(prompt, select.choices, method)
        if method.sampling_seed is None:
            method = replace(method, sampling_seed=self._setting.sampling.sampling_seed)
        return await backend.select_exact(prompt, select.choices, method)

    async def _role_begin(self, step: Step) -> None:
        role = step.node.role
        around = await self._setting.backend.role_text(self._transcript.roles_with(role))
        self._transcript.begin_role(role, around)
        self._emit(around.prefix)

    async def _role_end(self, step: Step) -> None:
        self._emit(self._transcript.end_role(step.node.role))

    async def _scope_begin(self, step: Step) -> None:
        self._transcript.begin_scope(step.node.name)

    async def _scope_end(self, step: Step) -> Value:
        return Plain(self._transcript.end_scope(step.node.name), {})

    async def _media(self, step: Step) -> None:
        media, backend = step.node.media, self._setting.backend
        if media.kind not in backend.media_kinds:
            raise UnsupportedError(f"{type(backend).__name__} does not support {media.kind}")
        self._transcript.append_media(media)
        self._emit(media.placeholder)

    async def _reasoning(self, step: Step) -> Value:
        generated = await loop.wait_async(step.node.variable.future)
        if isinstance(generated, Several):
            return Several(tuple(map(_thoughts, generated.values)))
        return _thoughts(generated)

    async def _cache_prefix(self, step: Step) -> Value | None:
        """None: nothing is there."""
        prompt = self._transcript.prompt()
        if not prompt.text:
            return None
        await self._setting.backend.cache_prefix(prompt)
        return Plain("", {})

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

    def _emit(self, text: str, meta_info: dict[str, Any] | None = None, step: Step | None = None) -> None:
        """Show readers of streams what is new, in the state and in the variable that `step` sets."""
        if self._record is not None:
            self._record.texts.append(text)
        if self._setting.is_streaming:
            delta = Delta(text, meta_info or {})
            self.text_stream.append(delta)
            if step is not None and step.stream is not None:
                step.stream.append(delta)


def _variable_name(node: object) -> str | None:
    """What a node was to set or to fill in."""
    match node:
        case ir.Gen(name=name) | ir.Select(name=name) | ir.VarScopeEnd(name=name) | ir.Variable(name=name):
            return name
        case Fill(node=filled):
            return filled.name
    return None


def _thoughts(generated: Value) -> Value:
    return Plain(generated.meta_info["reasoning_content"], generated.meta_info)


def _refuse(steps: Sequence[Step], failure: ProgramError) -> None:
    for step in steps:
        if step.outcome is not None and not step.outcome.done():
            step.outcome.set_exception(failure)


_VISITORS: dict[type, Callable[[Interpreter, Step], Awaitable[Any]]] = {
    ir.ConstantText: Interpreter._text,
    ir.Gen: Interpreter._gen,
    ir.TypedGen: Interpreter._gen,
    ir.Select: Interpreter._select,
    ir.Variable: Interpreter._unknown,
    ir.RoleBegin: Interpreter._role_begin,
    ir.RoleEnd: Interpreter._role_end,
    ir.VarScopeBegin: Interpreter._scope_begin,
    ir.VarScopeEnd: Interpreter._scope_end,
    ir.MediaInput: Interpreter._media,
    Fill: Interpreter._fill,
    Reasoning: Interpreter._reasoning,
    Read: Interpreter._read,
    Extend: Interpreter._extend,
    CachePrefix: Interpreter._cache_prefix,
}
