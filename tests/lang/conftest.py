"""Fixtures for programs on the mock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

import sglang as sgl
from sglang.lang.execution import loop
from tests.helpers.runtime import eventually

UseMock = Callable[..., sgl.Mock]


@pytest.fixture
def use_mock() -> Iterator[UseMock]:
    """Makes a mock the default backend. When the test is over, nothing may be left in it or in the programs' loop."""
    used: list[sgl.Mock] = []

    def use(*args: object, **options: object) -> sgl.Mock:
        mock = sgl.Mock(*args, **options)  # type: ignore[arg-type]
        used.append(mock)
        sgl.set_default_backend(mock)
        return mock

    before = sgl.global_config.default_backend
    yield use
    sgl.set_default_backend(before)
    eventually(lambda: loop.run(num_other_tasks()) == 0, "no program is left in the loop")
    assert [mock.num_open for mock in used] == [0] * len(used)


@pytest.fixture
def mock(use_mock: UseMock) -> sgl.Mock:
    return use_mock()


async def num_other_tasks() -> int:
    return len(asyncio.all_tasks()) - 1
