"""The driver of constraints: a request is counted as one however many tokens its answer has."""

from __future__ import annotations

import json

import pytest

import benchmarks.json as driver
from benchmarks.extraction import EXAMPLE
from benchmarks.measurements import Measurements
from benchmarks.rounds import alternate
from benchmarks.systems.base import Answer, Request
from sglang.srt.tokenizer.tokenizer import Tokenizer
from tests.benchmarks.fakes import FakeEndpoint

STREAMS = 4


class Characters:
    """A tokenizer whose tokens are characters."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [list(map(ord, text)) for text in texts]

    def decode(self, token_ids: list[int]) -> str:
        return "".join(map(chr, token_ids))


def test_requests_per_second_and_validity() -> None:
    def reply(request: Request) -> Answer:
        text = json.dumps(EXAMPLE) if request.json_schema else "free"
        return Answer(list(map(ord, text)))

    tokenizer: Tokenizer = Characters()  # type: ignore[assignment]
    extraction = driver.Extraction(tokenizer, STREAMS)
    measurements = Measurements("test", ours="endpoint")
    alternate([FakeEndpoint(reply)], extraction.works(), 2, measurements)
    extraction.add_requests(measurements)
    free, tokens, requests = (case.values["endpoint"] for case in measurements.cases)
    assert [case.unit for case in measurements.cases] == ["tok/s", "tok/s", "requests/s"]
    assert len(free) == len(requests) == 2
    assert [rate / request_rate for rate, request_rate in zip(tokens, requests, strict=True)] == [
        pytest.approx(len(json.dumps(EXAMPLE)))
    ] * 2
    assert extraction.notes() == [f"endpoint: 100.0% of {3 * STREAMS} JSON answers are valid"]
