"""Which model a program asks: the backend it is given, or the default one."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakValueDictionary

from sglang.lang.backends.base import Backend
from sglang.srt.errors import ConfigurationError, shown


class GlobalConfig:
    """default_backend: what programs use that are given none; whatever `as_backend` takes, or None."""

    __slots__ = ("_default_backend", "_is_automatic", "_lock", "_resolved")

    def __init__(self) -> None:
        self._default_backend: Any = None
        self._resolved: Backend | None = None
        self._is_automatic = False
        self._lock = threading.Lock()

    @property
    def default_backend(self) -> Any:
        return self._default_backend

    @default_backend.setter
    def default_backend(self, backend: Any) -> None:
        self._set(backend, is_automatic=False)

    @property
    def resolved(self) -> Backend | None:
        return self._resolved

    def register_if_none(self, backend: Any) -> None:
        with self._lock:
            if self._default_backend is None:
                self._set(backend, is_automatic=True)

    def unregister(self, backend: Any) -> None:
        with self._lock:
            if self._is_automatic and self._default_backend is backend:
                self._set(None, is_automatic=False)

    def _set(self, backend: Any, is_automatic: bool) -> None:
        self._resolved = None if backend is None else as_backend(backend)
        self._default_backend = backend
        self._is_automatic = is_automatic


global_config = GlobalConfig()

_of_engines: WeakValueDictionary[int, Backend] = WeakValueDictionary()
"""By the engine's id, which is its own for as long as its backend lives, since that holds on to it."""


def set_default_backend(backend: Any) -> None:
    """Raises TypeError for what is no backend. None: there is none from now on."""
    global_config.default_backend = backend


def register_if_no_default(backend: Any) -> None:
    """Make it the default if there is none. For a runtime that has just been started."""
    global_config.register_if_none(backend)


def unregister_default(backend: Any) -> None:
    """For a runtime that ends: if `register_if_no_default` made it the default, there is none now."""
    global_config.unregister(backend)


def as_backend(given: Any) -> Backend:
    """A backend, for anything that is one, has one as ``.endpoint`` or ``.as_backend()``, or is an engine.

    Raises TypeError for everything else.
    """
    if isinstance(given, Backend):
        return given
    if isinstance(given, type):
        raise TypeError(f"a backend is an object, not the class {given.__name__}; call it")
    if hasattr(given, "endpoint"):
        return as_backend(given.endpoint)
    if hasattr(given, "as_backend"):
        return as_backend(given.as_backend())
    if hasattr(given, "async_generate") and hasattr(given, "tokenizer"):
        return _backend_of_engine(given)
    raise TypeError(f"not a backend, a Runtime or an Engine: {shown(given)}")


def chosen_backend(backend: Any = None, runtime: Any = None) -> Backend:
    """The one that is given under either name, or the default. Raises ConfigurationError if there is none."""
    if backend is not None and runtime is not None:
        raise ValueError("give backend= or runtime=, not both: they mean the same")
    given = runtime if backend is None else backend
    if given is not None:
        return as_backend(given)
    if global_config.resolved is None:
        raise ConfigurationError("no backend: pass backend=..., or call sgl.set_default_backend(...) first")
    return global_config.resolved


def _backend_of_engine(engine: Any) -> Backend:
    from sglang.lang.backends.engine import EngineBackend

    found = _of_engines.get(id(engine))
    if found is None:
        found = _of_engines[id(engine)] = EngineBackend(engine)
    return found
