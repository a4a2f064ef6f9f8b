"""What the lines about requests show, at which level, and what they never do."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from typing import Any

import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.messages import FinishReason, GenerateRequest, RequestOutput
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.tokenizer.call import GenerateCall, Prompt
from sglang.srt.tokenizer.request_log import MAX_SHOWN, RequestLog
from sglang.srt.tokenizer.seams import Segments

STOP = FinishReason(type="stop", matched=0)
CALL = GenerateCall(prompt="Hi", rid="r", sampling_params={"temperature": 0.5})


class Log:
    """A RequestLog of lines in JSON, and what it has written."""

    def __init__(self, level: int) -> None:
        self.written: list[str] = []
        self.log = RequestLog(level, "json", lambda ids: f"<{','.join(map(str, ids))}>", self.written.append)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.written]

    def call(self, prompt: Prompt = "Hi", **params: Any) -> dict[str, Any]:
        """The line of one."""
        self.log.on_call([GenerateCall(prompt=prompt, rid="r", sampling_params=params)])
        return self.lines()[-1]

    def finish(self, finish: FinishReason = STOP, *texts: bytes) -> dict[str, Any]:
        """The line of a request that has ended so."""
        self.log.on_submit([request("r")], 0.0)
        for text in texts:
            self.log.on_outputs([RequestOutput("r", [7], text)])
        self.log.on_outputs([RequestOutput("r", [8], b"!", finish, cached_tokens=1, first_token_latency=0.25)])
        return self.lines()[-1]


def request(rid: str, **fields: Any) -> GenerateRequest:
    return GenerateRequest(rid=rid, input_ids=bytes(8), max_new_tokens=9, params=SamplingParams(), seed=5, **fields)


@pytest.mark.parametrize(
    ("level", "received", "finished"),
    [
        (0, set(), set()),
        (1, {"sampling_params"}, {"sampling_seed"}),
        (2, {"sampling_params", "text"}, {"sampling_seed", "text"}),
        (3, {"sampling_params", "text"}, {"sampling_seed", "text", "output_ids"}),
    ],
)
def test_what_a_level_adds(level: int, received: set[str], finished: set[str]) -> None:
    log = Log(level)
    assert log.call(temperature=0.5).keys() == {"timestamp", "event", "rid", *received}
    counts = {"prompt_tokens", "completion_tokens", "cached_tokens", "forced_tokens"}
    times = {"first_token_latency", "e2e_latency"}
    assert log.finish().keys() == {"timestamp", "event", "rid", "finish_reason", *counts, *times, *finished}


def test_what_the_lines_say() -> None:
    log = Log(3)
    line = log.call(temperature=0.5)
    assert (line["event"], line["rid"], line["text"]) == ("request.received", "r", "Hi")
    assert line["sampling_params"] == {"temperature": 0.5}
    line = log.finish(STOP, b"caf\xc3", b"\xa9")
    assert (line["event"], line["text"], line["output_ids"]) == ("request.finished", "caf\xe9!", [7, 7, 8])
    assert (line["prompt_tokens"], line["completion_tokens"], line["cached_tokens"]) == (2, 3, 1)
    assert (line["finish_reason"], line["sampling_seed"]) == ({"type": "stop", "matched": 0}, 5)
    assert Log(0).finish(STOP)["finish_reason"] == {"type": "stop"}
    assert line["first_token_latency"] == 0.25
    assert line["e2e_latency"] >= 0


def test_prompts_of_token_ids_are_shown_as_text_and_in_full_as_they_are() -> None:
    pieces = Segments(("a", (1, 2), "b"))
    assert Log(2).call([3, 4]).keys() == Log(2).call("Hi").keys()
    assert Log(2).call([3, -4])["text"] == "<3>"
    assert Log(2).call(pieces)["text"] == "a<1,2>b"
    assert Log(3).call([3, -4])["input_ids"] == [3, -4]
    assert Log(3).call(pieces)["segments"] == ["a", [1, 2], "b"]


def test_long_values_show_their_ends_below_the_last_level() -> None:
    long = "begin" + "x" * MAX_SHOWN + "end"
    many = [0, *range(MAX_SHOWN), 9]
    for level in (1, 2):
        params = Log(level).call(long, regex=long, stop_token_ids=many)["sampling_params"]
        assert params["regex"].startswith("beginxx")
        assert params["regex"].endswith("xxend")
        assert len(params["regex"]) == MAX_SHOWN + len(" ... ")
        assert len(params["stop_token_ids"]) == MAX_SHOWN + 1
    assert Log(2).call(long)["text"] == params["regex"]
    assert Log(2).finish(STOP, long.encode())["text"].endswith("xxend!")
    whole = Log(3).call(long, regex=long, stop_token_ids=many)
    assert (whole["text"], whole["sampling_params"]) == (long, {"regex": long, "stop_token_ids": many})
    assert Log(3).finish(STOP, long.encode())["text"] == long + "!"
    text = Log(2).call([*range(10 * MAX_SHOWN)])["text"]
    assert text.startswith("<0,1,2")
    assert text.endswith(f",{10 * MAX_SHOWN - 1}>")


@pytest.mark.parametrize(("status", "event"), [(499, "aborted"), (500, "failed"), (400, "failed")])
def test_what_the_engine_ended(status: int, event: str) -> None:
    line = Log(0).finish(FinishReason(type="abort", message="because", status_code=status))
    assert (line["event"], line["finish_reason"]["message"]) == (f"request.{event}", "because")


@pytest.mark.parametrize(
    ("error", "event", "told"),
    [
        (InvalidRequestError("n is 0"), "failed", {"type": "invalid_request_error", "message": "n is 0"}),
        (KeyError("x"), "failed", {"type": "KeyError", "message": "'x'"}),
        (asyncio.CancelledError(), "aborted", {"type": "CancelledError", "message": "whoever asked has gone"}),
    ],
)
def test_what_was_never_sent(error: BaseException, event: str, told: dict[str, str]) -> None:
    for level, shown in ((1, {"type": told["type"]}), (2, told)):
        log = Log(level)
        log.log.on_refusal([CALL], error)
        (line,) = log.lines()
        assert (line["event"], line["rid"], line["error"]) == (f"request.{event}", "r", shown)


def test_the_death_of_the_engine_ends_what_runs_once() -> None:
    log = Log(0)
    log.log.on_submit([request("a"), request("b"), request("c")], 0.0)
    log.log.on_outputs([RequestOutput("b", [], b"", STOP)])
    for _ in range(2):
        log.log.on_death("gone")
    ends = [(line["rid"], line["event"], line.get("error")) for line in log.lines()]
    dead = {"type": "engine_dead"}
    assert ends == [("b", "request.finished", None), ("a", "request.failed", dead), ("c", "request.failed", dead)]


def test_a_score_is_one_request_whatever_the_engine_is_asked_for_it() -> None:
    log = Log(2)
    log.log.on_submit([request("r_0_0", candidates=[[1]])], 0.0)
    log.log.on_outputs([RequestOutput("r_0_0", [], b"", STOP)])
    assert not log.written
    counts = {"prompt_tokens": 3, "completion_tokens": 0, "cached_tokens": 2}
    log.log.on_scores(CALL, {"decision": "yes", "meta_info": {**counts, "select_rows": 1}})
    (line,) = log.lines()
    del line["timestamp"]
    assert line == {"event": "request.finished", "rid": "r", **counts, "decision": "yes"}


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("level", [1, 3])
@pytest.mark.parametrize("value", [nested(100_000), {(1, 2): 3}, {1, 2}, math.nan, object()])
def test_what_is_no_json_is_shown_all_the_same(level: int, value: Any) -> None:
    line = Log(level).call(json_schema=value)
    assert line["event"] == "request.received"
    assert isinstance(line["sampling_params"], (str, dict))


def test_nothing_in_a_request_begins_a_line_or_breaks_one() -> None:
    written: list[str] = []
    log = RequestLog(2, "text", str, written.append)
    log.on_call(
        [GenerateCall(prompt='a\nb "c" \udc80\x85\u2028 \u4f60', rid="r\nx request.finished", sampling_params={})]
    )
    (line,) = written
    time, rest = line.split(" ", 1)
    assert time.endswith("+00:00")
    text = r'"a\nb \"c\" \udc80\u0085\u2028 ' + '\u4f60"'
    assert rest == rf'request.received rid="r\nx request.finished" sampling_params={{}} text={text}'


def test_lines_go_where_the_logger_is_told_or_to_standard_error_alone(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("sglang.requests")
    before, logger.handlers = logger.handlers, []
    try:
        for _ in range(2):
            RequestLog(0, "json", str).on_call([CALL])
        told = capsys.readouterr().err.splitlines()
    finally:
        logger.handlers, logger.propagate = before, True
    assert [json.loads(line)["rid"] for line in told] == ["r", "r"]
