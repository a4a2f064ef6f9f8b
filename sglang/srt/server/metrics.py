"""``/metrics`` for Prometheus: published names, of which only those are here that can be filled truthfully.

Counters and histograms are kept as requests pass; gauges are read from the engine when somebody asks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from sglang.srt.messages import EngineStats, GenerateRequest, RequestOutput
from sglang.srt.tokenizer.launch import RunningEngine
from sglang.srt.tokenizer.observer import RequestObserver

PREFIX = "sglang:"
MODEL_LABEL = "model_name"

LATENCY_BUCKETS = (0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400)
TOKEN_BUCKETS = (
    0.002,
    0.004,
    0.006,
    0.008,
    0.01,
    0.015,
    0.02,
    0.025,
    0.03,
    0.035,
    0.04,
    0.06,
    0.08,
    0.1,
    0.2,
    0.4,
    1,
    2,
)
"""Seconds."""


def metrics_router(engine: RunningEngine, model_name: str) -> APIRouter:
    registry = CollectorRegistry()  # of this application: another in the same process has its own
    gauges = EngineGauges(model_name, engine.manager.info.max_total_tokens)
    registry.register(gauges)
    engine.manager.observers.add(RequestMetrics(registry, model_name))
    router = APIRouter()

    @router.get("/metrics", summary="Counters, histograms and gauges for Prometheus")
    async def _metrics() -> Response:
        gauges.update(await engine.manager.stats(), time.perf_counter())
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


@dataclass(slots=True)
class _Passing:
    """A request between its submission and its last output."""

    num_prompt_tokens: int
    is_streaming: bool
    started: float
    last_output: float | None = None


class RequestMetrics(RequestObserver):
    """A request that does not stream comes whole: its time to the first token is the engine's, and those between tokens
    are not known.
    """

    def __init__(self, registry: CollectorRegistry, model_name: str) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(PREFIX + name, text, (MODEL_LABEL,), registry=registry).labels(model_name)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            metric = Histogram(PREFIX + name, text, (MODEL_LABEL,), registry=registry, buckets=buckets)
            return metric.labels(model_name)

        self._requests = counter("num_requests_total", "Requests that got their final answer.")
        self._aborted = counter("num_aborted_requests_total", "Those of them that were aborted or failed.")
        self._prompt_tokens = counter("prompt_tokens_total", "Prompt tokens of requests that got their final answer.")
        self._cached_tokens = counter("cached_tokens_total", "Those of the prompt tokens that were in the cache.")
        self._generated_tokens = counter("generation_tokens_total", "Tokens generated.")
        self._first_token = histogram(
            "time_to_first_token_seconds", "From a request to its first token.", LATENCY_BUCKETS
        )
        self._next_token = histogram(
            "inter_token_latency_seconds", "Between tokens of a streaming request.", TOKEN_BUCKETS
        )
        self._whole = histogram("e2e_request_latency_seconds", "From a request to its final answer.", LATENCY_BUCKETS)
        hit_rate = Gauge(
            PREFIX + "cache_hit_rate", "cached_tokens_total / prompt_tokens_total.", (MODEL_LABEL,), registry=registry
        )
        self._hit_rate = hit_rate.labels(model_name)
        self._num_prompt_tokens = self._num_cached_tokens = 0
        self._passing: dict[str, _Passing] = {}

    def on_submit(self, requests: Sequence[GenerateRequest], started: float) -> None:
        for request in requests:
            self._passing[request.rid] = _Passing(request.num_prompt_tokens, request.stream, started)

    def on_outputs(self, outputs: Sequence[RequestOutput]) -> None:
        now = time.perf_counter()
        self._generated_tokens.inc(sum(len(output.token_ids) for output in outputs))
        for output in outputs:
            request = self._passing[output.rid]
            if request.is_streaming and output.token_ids:
                self._observe_tokens(request, len(output.token_ids), now)
            if output.finish is not None:
                del self._passing[output.rid]
                self._observe_end(request, output, now)

    def _observe_tokens(self, request: _Passing, num_tokens: int, now: float) -> None:
        if request.last_output is None:
            self._first_token.observe(now - request.started)
        else:
            for _ in range(num_tokens):
                self._next_token.observe((now - request.last_output) / num_tokens)
        request.last_output = now

    def _observe_end(self, request: _Passing, output: RequestOutput, now: float) -> None:
        assert output.finish is not None
        self._requests.inc()
        if output.finish.type == "abort":
            self._aborted.inc()
        self._prompt_tokens.inc(request.num_prompt_tokens)
        self._cached_tokens.inc(output.cached_tokens)
        self._num_prompt_tokens += request.num_prompt_tokens
        self._num_cached_tokens += output.cached_tokens
        self._hit_rate.set(self._num_cached_tokens / self._num_prompt_tokens)
        self._whole.observe(now - request.started)
        if not request.is_streaming and output.first_token_latency is not None:
            self._first_token.observe(output.first_token_latency)


class EngineGauges(Collector):
    """A snapshot of the engine, as of the last `update`; nothing before the first."""

    def __init__(self, model_name: str, max_total_tokens: int) -> None:
        self._model_name = model_name
        self._max_total_tokens = max_total_tokens
        self._stats: EngineStats | None = None
        self._time = 0.0
        self._throughput = 0.0

    def update(self, stats: EngineStats, now: float) -> None:
        if self._stats is not None and now > self._time:
            self._throughput = (stats.generated_tokens - self._stats.generated_tokens) / (now - self._time)
        self._stats, self._time = stats, now

    def collect(self) -> Iterable[Metric]:
        if self._stats is None:
            return
        for name, text, value in self._gauges(self._stats):
            gauge = GaugeMetricFamily(PREFIX + name, text, labels=(MODEL_LABEL,))
            gauge.add_metric((self._model_name,), value)
            yield gauge
        retracted = CounterMetricFamily(
            f"{PREFIX}num_retracted_requests", "Times a request gave its memory back.", labels=(MODEL_LABEL,)
        )
        retracted.add_metric((self._model_name,), self._stats.num_retractions)
        yield retracted

    def _gauges(self, stats: EngineStats) -> Iterator[tuple[str, str, float]]:
        used = stats.total_tokens - stats.free_tokens - stats.evictable_tokens
        yield "num_running_reqs", "Requests being computed.", stats.num_running
        yield "num_queue_reqs", "Requests waiting for room.", stats.num_waiting
        yield "num_used_tokens", "Tokens of the key/value cache that running requests use.", used
        yield "kv_available_tokens", "Tokens of the key/value cache that are free.", stats.free_tokens
        yield "kv_evictable_tokens", "Cached tokens that no running request uses.", stats.evictable_tokens
        yield "max_total_num_tokens", "Size of the key/value cache in tokens.", self._max_total_tokens
        yield "token_usage", "The used part of the key/value cache.", used / self._max_total_tokens
        yield "gen_throughput", "Generated tokens a second since the last time this was read.", self._throughput
