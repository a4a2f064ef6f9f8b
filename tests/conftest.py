"""Fixtures shared by the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def default_model_path() -> Path:
    """The default model's file, fetched into the cache on first use."""
    from sglang.srt.model.source import resolve_model

    return resolve_model("smollm2")
