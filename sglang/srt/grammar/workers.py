"""Threads that make grammars ready, beside those that compute."""

from __future__ import annotations

import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

logger = logging.getLogger(__name__)

NICENESS = 10
"""Beside a thread of usual priority one of these gets about a tenth of a core. A step's threads wait for each other, so
whatever takes a core from one of them holds up every request of the step."""


def grammar_threads(count: int, name: str) -> ThreadPoolExecutor:
    """`count` threads of low priority, where a system has priorities of threads, and lets us lower them: Linux."""
    return ThreadPoolExecutor(count, name, initializer=_step_back)


def _step_back() -> None:
    if sys.platform == "linux":
        thread = threading.get_native_id()
        try:
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
        except OSError as error:  # some sandboxes forbid it
            logger.warning("grammars are made ready at the priority of the steps: %s", error)
