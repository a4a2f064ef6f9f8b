"""`sgl.Engine` as a program uses it: what it gives back, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

import sglang as sgl
from sglang.srt.errors import ConfigurationError, EngineDeadError, InvalidRequestError, ModelLoadError
from tests.helpers.runtime import SECONDS, assert_baseline, engine_processes, eventually, is_gone, state_of

PROMPT = "The capital of France is"
GREEDY = {"temperature": 0.0, "max_new_tokens": 6, "ignore_eos": True}
LONG = {"temperature": 0.0, "max_new_tokens": 90_000, "ignore_eos": True}
"""Of a tiny model: takes minutes."""


# --- what comes back -------------------------------------------------------------------------------------------------


def test_one_prompt_gives_one_result(tiny_engine: sgl.Engine) -> None:
    result = tiny_engine.generate(PROMPT, GREEDY)
    assert list(result) == ["text", "output_ids", "meta_info"]
    assert result["text"] == tiny_engine.tokenizer.decode(result["output_ids"])
    meta = result["meta_info"]
    assert isinstance(meta.pop("id"), str) and isinstance(meta.pop("sampling_seed"), int)
    assert meta.pop("e2e_latency") > meta.pop("first_token_latency") > 0
    assert 0 <= meta.pop("cached_tokens") < len(PROMPT)
    assert meta == {
        "finish_reason": {"type": "length", "length": 6},
        "prompt_tokens": len(PROMPT),
        "completion_tokens": 6,
        "forced_tokens": 0,
        "num_retractions": 0,
        "weight_version": "default",
    }


def test_lists_give_lists(tiny_engine: sgl.Engine) -> None:
    single = tiny_engine.generate(PROMPT, GREEDY)
    for count, results in (
        (1, tiny_engine.generate([PROMPT], GREEDY)),
        (2, tiny_engine.generate([PROMPT, PROMPT], [GREEDY, GREEDY])),
        (2, tiny_engine.generate(PROMPT, {**GREEDY, "n": 2})),
        (4, tiny_engine.generate([PROMPT, PROMPT], {**GREEDY, "n": 2})),
    ):
        assert [result["output_ids"] for result in results] == [single["output_ids"]] * count


def test_token_ids_are_a_prompt_too(tiny_engine: sgl.Engine) -> None:
    ids = tiny_engine.tokenizer.encode(PROMPT)
    single, batch = (tiny_engine.generate(input_ids=given, sampling_params=GREEDY) for given in (ids, [ids, ids[:3]]))
    expected = tiny_engine.generate(PROMPT, GREEDY)["output_ids"]
    assert single["output_ids"] == batch[0]["output_ids"] == expected
    assert [result["meta_info"]["prompt_tokens"] for result in batch] == [len(PROMPT), 3]


def test_arguments_may_differ_from_prompt_to_prompt(tiny_engine: sgl.Engine) -> None:
    results = tiny_engine.generate(
        [PROMPT, PROMPT],
        [{"max_new_tokens": 1}, {"max_new_tokens": 2, "ignore_eos": True}],
        rid=["first", "second"],
        return_logprob=[True, False],
        logprob_start_len=[20, -1],
    )
    first, second = (result["meta_info"] for result in results)
    assert (first["id"], first["completion_tokens"], len(first["input_token_logprobs"])) == ("first", 1, 4)
    assert (second["id"], second["completion_tokens"], "input_token_logprobs" in second) == ("second", 2, False)


def test_text_beside_log_probabilities(engine: sgl.Engine) -> None:
    result = engine.generate(
        PROMPT, GREEDY, return_logprob=True, logprob_start_len=0, top_logprobs_num=1, return_text_in_logprobs=True
    )
    meta = result["meta_info"]
    assert "".join(text for _, _, text in meta["input_token_logprobs"]) == PROMPT
    assert "".join(text for _, _, text in meta["output_token_logprobs"]) == result["text"]
    assert [[row] for row in meta["output_token_logprobs"]] == meta["output_top_logprobs"]


def test_a_prompt_can_be_scored_without_generating(tiny_engine: sgl.Engine) -> None:
    result = tiny_engine.generate(PROMPT, {"max_new_tokens": 0}, return_logprob=True, logprob_start_len=2)
    meta = result["meta_info"]
    assert (result["text"], result["output_ids"]) == ("", [])
    assert meta["finish_reason"] == {"type": "length", "length": 0}
    assert [row[1] for row in meta["input_token_logprobs"]] == tiny_engine.tokenizer.encode(PROMPT)[2:]
    assert meta["output_token_logprobs"] == []


def test_a_stream_grows(tiny_engine: sgl.Engine) -> None:
    whole = tiny_engine.generate(PROMPT, GREEDY)
    chunks = list(tiny_engine.generate(PROMPT, GREEDY, stream=True))
    assert all("index" not in chunk for chunk in chunks)
    reasons = [chunk["meta_info"]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + [whole["meta_info"]["finish_reason"]]
    lengths = [len(chunk["output_ids"]) for chunk in chunks]  # what came while nobody read is one chunk
    assert lengths == sorted(set(lengths)) and lengths[-1] == 6
    assert [chunk["output_ids"] for chunk in chunks] == [whole["output_ids"][:length] for length in lengths]
    assert all(whole["text"].startswith(chunk["text"]) for chunk in chunks) and chunks[-1]["text"] == whole["text"]


def test_what_a_salted_request_computed_is_for_its_salt_only(tiny_engine: sgl.Engine) -> None:
    tiny_engine.flush_cache()

    def cached(**isolation: Any) -> int:
        meta = tiny_engine.generate(PROMPT, {"max_new_tokens": 1}, **isolation)["meta_info"]
        return int(meta["cached_tokens"])

    worlds: tuple[dict[str, str], ...] = (
        {},
        {"cache_salt": "a"},
        {"cache_salt": "b"},
        {"extra_key": "a"},
        {"cache_salt": "a", "extra_key": "b"},
    )
    assert [cached(**world) for world in worlds] == [0] * 5
    assert [cached(**world) for world in worlds] == [len(PROMPT) - 1] * 5


def test_flush_cache_forgets(tiny_engine: sgl.Engine) -> None:
    tiny_engine.generate(PROMPT, GREEDY)
    tiny_engine.flush_cache()
    state = state_of(tiny_engine)
    assert state["free_tokens"] == state["total_tokens"]
    assert tiny_engine.generate(PROMPT, GREEDY)["meta_info"]["cached_tokens"] == 0


def test_server_info(tiny_engine: sgl.Engine, tiny_model: str) -> None:
    info = tiny_engine.get_server_info()
    assert info["model_path"] == tiny_model
    assert (info["version"], info["dtype"], info["context_length"]) == (sgl.__version__, "float32", 100_000)
    assert (info["vocab_size"], info["chunked_prefill_size"], info["num_threads"]) == (257, 512, 1)
    before = state_of(tiny_engine)
    tiny_engine.generate(PROMPT, GREEDY)
    after = state_of(tiny_engine)
    assert after["generated_tokens"] - before["generated_tokens"] == 6
    new = sum(after[name] - before[name] for name in ("computed_tokens", "cached_tokens"))
    assert new == len(PROMPT) + 6 - 1, "the last token is not computed"


# --- where it ends ---------------------------------------------------------------------------------------------------


def test_a_stop_string_may_cross_tokens(engine: sgl.Engine) -> None:
    ids = engine.generate(PROMPT, {**GREEDY, "max_new_tokens": 12})["output_ids"]
    texts = [engine.tokenizer.decode([token]) for token in ids]
    text = "".join(texts)
    stop = texts[2][-1] + texts[3] + texts[4][:1]
    cut = text.index(stop)
    assert len("".join(texts[:2])) <= cut < len("".join(texts[:3])), "this prompt does not test it"
    params = {**GREEDY, "max_new_tokens": 12, "stop": ["never to be seen", stop]}
    trimmed, whole = engine.generate([PROMPT] * 2, [params, {**params, "no_stop_trim": True}])
    for result in (trimmed, whole):
        assert result["meta_info"]["finish_reason"] == {"type": "stop", "matched": stop}
        assert result["output_ids"] == ids[:5]
    assert trimmed["text"] == text[:cut]
    assert whole["text"] == "".join(texts[:5])
    for chunk in engine.generate(PROMPT, params, stream=True):
        assert trimmed["text"].startswith(chunk["text"]), "the beginning of a stop string was shown"


def test_a_stop_token_ends_the_text_before_it(engine: sgl.Engine) -> None:
    ids = engine.generate(PROMPT, GREEDY)["output_ids"]
    stop = ids[4]
    end = ids.index(stop) + 1
    params = {**GREEDY, "ignore_eos": False, "stop_token_ids": [stop]}
    trimmed, whole = engine.generate([PROMPT] * 2, [params, {**params, "no_stop_trim": True}])
    for result in (trimmed, whole):
        assert result["meta_info"]["finish_reason"] == {"type": "stop", "matched": stop}
        assert result["output_ids"] == ids[:end]
    assert trimmed["text"] == engine.tokenizer.decode(ids[: end - 1])
    assert whole["text"] == engine.tokenizer.decode(ids[:end])


def test_a_chat_ends_with_the_models_end_token(engine: sgl.Engine) -> None:
    question = [{"role": "user", "content": "Answer with one word: what is the capital of France?"}]
    ids = engine.tokenizer.apply_chat_template(question)
    result = engine.generate(input_ids=ids, sampling_params={"temperature": 0.0, "max_new_tokens": 40})
    assert result["meta_info"]["finish_reason"] == {"type": "stop", "matched": 2}
    assert result["output_ids"][-1] == 2
    assert "Paris" in result["text"] and "<|im_end|>" not in result["text"]


def test_bias_end_and_minimum_length(engine: sgl.Engine) -> None:
    """With everything in favour of the end token."""
    params = {"temperature": 0.0, "max_new_tokens": 5, "logit_bias": {"2": 100.0}}
    ends, ignores, waits, shows, says = engine.generate(
        [PROMPT] * 5,
        [
            params,
            {**params, "ignore_eos": True},
            {**params, "min_new_tokens": 3},
            {**params, "no_stop_trim": True, "skip_special_tokens": False},
            {**params, "logit_bias": {"7042": 100.0}},
        ],
    )
    assert (ends["output_ids"], ends["text"]) == ([2], "")
    assert (ignores["output_ids"], ignores["text"]) == ([2] * 5, "")
    assert waits["output_ids"][3:] == [2] and 2 not in waits["output_ids"][:3]
    assert (shows["output_ids"], shows["text"]) == ([2], "<|im_end|>")
    assert says["text"] == engine.tokenizer.decode([7042]) * 5


def test_special_tokens_are_shown_if_asked_for(engine: sgl.Engine) -> None:
    params = {"temperature": 0.0, "max_new_tokens": 2, "logit_bias": {"1": 100.0}}
    hidden, shown = engine.generate([PROMPT] * 2, [params, {**params, "skip_special_tokens": False}])
    assert hidden["output_ids"] == shown["output_ids"] == [1, 1]
    assert (hidden["text"], shown["text"]) == ("", "<|im_start|>" * 2)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "given: none of them"),
        ({"prompt": "a", "input_ids": [1]}, "given: text and input_ids"),
        ({"prompt": "\ud800"}, "lone surrogate"),
        ({"prompt": "a", "rid": "\ud800"}, "rid"),
        ({"prompt": "a", "cache_salt": "\udfff"}, "cache_salt"),
        ({"prompt": "a", "sampling_params": {"stop": "\ud800"}}, "stop"),
        ({"prompt": "a", "sampling_params": {"temperature": 10**400}}, "temperature"),
        ({"prompt": "a", "sampling_params": {"min_new_tokens": 2**70, "max_new_tokens": None}}, "min_new_tokens"),
        ({"prompt": "a", "sampling_params": {"top_k": 2**70}}, "top_k"),
        ({"prompt": "a", "logprob_start_len": 2**70, "return_logprob": True}, "logprob_start_len"),
        ({"input_ids": [2**70]}, "valid ids are 0 to 256"),
        ({"prompt": "a", "sampling_params": {"temperature": float("nan")}}, "temperature"),
        ({"prompt": "a", "sampling_params": {3: 4}}, "unknown sampling parameter 3"),
        ({"prompt": b"a"}, "text must be a string"),
    ],
)
def test_a_wrong_argument_is_named(tiny_engine: sgl.Engine, arguments: dict[str, Any], message: str) -> None:
    """What JSON cannot say; tests/server has the rest."""
    with pytest.raises(InvalidRequestError, match=message):
        tiny_engine.generate(**arguments)
    with pytest.raises(InvalidRequestError, match=message):
        list(tiny_engine.generate(**arguments, stream=True))


# --- loops, threads, streams -----------------------------------------------------------------------------------------


def test_any_thread_and_any_event_loop(tiny_engine: sgl.Engine) -> None:
    prompts = [f"prompt number {number}" for number in range(24)]
    params = {"temperature": 0.0, "max_new_tokens": 30, "ignore_eos": True}
    expected = [result["output_ids"] for result in tiny_engine.generate(prompts, params)]
    tiny_engine.flush_cache()

    async def all_at_once(share: list[str]) -> list[Any]:
        return await asyncio.gather(*(tiny_engine.async_generate(prompt, params) for prompt in share))

    async def last_chunks(share: list[str]) -> list[Any]:
        async def last(prompt: str) -> Any:
            stream = await tiny_engine.async_generate(prompt, params, stream=True)
            return [chunk async for chunk in stream][-1]

        return await asyncio.gather(*map(last, share))

    def streamed(share: list[str]) -> list[Any]:
        return [list(tiny_engine.generate(prompt, params, stream=True))[-1] for prompt in share]

    ways: list[Callable[[list[str]], list[Any]]] = [
        lambda share: asyncio.run(all_at_once(share)),
        lambda share: asyncio.run(last_chunks(share)),
        lambda share: [tiny_engine.generate(prompt, params) for prompt in share],
        streamed,
    ]
    with ThreadPoolExecutor(4) as pool:
        shares = [prompts[start : start + 6] for start in range(0, 24, 6)]
        results = [pool.submit(way, share) for way, share in zip(ways, shares, strict=True)]
        found = [one["output_ids"] for result in results for one in result.result(SECONDS)]
    assert found == expected


@pytest.mark.parametrize("n", [1, 3])
def test_closing_a_stream_frees_its_requests(tiny_engine: sgl.Engine, n: int) -> None:
    stream = tiny_engine.generate("The fox", {**LONG, "n": n}, stream=True)
    for _ in range(10):
        next(stream)
    assert state_of(tiny_engine)["num_running"] == n
    stream.close()
    assert_baseline(tiny_engine)


def test_leaving_an_asynchronous_stream_frees_its_request(tiny_engine: sgl.Engine) -> None:
    async def leave() -> None:
        stream = await tiny_engine.async_generate("The fox", LONG, stream=True)
        async for chunk in stream:
            if len(chunk["output_ids"]) > 10:
                break
        await stream.aclose()

    asyncio.run(leave())
    assert_baseline(tiny_engine)


def test_cancelling_a_task_frees_its_request(tiny_engine: sgl.Engine) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(tiny_engine.async_generate("The fox", LONG))
        await asyncio.to_thread(eventually, lambda: state_of(tiny_engine)["num_running"] == 1, "it runs")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert_baseline(tiny_engine)


def test_interrupting_a_call_frees_its_request(tiny_engine: sgl.Engine) -> None:
    def interrupt() -> None:
        eventually(lambda: state_of(tiny_engine)["num_running"] == 1, "it runs")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        interrupting = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            tiny_engine.generate("The fox", LONG)
        interrupting.result(SECONDS)
    assert_baseline(tiny_engine)


def test_a_stream_that_the_garbage_collector_ends_in_the_engines_own_thread(tiny_engine: sgl.Engine) -> None:
    stream = tiny_engine.generate("The fox", LONG, stream=True)
    next(stream)
    circle: list[Any] = [stream]
    circle.append(circle)

    async def collect() -> int:
        return gc.collect()

    gc.collect()
    gc.disable()
    try:
        del stream, circle
        tiny_engine._loop.submit(collect()).result(SECONDS)
    finally:
        gc.enable()
    assert_baseline(tiny_engine)


# --- the end ---------------------------------------------------------------------------------------------------------


def assert_dead(engine: sgl.Engine, message: str) -> None:
    """Every way to use it says so."""

    async def stream() -> None:
        async for _ in await engine.async_generate("a", stream=True):
            pass

    uses: list[Callable[[], Any]] = [
        lambda: engine.generate("a"),
        lambda: list(engine.generate("a", stream=True)),
        lambda: asyncio.run(engine.async_generate("a")),
        lambda: asyncio.run(stream()),
        engine.flush_cache,
        engine.get_server_info,
    ]
    for use in uses:
        with pytest.raises(EngineDeadError, match=message):
            use()


def in_every_way(engine: sgl.Engine, pool: ThreadPoolExecutor) -> list[Any]:
    """Futures of a call, a stream and a coroutine, all of which the engine has begun to compute."""
    running = state_of(engine)["num_running"]
    work = [
        pool.submit(engine.generate, "first", LONG),
        pool.submit(lambda: list(engine.generate("second", LONG, stream=True))),
        pool.submit(lambda: asyncio.run(engine.async_generate("third", LONG))),
    ]
    eventually(lambda: state_of(engine)["num_running"] == running + 3, "all are running")
    return work


def test_the_death_of_the_engine_process_ends_everything_at_once(tiny_model: str) -> None:
    before = set(engine_processes())
    with sgl.Engine(model_path=tiny_model, num_threads=1) as engine, ThreadPoolExecutor(3) as pool:
        (pid,) = set(engine_processes()) - before
        work = in_every_way(engine, pool)
        suspended = engine.generate("fourth", LONG, stream=True)
        next(suspended)
        os.kill(pid, signal.SIGKILL)
        for future in work:
            with pytest.raises(EngineDeadError, match="killed by SIGKILL"):
                future.result(SECONDS)
        with pytest.raises(EngineDeadError, match="killed by SIGKILL"):
            list(suspended)
        assert_dead(engine, "killed by SIGKILL")
    assert_dead(engine, "shut down")
    assert set(engine_processes()) == before


def test_shutdown_ends_everything(tiny_model: str) -> None:
    processes, threads = set(engine_processes()), set(threading.enumerate())
    with ThreadPoolExecutor(3) as pool:
        engine = sgl.Engine(model_path=tiny_model, num_threads=1)
        work = in_every_way(engine, pool)
        suspended = engine.generate("fourth", LONG, stream=True)
        next(suspended)
        engine.shutdown()
        for future in work:
            with pytest.raises(EngineDeadError, match="shut down"):
                future.result(SECONDS)
    suspended.close()
    assert set(engine_processes()) == processes
    eventually(lambda: set(threading.enumerate()) <= threads, "no thread is left")
    engine.shutdown()
    assert_dead(engine, "shut down")


def test_calls_that_race_with_a_shutdown_end(tiny_model: str) -> None:
    def use_until_dead(number: int) -> None:
        while True:
            engine.generate([f"{number} {i}" for i in range(3)], {"max_new_tokens": 2}, stream=False)

    with ThreadPoolExecutor(8) as pool:
        engine = sgl.Engine(model_path=tiny_model, num_threads=1)
        users = [pool.submit(use_until_dead, number) for number in range(8)]
        eventually(lambda: state_of(engine)["generated_tokens"] > 100, "they are busy")
        engine.shutdown()
        for user in users:
            with pytest.raises(EngineDeadError):
                user.result(SECONDS)


def test_an_engine_that_nobody_has_any_more_is_shut_down(tiny_model: str) -> None:
    before = set(engine_processes())
    engine = sgl.Engine(model_path=tiny_model, num_threads=1)
    assert len(set(engine_processes()) - before) == 1
    del engine
    gc.collect()
    assert set(engine_processes()) == before


SCRIPT = """
import sys
import psutil
import sglang as sgl

engine = sgl.Engine(model_path=sys.argv[1], num_threads=1)
print(psutil.Process().children()[0].pid)
print(engine.generate("The fox", {"temperature": 0.0, "max_new_tokens": 6, "ignore_eos": True})["output_ids"])
"""


def test_a_script_needs_no_main_guard_and_no_shutdown(tiny_model: str, tiny_engine: sgl.Engine, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), tiny_model]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
    assert (result.returncode, result.stderr) == (0, "")
    pid, ids = result.stdout.splitlines()
    assert ids == str(tiny_engine.generate("The fox", GREEDY)["output_ids"])
    eventually(lambda: is_gone(int(pid)), "the engine process has ended with the script")


FORK = """
import asyncio, os, sys, warnings
import sglang as sgl

warnings.simplefilter("ignore")  # some versions of Python warn of forking with threads, which this is about
engine = sgl.Engine(model_path=sys.argv[1], num_threads=1)
stream = engine.generate("a", {"max_new_tokens": 9}, stream=True)
next(stream)
child = os.fork()
if child == 0:
    uses = [
        lambda: engine.generate("a"),
        lambda: list(engine.generate("a", stream=True)),
        lambda: list(stream),
        lambda: asyncio.run(engine.async_generate("a")),
        engine.flush_cache,
        engine.get_server_info,
    ]
    for use in uses:
        try:
            use()
        except RuntimeError as error:
            print(type(error).__name__, "belongs to process" in str(error), flush=True)
    engine.shutdown()
    sys.exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(len(list(stream)), engine.generate("a", {"max_new_tokens": 1})["meta_info"]["completion_tokens"])
"""


def test_an_engine_inherited_by_fork_says_so_and_the_parents_lives_on(tiny_model: str) -> None:
    command = [sys.executable, "-c", FORK, tiny_model]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
    assert (result.returncode, result.stderr) == (0, "")
    *inherited, exit_code, counts = result.stdout.splitlines()
    assert inherited == ["EngineDeadError True"] * 6
    assert (exit_code, counts.split()[1]) == ("5", "1")


# --- what cannot start -----------------------------------------------------------------------------------------------


def assert_no_start(error: type[Exception], message: str, **options: Any) -> None:
    children, threads = psutil.Process().children(), set(threading.enumerate())
    with pytest.raises(error, match=message):
        sgl.Engine(**options)
    assert psutil.Process().children() == children
    eventually(lambda: set(threading.enumerate()) <= threads, "no thread is left")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model_path": "/nowhere/model.gguf"}, ConfigurationError, "no file or folder ./nowhere/model.gguf"),
        ({}, ConfigurationError, "model_path is missing; try model_path='smollm2'"),
        ({"model": "smollm2"}, ConfigurationError, "unknown option 'model'; it is called 'model_path'"),
        ({"model_path": "smollm2", "port": 1}, ConfigurationError, "option 'port' is for a server"),
        ({"model_path": "smollm2", "tp_size": 2}, ConfigurationError, "tp_size must be 1 here, not 2"),
        ({"model_path": "smollm2", "max_total_token": 5}, ConfigurationError, "did you mean 'max_total_tokens'"),
        ({"model_path": "smollm2", "dtype": "float8"}, ConfigurationError, "dtype must be one of auto, .*'float8'"),
        ({"model_path": "smollm2", "chunked_prefill_size": 0}, ConfigurationError, "chunked_prefill_size"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    assert_no_start(error, message, **options)


def test_an_option_that_does_not_fit_the_model_or_the_machine_is_named(tiny_model: str) -> None:
    assert_no_start(
        ConfigurationError,
        "context_length=100001 is more than the model was made for: 100000",
        model_path=tiny_model,
        context_length=100_001,
    )
    assert_no_start(
        ConfigurationError,
        r"max_total_tokens=1000000000000 needs [\d.]+ GiB .* at most \d+ fit",
        model_path=tiny_model,
        max_total_tokens=10**12,
    )
    assert_no_start(
        ConfigurationError, r"num_threads=1000 is more than \d+, 4 for each of", model_path=tiny_model, num_threads=1000
    )


def test_a_chat_template_that_cannot_be_used_is_named(tiny_model: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.jinja")
    assert_no_start(
        ConfigurationError, "cannot read the file .*missing.jinja", model_path=tiny_model, chat_template=missing
    )


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF but not really")
    assert_no_start(ModelLoadError, "broken.gguf", model_path=str(path))
