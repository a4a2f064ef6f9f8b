"""Two ways to one tiny model: an engine in this process, and a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

import sglang as sgl
from sglang.lang.backends.engine import EngineBackend
from sglang.lang.backends.native import NativeBackend
from sglang.lang.backends.runtime import Runtime
from sglang.lang.backends.runtime_endpoint import RuntimeEndpoint
from sglang.lang.default_backend import unregister_default
from sglang.lang.execution import loop


@pytest.fixture(scope="session")
def runtime(tiny_model: str) -> Iterator[Runtime]:
    with Runtime(tiny_model, port=0, num_threads=1) as running:
        unregister_default(running)  # programs of other tests have no default
        yield running
        loop.run(running.endpoint.aclose())


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def endpoint(runtime: Runtime) -> AsyncIterator[RuntimeEndpoint]:
    connected = RuntimeEndpoint(runtime.url)
    yield connected
    await connected.aclose()
    loop.run(connected.aclose())


@pytest.fixture(params=["engine", "endpoint"])
def backend(request: pytest.FixtureRequest, tiny_engine: sgl.Engine, endpoint: RuntimeEndpoint) -> NativeBackend:
    return EngineBackend(tiny_engine) if request.param == "engine" else endpoint
