"""Calls of APIs from programs: begun at once, side by side, and waited for where their answers are used."""

from __future__ import annotations

import asyncio
import functools
import inspect
import operator
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from sglang.lang.execution import loop
from sglang.lang.execution.run import current_run
from sglang.lang.source_line import SourceLine, calling_line
from sglang.srt.errors import BackendError, ConfigurationError, ProgramError, did_you_mean, shown

DEFAULT_TIMEOUT_SECONDS = 60.0

Target: TypeAlias = "Callable[[dict[str, Any]], Any] | str"
"""Called with the arguments in a thread of its own, and awaited there if async; or a URL they are posted to as JSON."""


@dataclass(frozen=True, slots=True)
class _Api:
    target: Target
    timeout: float


_apis: dict[str, _Api] = {}


def register_api(name: str, target: Target, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> None:
    """Let programs ``call_api(name, {...})``.

    target: a function of one argument, the dict, plain or async; or the URL of a server that takes it by POST as JSON
    and answers JSON, or text. timeout: seconds until a call counts as failed. A second one of that name replaces the
    first. Raises TypeError or ValueError.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"an API's name must be a text, not {shown(name)}")
    if isinstance(target, str):
        if urlsplit(target).scheme not in ("http", "https"):
            raise ValueError(f"the URL of API {name!r} must begin with http:// or https://, not {shown(target)}")
    elif not callable(target):
        raise TypeError(f"API {name!r} must be a function or a URL, not {shown(target)}")
    _apis[name] = _Api(target, _seconds(timeout))


def unregister_api(name: str) -> None:
    """Raises ConfigurationError if there is none of that name."""
    _known(name)
    del _apis[name]


def begin(name: str, arguments: Mapping[str, Any] | None, timeout: float | None) -> ApiCall:
    """Raises ConfigurationError if no such API is registered, TypeError and ValueError for wrong arguments."""
    api = _known(name)
    if not isinstance(arguments, (Mapping, type(None))):
        raise TypeError(f"call_api takes the arguments of {name!r} as a dict, not {shown(arguments)}")
    seconds = api.timeout if timeout is None else _seconds(timeout)
    given = dict(arguments or {})
    if isinstance(api.target, str):
        future = loop.get().submit(_posted(api.target, given, seconds))
    else:
        future = _in_thread(api.target, given)
    return ApiCall(f"call_api({name!r}, {shown(given)})", calling_line(), future, seconds)


def _use(operation: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: ApiCall, *others: Any) -> Any:
        return operation(self.result(), *map(answer_of, others))

    return method


def _reflected(operation: Callable[..., Any]) -> Callable[..., Any]:
    return _use(lambda own, other: operation(other, own))


class ApiCall:
    """The answer of an API, used as if it were there: indexed, compared, iterated, put in an f-string, asked for its
    attributes. Every use waits for it, and raises ProgramError, which names the call, if there is none.

    In coroutines it is awaited first; where a use would block the event loop, it raises ProgramError instead.
    """

    def __init__(self, what: str, line: SourceLine, future: Future[Any], timeout: float) -> None:
        self._what = what
        self._line = line
        self._future = future
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._is_used = False

    def result(self) -> Any:
        """The answer itself."""
        self._is_used = True
        if not self._future.done() and _is_in_event_loop():
            raise self._error("would block the event loop it is used in; await it first")
        try:
            return loop.wait(self._future, self._seconds_left)
        except Exception as error:
            raise self._failed(error) from error

    def __await__(self) -> Generator[Any, None, Any]:
        """Gives the answer itself."""
        self._is_used = True
        return self._awaited().__await__()

    def cancel(self) -> None:
        """Nobody waits for it any more. A function that has begun is not interrupted."""
        self._future.cancel()

    def settle(self) -> None:
        """Wait until it is over, if nobody has. So an error is raised somewhere."""
        if not self._is_used:
            self.result()

    async def settle_async(self) -> None:
        if not self._is_used:
            await self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what Python and notebooks look for by themselves
            raise AttributeError(f"{self!r} has no {name!r}")
        return getattr(self.result(), name)

    __str__ = _use(str)
    __format__ = _use(format)
    __bool__ = _use(bool)
    __int__ = _use(int)
    __float__ = _use(float)
    __hash__ = _use(hash)
    __len__ = _use(len)
    __iter__ = _use(iter)
    __getitem__ = _use(operator.getitem)
    __contains__ = _use(operator.contains)
    __eq__ = _use(operator.eq)
    __ne__ = _use(operator.ne)
    __lt__ = _use(operator.lt)
    __le__ = _use(operator.le)
    __gt__ = _use(operator.gt)
    __ge__ = _use(operator.ge)
    __add__ = _use(operator.add)
    __radd__ = _reflected(operator.add)
    __sub__ = _use(operator.sub)
    __rsub__ = _reflected(operator.sub)
    __mul__ = _use(operator.mul)
    __rmul__ = _reflected(operator.mul)
    __truediv__ = _use(operator.truediv)
    __rtruediv__ = _reflected(operator.truediv)

    def __repr__(self) -> str:
        return f"<{self._what} at {self._line}>"

    async def _awaited(self) -> Any:
        try:
            if not self._future.done():  # else it would be late once the time is over, though it is there
                await asyncio.wait_for(loop.wait_async(self._future), self._seconds_left)
            return self._future.result()
        except Exception as error:
            raise self._failed(error) from error

    @property
    def _seconds_left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.0)

    def _failed(self, error: BaseException) -> ProgramError:
        if isinstance(error, (TimeoutError, asyncio.TimeoutError)) and not self._future.done():
            self._future.cancel()
            return self._error(f"has no answer after {self._timeout:g} s")
        return self._error(f"failed: {type(error).__name__}: {error}")

    def _error(self, problem: str) -> ProgramError:
        return ProgramError(f"{self._what} at {self._line} {problem}", file=self._line.file, line=self._line.line)


def answer_of(value: Any) -> Any:
    """Of a call its answer, also in lists, tuples and dicts; all else as it is. Raises like a use of the call."""
    match value:
        case ApiCall():
            return value.result()
        case list() | tuple() if type(value) in (list, tuple):
            return type(value)(map(answer_of, value))
        case dict() if type(value) is dict:
            return {key: answer_of(item) for key, item in value.items()}
    return value


def _is_in_event_loop() -> bool:
    """In one that may not be blocked: a plain program may block the one it was called in, as in a notebook."""
    run = current_run()
    return loop.running() is not None if run is None else run.is_in_its_loop()


def _known(name: str) -> _Api:
    if name not in _apis:
        known = did_you_mean(name, _apis, "APIs") if _apis else "there is none"
        raise ConfigurationError(f"no API {name!r} is registered: {known}; call sgl.register_api({name!r}, ...) first")
    return _apis[name]


def _seconds(timeout: Any) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds, not {shown(timeout)}")
    if not timeout > 0:
        raise ValueError(f"timeout must be more than 0 s, not {timeout}")
    return float(timeout)


async def _posted(url: str, arguments: dict[str, Any], timeout: float) -> Any:
    import httpx

    try:
        async with httpx.AsyncClient(timeout=timeout) as client:
            response = await client.post(url, json=arguments)
    except httpx.TimeoutException as error:
        raise TimeoutError(f"{url} has not answered within {timeout:g} s") from error
    if not response.is_success:
        raise BackendError(f"{url} answered {response.status_code}: {shown(response.text)}")
    is_json = response.headers.get("content-type", "").partition(";")[0].strip().endswith("json")
    return response.json() if is_json else response.text


def _in_thread(function: Callable[[dict[str, Any]], Any], arguments: dict[str, Any]) -> Future[Any]:
    """A thread of its own, so that calls which wait for each other cannot use up all there are."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            answer = function(arguments)
            if inspect.isawaitable(answer):
                answer = asyncio.run(_awaited(answer))
        except BaseException as error:  # noqa: BLE001 - whoever uses the answer raises it
            end = functools.partial(future.set_exception, error)
        else:
            end = functools.partial(future.set_result, answer)
        if future.set_running_or_notify_cancel():  # somebody still wants it
            end()

    threading.Thread(target=copy_context().run, args=(work,), name="sglang-api", daemon=True).start()
    return future


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer
