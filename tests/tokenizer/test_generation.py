"""What the engine says of a sequence, as its caller hears it."""

from __future__ import annotations

import pytest

from sglang.srt.errors import EngineDeadError, InvalidRequestError, RequestFailedError, SglangError
from sglang.srt.messages import FinishReason, GenerateRequest, RequestOutput
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.tokenizer.completion import Completion
from sglang.srt.tokenizer.generation import Generation


def generation_of(*rids: str) -> Generation:
    def never(unfinished: list[str]) -> None:
        assert not unfinished

    requests = [
        GenerateRequest(rid=rid, input_ids=bytes(4), max_new_tokens=9, params=SamplingParams(), seed=0) for rid in rids
    ]
    return Generation([Completion(request, index, None) for index, request in enumerate(requests)], never)


def aborted(status: int) -> FinishReason:
    return FinishReason(type="abort", message="because", status_code=status)


@pytest.mark.parametrize(("status", "error"), [(400, InvalidRequestError), (500, RequestFailedError)])
async def test_what_the_engine_cannot_do_is_an_error_of_its_kind(status: int, error: type[SglangError]) -> None:
    generation = generation_of("a")
    generation.put(RequestOutput("a", [], b"", aborted(status)))
    with pytest.raises(error, match="because") as caught:
        await anext(generation)
    assert caught.value.request_id == "a"


async def test_who_waits_hears_an_error_before_reading_anything() -> None:
    generation = generation_of("a", "b")
    generation.put(RequestOutput("a", [0], b"1"))
    await generation.wait()
    assert (await anext(generation)).text == "1"
    generation.put(RequestOutput("b", [], b"", aborted(400)))
    with pytest.raises(InvalidRequestError, match="because"):
        await generation.wait()
    generation = generation_of("a")
    generation.die("gone")
    with pytest.raises(EngineDeadError, match="gone"):
        await generation.wait()


async def test_what_was_aborted_is_an_answer() -> None:
    generation = generation_of("a")
    generation.put(RequestOutput("a", [1], b"x", aborted(499)))
    assert [completion.text async for completion in generation] == ["x"]


async def test_a_slow_reader_finds_each_sequence_once_with_all_it_has() -> None:
    generation = generation_of("a", "b")
    for rid, text in (("a", b"1"), ("b", b"2"), ("a", b"3")):
        generation.put(RequestOutput(rid, [0], text))
    assert [(await anext(generation)).text, (await anext(generation)).text] == ["13", "2"]
    generation.die("gone")
    with pytest.raises(EngineDeadError, match="gone"):
        await anext(generation)
