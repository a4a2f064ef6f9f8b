"""The variables of one state. A name is known from the moment when what will set it is queued."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sglang.lang.text_stream import TextStream


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
    """By name; of several of one name the last. Usable from any thread."""

    def __init__(self, inherited: Mapping[str | None, Variable] | None = None) -> None:
        self._inherited = inherited or {}
        self._by_name = dict(self._inherited)
        self._awaited: dict[str | None, Future[None]] = {}
        self._is_closed = False
        self._lock = threading.Lock()

    def get(self, name: str | None) -> Variable | None:
        return self._by_name.get(name)

    def set(self, name: str | None, variable: Variable) -> None:
        with self._lock:
            self._by_name[name] = variable
            awaited = self._awaited.pop(name, None)
        if awaited is not None:
            awaited.set_result(None)

    def names(self) -> list[str | None]:
        with self._lock:
            return list(self._by_name)

    def snapshot(self) -> dict[str | None, Variable]:
        with self._lock:
            return dict(self._by_name)

    def own(self) -> dict[str | None, Variable]:
        """Those that were set here, not inherited."""
        return {name: found for name, found in self.snapshot().items() if self._inherited.get(name) is not found}

    def when_known(self, name: str | None) -> Future[None]:
        """Done when the name is known, or when it is certain that it never will be."""
        with self._lock:
            awaited = self._awaited.setdefault(name, Future())
            if name not in self._by_name and not self._is_closed:
                return awaited
            del self._awaited[name]
        awaited.set_result(None)
        return awaited

    def close(self) -> None:
        """No more names will come."""
        with self._lock:
            self._is_closed = True
            awaited, self._awaited = self._awaited, {}
        for future in awaited.values():
            future.set_result(None)
