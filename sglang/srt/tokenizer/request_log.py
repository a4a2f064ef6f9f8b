"""``log_requests``: a line when a request is received, and one when it is over.

A line has the time, the event and the request's id, and then what belongs to the event and the level. As text these are
``name=value`` with values as JSON writes them, so that nothing in a request can begin a line of its own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import msgspec

from sglang.srt.args import RequestLogFormat
from sglang.srt.errors import EngineDeadError, RequestAbortedError, SglangError, shown
from sglang.srt.messages import FinishReason, GenerateRequest, RequestOutput
from sglang.srt.tokenizer.call import GenerateCall, Prompt
from sglang.srt.tokenizer.observer import RequestObserver
from sglang.srt.tokenizer.seams import Segments

_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What JSON need not escape, but ends lines, commands terminals or is half a character."""

SAMPLING_LEVEL = 1
TEXT_LEVEL = 2
WHOLE_LEVEL = 3
"""From which on lines have the sampling parameters, the text, and all of them in full, with the token ids."""

MAX_SHOWN = 2048
"""Characters of a text, and items of a list, below WHOLE_LEVEL. What is longer is shown with its two ends."""

RECEIVED, FINISHED, ABORTED, FAILED = (f"request.{event}" for event in ("received", "finished", "aborted", "failed"))

Fields = dict[str, Any]


@dataclass(slots=True)
class _Running:
    """A request that the engine has."""

    request: GenerateRequest
    started: float
    text: bytearray = field(default_factory=bytearray)
    token_ids: list[int] = field(default_factory=list)


class RequestLog(RequestObserver):
    """A call with several samples is received once, and each sample ends by itself, with its number behind the id.
    What a door could not read has no id, and only the line that says why.

    decode: the text of token ids, of any there may be. write: takes a line.
    """

    def __init__(
        self,
        level: int,
        format: RequestLogFormat,
        decode: Callable[[list[int]], str],
        write: Callable[[str], object] | None = None,
    ) -> None:
        self._level = level
        self._line = _LINES[format]
        self._decode = decode
        self._write_line = write or _logger().info
        self._running: dict[str, _Running] = {}

    def on_call(self, calls: Sequence[GenerateCall]) -> None:
        for call in calls:
            fields: Fields = {}
            if self._level >= SAMPLING_LEVEL:
                fields["sampling_params"] = dict(call.sampling_params)
            if self._level >= TEXT_LEVEL:
                fields["text"] = self._text_of(call.prompt)
            if self._level >= WHOLE_LEVEL:
                fields |= _token_ids_of(call.prompt)
            self._write(RECEIVED, call.rid, fields)

    def on_refusal(self, calls: Sequence[GenerateCall], error: BaseException) -> None:
        is_cancelled = isinstance(error, (asyncio.CancelledError, GeneratorExit, RequestAbortedError))
        for call in calls:
            self._write(ABORTED if is_cancelled else FAILED, call.rid, self._error_of(error))

    def on_submit(self, requests: Sequence[GenerateRequest], started: float) -> None:
        self._running.update({one.rid: _Running(one, started) for one in requests if not one.candidates})

    def on_outputs(self, outputs: Sequence[RequestOutput]) -> None:
        for output in outputs:
            running = self._running.get(output.rid)
            if running is None:  # it is one of many that find a score
                continue
            running.token_ids += output.token_ids
            if self._level >= TEXT_LEVEL:
                running.text += output.text
            if output.finish is not None:
                del self._running[output.rid]
                self._write_end(running, output)

    def on_scores(self, call: GenerateCall, answer: Mapping[str, Any]) -> None:
        fields = {name: answer["meta_info"][name] for name in ("prompt_tokens", "completion_tokens", "cached_tokens")}
        if self._level >= TEXT_LEVEL and "decision" in answer:
            fields["decision"] = answer["decision"]
        self._write(FINISHED, call.rid, fields)

    def on_death(self, reason: str) -> None:
        for rid in self._running:
            self._write(FAILED, rid, self._error_of(EngineDeadError(reason)))
        self._running.clear()

    def on_misread(self, what: str, error: SglangError) -> None:
        self._write(FAILED, None, {"http": what, **self._error_of(error)})

    def _write_end(self, running: _Running, output: RequestOutput) -> None:
        finish, request = output.finish, running.request
        assert finish is not None
        fields: Fields = {
            "finish_reason": self._reason_of(finish),
            "prompt_tokens": request.num_prompt_tokens,
            "completion_tokens": len(running.token_ids),
            "cached_tokens": output.cached_tokens,
            "forced_tokens": output.forced_tokens,
            "first_token_latency": output.first_token_latency,
            "e2e_latency": time.perf_counter() - running.started,
        }
        if self._level >= SAMPLING_LEVEL:
            fields["sampling_seed"] = request.seed
        if self._level >= TEXT_LEVEL:
            fields["text"] = running.text.decode(errors="replace")
        if self._level >= WHOLE_LEVEL:
            fields["output_ids"] = running.token_ids
        event = FINISHED
        if finish.type == "abort":
            event = ABORTED if finish.status_code == RequestAbortedError.http_status else FAILED
        self._write(event, request.rid, fields)

    def _text_of(self, prompt: Prompt) -> str:
        pieces = prompt.pieces if isinstance(prompt, Segments) else (prompt,)
        return "".join(piece if isinstance(piece, str) else self._text_of_ids(piece) for piece in pieces)

    def _text_of_ids(self, token_ids: Sequence[int]) -> str:
        """Of so many that there is more than can be shown, only of both ends: decoding all would take seconds."""
        if self._level >= WHOLE_LEVEL or len(token_ids) <= 2 * MAX_SHOWN:
            return self._decode(_sound(token_ids))
        return self._decode(_sound(token_ids[:MAX_SHOWN])) + self._decode(_sound(token_ids[-MAX_SHOWN:]))

    def _reason_of(self, finish: FinishReason) -> Fields:
        reason: Fields = msgspec.to_builtins(finish)
        if self._level < SAMPLING_LEVEL:
            reason.pop("matched", None)  # one of the stops
        return reason

    def _error_of(self, error: BaseException) -> Fields:
        fields: Fields = {"type": error.error_type if isinstance(error, SglangError) else type(error).__name__}
        if self._level >= TEXT_LEVEL:  # messages show what was given
            fields["message"] = str(error) or "whoever asked has gone"
        return {"error": fields}

    def _write(self, event: str, rid: str | None, fields: Mapping[str, Any]) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        is_whole = self._level >= WHOLE_LEVEL
        values = {name: _json(value, is_whole) for name, value in {"rid": rid, **fields}.items()}
        self._write_line(self._line(now, event, values))


