"""What may be given as a backend, and which is the default."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest

import sglang as sgl
from sglang.lang import default_backend
from sglang.lang.default_backend import as_backend, chosen_backend, register_if_no_default, unregister_default
from tests.lang.conftest import UseMock


class FakeEngine:
    tokenizer = None

    async def async_generate(self, **payload: Any) -> Any:
        return {"text": "it", "meta_info": {}, "segments": ["it"]}


def test_what_is_or_has_a_backend() -> None:
    mock = sgl.Mock()
    assert as_backend(mock) is mock
    assert as_backend(SimpleNamespace(endpoint=mock)) is mock
    assert as_backend(SimpleNamespace(as_backend=lambda: mock)) is mock
    for wrong in ("http://localhost", 5, sgl.Mock):
        with pytest.raises(TypeError):
            as_backend(wrong)


def test_an_engine_keeps_its_backend_and_is_not_kept_by_it() -> None:
    engine = FakeEngine()
    backend: Any = as_backend(engine)
    assert backend.engine is engine
    assert as_backend(engine) is backend
    other: Any = as_backend(FakeEngine())
    assert other is not backend
    del backend, other
    gc.collect()
    assert id(engine) not in default_backend._of_engines


def test_an_engine_runs_programs() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Is " + sgl.gen("a")

    assert program.run(backend=FakeEngine()).text() == "Is it"


def test_the_default_is_what_was_set(use_mock: UseMock) -> None:
    runtime = SimpleNamespace(endpoint=use_mock())
    sgl.set_default_backend(runtime)
    assert sgl.global_config.default_backend is runtime
    assert chosen_backend() is runtime.endpoint
    sgl.global_config.default_backend = sgl.Mock()
    assert chosen_backend() is not runtime.endpoint
    with pytest.raises(TypeError, match="not a backend"):
        sgl.set_default_backend("http://localhost")
    with pytest.raises(AttributeError):
        sgl.global_config.no_such_option = 1  # type: ignore[attr-defined]


def test_a_runtime_is_the_default_while_there_is_no_other(use_mock: UseMock) -> None:
    chosen, first, second = use_mock(), sgl.Mock(), sgl.Mock()
    register_if_no_default(first)
    assert chosen_backend() is chosen
    unregister_default(chosen)
    assert chosen_backend() is chosen
    sgl.set_default_backend(None)
    register_if_no_default(first)
    register_if_no_default(second)
    unregister_default(second)
    assert chosen_backend() is first
    unregister_default(first)
    with pytest.raises(sgl.SglangError, match="no backend"):
        chosen_backend()
