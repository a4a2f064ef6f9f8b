"""The log says how much work there is, now and then, and nothing while there is none."""

from __future__ import annotations

import logging

import pytest

from sglang.srt.scheduler.throughput_log import INTERVAL_SECONDS, ThroughputLog
from tests.helpers.scheduling import Bench, request


def test_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench(total=1000)
    now = 0.0
    log = ThroughputLog(bench.scheduler.stats, lambda: now)
    now = 100.0
    log.begin()
    bench.add(request("a", range(10), max_new_tokens=50), request("b", range(10), max_new_tokens=1))
    for _ in range(20):
        bench.step()
        now += INTERVAL_SECONDS / 10
        log.after_step()
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("#running-req: 1, #queue-req: 0, token usage: 0.02, gen throughput (token/s): 2.2, ")
    assert first.endswith("#cached-token: 9") and second.endswith("#cached-token: 0")
    assert "gen throughput (token/s): 2.0, computed (token/s): 2.0," in second