def _sound(token_ids: Sequence[int]) -> list[int]:
    """Without those below 0, which will be refused."""
    return [token_id for token_id in token_ids if token_id >= 0]


def _token_ids_of(prompt: Prompt) -> Fields:
    """As they were given, if they were."""
    if isinstance(prompt, str):
        return {}
    return {"segments": prompt.pieces} if isinstance(prompt, Segments) else {"input_ids": prompt}


def _json(value: object, is_whole: bool) -> str:
    try:
        text = json.dumps(value if is_whole else _cut(value), ensure_ascii=False, allow_nan=False, default=shown)
    except (
        TypeError,
        ValueError,
        RecursionError,
    ):  # keys or numbers that are none, what holds itself, a thousand levels
        text = json.dumps(shown(value), ensure_ascii=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _cut(value: Any) -> Any:
    half = MAX_SHOWN // 2
    match value:
        case str() if len(value) > MAX_SHOWN:
            return f"{value[:half]} ... {value[-half:]}"
        case list() | tuple():
            items = value if len(value) <= MAX_SHOWN else [*value[:half], "...", *value[-half:]]
            return [_cut(item) for item in items]
        case Mapping():
            return {name: _cut(item) for name, item in value.items()}
    return value


def _text_line(now: str, event: str, values: Mapping[str, str]) -> str:
    return " ".join([now, event, *(f"{name}={value}" for name, value in values.items())])


def _json_line(now: str, event: str, values: Mapping[str, str]) -> str:
    pairs = {"timestamp": json.dumps(now), "event": json.dumps(event), **values}
    return "{" + ", ".join(f'"{name}": {value}' for name, value in pairs.items()) + "}"


_LINES: dict[RequestLogFormat, Callable[[str, str, Mapping[str, str]], str]] = {"text": _text_line, "json": _json_line}


def _logger() -> logging.Logger:
    """``sglang.requests``. Unless it has been given handlers, its lines go to standard error as they are, whatever
    the log level: who asks for them wants to see them.
    """
    logger = logging.getLogger("sglang.requests")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    return logger
