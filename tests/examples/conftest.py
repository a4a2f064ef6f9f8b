"""One real server for all examples, and all examples that can run at once run at once on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.backends.runtime_endpoint import RuntimeEndpoint
from sglang.lang.default_backend import unregister_default
from sglang.lang.execution import loop
from sglang.srt.args import launch_args
from tests.examples.running import SECONDS, SHORT_SPINS, BorrowedRuntime, Run, run_alone, run_here
from tests.helpers.runtime import eventually

LONGEST_FIRST = (
    "004_6_resume.py",
    "001_4_workflow.py",
    "001_12_self_consistency.py",
    "003_2_plan_trip.py",
    "001_8_json.py",
    "001_11_multi_turn_chat.py",
    "001_12_react_agent.py",
    "001_6_run_batch.py",
    "002_1_return_values.py",
    "001_10_openai_client.py",
    "001_1_gen.py",
    "002_2_computed_names.py",
    "004_4_customer_service.py",
    "002_1_branch.py",
    "004_2_json_schema.py",
    "000_6_chat.py",
    "000_10_tools.py",
    "000_1_tool_use.py",
    "004_5_fork.py",
    "001_8_regex.py",
    "001_12_data_extraction.py",
    "004_3_regex.py",
    "004_9_xml.py",
    "003_1_extract_product.py",
    "003_3_ecommerce.py",
    "000_9_generate.py",
    "000_2_chat_regex.py",
    "000_3_chat_ebnf.py",
    "001_2_select.py",
    "001_12_llm_judge.py",
    "001_5_runtime.py",
)

WITHOUT_A_LIMIT = ("000_4_chat_json_schema.py", "002_4_requests.py")
"""They let the model say as much as fits, so they get the server with a short context."""

WITH_ANOTHER_DEFAULT_BACKEND = ("000_7_multi_turn.py", "000_8_stream.py")
"""Run in processes of their own: the default backend is the process's."""

AFTER_ALL_OTHERS = ("001_7_flush_cache.py", "001_16_lazy_execution.py")
"""One empties the cache and reports what of its prompts was there, one counts the steps of the engine."""

Runs = Callable[[str], Run]


@pytest.fixture(scope="module")
def runtime() -> Iterator[sgl.Runtime]:
    """The default model, in half the bytes: these tests are about what programs get, and get it twice as fast."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORT_SPINS.items():
            patch.setenv(name, value)
        running = sgl.Runtime(model_path="smollm2", dtype="bfloat16", context_length=1536)
    with running:
        unregister_default(running)  # the examples say which they want, and other tests have none
        yield running
        eventually(lambda: num_running(running) == 0, "no request is left in the runtime")
        loop.run(running.endpoint.aclose())


def num_running(runtime: sgl.Runtime) -> int:
    (state,) = runtime.endpoint.get_server_info()["internal_states"]
    return int(state["num_running"] + state["num_waiting"])


@pytest.fixture(scope="module")
def runs(runtime: sgl.Runtime, server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """What an example did, by its file name."""
    folder = tmp_path_factory.mktemp("examples")

    endpoints: list[RuntimeEndpoint] = []

    def connect(url: str) -> RuntimeEndpoint:
        endpoints.append(RuntimeEndpoint(url))
        return endpoints[-1]

    def borrow(**options: Any) -> BorrowedRuntime:
        launch_args(**options)  # raises for what a Runtime of its own would refuse
        assert options["model_path"] == "smollm2"
        return BorrowedRuntime(runtime)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(max_workers=len(LONGEST_FIRST) + 8) as pool:
        patch.setattr(sgl, "Runtime", borrow)
        patch.setattr(sgl, "RuntimeEndpoint", connect)
        patch.setattr(sgl.global_config, "default_backend", None)
        running: dict[str, Future[Run]] = {
            **{name: pool.submit(run_here, name, runtime.url) for name in LONGEST_FIRST},
            **{name: pool.submit(run_here, name, server_url) for name in WITHOUT_A_LIMIT},
            **{name: pool.submit(run_alone, name, folder, runtime.url) for name in WITH_ANOTHER_DEFAULT_BACKEND},
        }

        def run_of(name: str) -> Run:
            if name not in running:
                assert name in AFTER_ALL_OTHERS
                wait(running.values(), SECONDS)
                running[name] = pool.submit(run_here, name, runtime.url)
            return running[name].result(SECONDS)

        yield run_of
    for endpoint in endpoints:
        loop.run(endpoint.aclose())
