"""One real server for all examples, and all examples that can run at once run at once on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import pytest

import sglang as sgl
from sglang.srt.args import launch_args
from tests.examples.running import SECONDS, BorrowedRuntime, Run, run_alone, run_here

LONGEST_FIRST = (
    "004_6_resume.py",
    "001_4_workflow.py",
    "001_12_self_consistency.py",
    "001_8_json.py",
    "001_11_multi_turn_chat.py",
    "001_12_react_agent.py",
    
    "002_1_return_values.py",
    "001_10_openai_client.py",
    "001_1_gen.py",
    "002_2_computed_names.py",
    "004_4_customer_service.py",
    "002_1_branch.py",
    "004_2_json_schema.py",
    "000_6_chat.py",
    "000_1_tool_use.py",

    "004_5_fork.py",
    "001_8_regex.py",
    "001_12_data_extraction.py",
    "004_3_regex.py",
    "000_9_generate.py",
    "000_2_chat_regex.py",
    "000_3_chat_ebnf.py",
    "001_2_select.py",
    "001_12_llm_judge.py",
)

WITH_ANOTHER_DEFAULT_BACKEND = ("000_7_multi_turn.py", "000_8_stream.py")
"""Run in processes of their own: the default backend is the process's."""

AFTER_ALL_OTHERS = ("001_5_runtime.py", "001_6_run_batch.py", "001_7_flush_cache.py")
"""They empty the cache, or report how much of it was used, and so do others."""

Runs = Callable[[str], Run]


@pytest.fixture(scope="module")
def runtime() -> Iterator[sgl.Runtime]:
    """The default model, in half the bytes: these tests are about what programs get, and get it twice as fast."""
    with sgl.Runtime(model_path="smollm2", dtype="bfloat16", context_length=2048) as running:
        yield running


@pytest.fixture(scope="module")
def runs(runtime: sgl.Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """What an example did, by its file name."""

    def borrow(**options: Any) -> BorrowedRuntime:
        launch_args(**options)  # raises for what a Runtime of its own would refuse
        assert options["model_path"] == "smollm2"
        return BorrowedRuntime(runtime)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(max_workers=64) as pool:
        patch.setattr(sgl, "Runtime", borrow)
        patch.setattr(sgl.global_config, "default_backend", None)
        alone = partial(run_alone, folder=tmp_path_factory.mktemp("examples"), url=runtime.url)
        here = partial(run_here, url=runtime.url)
        running: dict[str, Future[Run]] = {name: pool.submit(here, name) for name in LONGEST_FIRST}
        running.update({name: pool.submit(alone, name) for name in WITH_ANOTHER_DEFAULT_BACKEND})

        def run_of(name: str) -> Run:
            if name not in running:
                wait(running.values(), SECONDS)
                running[name] = pool.submit(here, name)
            return running[name].result(SECONDS)

        yield run_of
