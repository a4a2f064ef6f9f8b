"""The variables of one state. A name is known from the moment when what will set it is queued."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from sglang.lang.execution.text_stream import TextStream
from sglang.lang.ir import TypedGen

Key: TypeAlias = "str | TypedGen[Any] | None"
"""What a variable is found by: its name, or the handle of a `gen` without one. None: the last without a name."""


class Value(Protocol):
    """value: what a program reads; asking for it may raise ProgramError. text: what of it stands in the state's text.

    meta_info: what the backend said about it; a dict, or a list of them where there are several values.
    """

    @property
    def value(self) -> Any: ...
    @property
    def meta_info(self) -> Any: ...
    @property
    def text(self) -> str: ...


class Plain(NamedTuple):
    """As it is. Of anything that no model made there is no meta info."""

    value: Any
    meta_info: dict[str, Any]

    @property
    def text(self) -> str:
        return str(self.value)


class Several(NamedTuple):
    """Of ``n`` samples, or of several forks. The first one is that in the text."""

    values: tuple[Value, ...]

    @property
    def value(self) -> list[Any]:
        return [one.value for one in self.values]

    @property
    def meta_info(self) -> list[Any]:
        return [one.meta_info for one in self.values]

    @property
    def text(self) -> str:
        return self.values[0].text


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """future: its value, or the ProgramError that kept it from being set. stream: its text as it grows, if it does."""

    future: Future[Value] = field(default_factory=Future)
    stream: TextStream | None = None

    @classmethod
    def of(cls, value: Value) -> Variable:
        variable = cls()
        variable.future.set_result(value)
        return variable


class Variables:
    """Of several of one name the last. Usable from any thread."""

    def __init__(self, inherited: Mapping[Key, Variable] | None = None) -> None:
        self._inherited = inherited or {}
        self._by_key = dict(self._inherited)
        self._awaited: dict[Key, Future[None]] = {}
        self._is_closed = False
        self._lock = threading.Lock()

    def get(self, key: Key) -> Variable | None:
        return self._by_key.get(key)

    def set(self, key: Key, variable: Variable) -> None:
        with self._lock:
            self._by_key[key] = variable
            awaited = self._awaited.pop(key, None)
        if awaited is not None:
            awaited.set_result(None)

    def names(self) -> list[str]:
        with self._lock:
            return [key for key in self._by_key if isinstance(key, str)]

    def snapshot(self) -> dict[Key, Variable]:
        with self._lock:
            return dict(self._by_key)

    def own(self) -> dict[Key, Variable]:
        """Those that were set here, not inherited."""
        return {key: found for key, found in self.snapshot().items() if self._inherited.get(key) is not found}

    def when_known(self, key: Key) -> Future[None]:
        """Done when it is known, or when it is certain that it never will be."""
        with self._lock:
            awaited = self._awaited.setdefault(key, Future())
            if key not in self._by_key and not self._is_closed:
                return awaited
            del self._awaited[key]
        awaited.set_result(None)
        return awaited

    def close(self) -> None:
        """No more will come."""
        with self._lock:
            self._is_closed = True
            awaited, self._awaited = self._awaited, {}
        for future in awaited.values():
            future.set_result(None)
