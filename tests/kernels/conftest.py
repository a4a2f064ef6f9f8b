"""What all tests of the native kernels need: each level in turn, and random data that is new in every run."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import numpy as np
import pytest

from sglang.srt.kernels.native import NATIVE_LEVELS, usable_levels

WITHOUT_KERNELS = ("test_build.py", "test_native.py")
"""Tests for machines without native kernels too. The others import them."""

collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if not usable_levels() and path.name not in WITHOUT_KERNELS
]

SEED_VARIABLE = "SGLANG_TEST_SEED"


@pytest.fixture(params=NATIVE_LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    """The name of a level of the native kernels that this machine can run."""
    name = str(request.param)
    if name not in usable_levels():
        pytest.skip(f"no {name} kernels here, only {usable_levels()}")
    return name


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Another seed in every run. The report of a test that fails says how to have the same data again."""
    seed = int(os.environ.get(SEED_VARIABLE) or secrets.randbits(32))
    request.node.add_report_section("setup", "random data", f"{SEED_VARIABLE}={seed} repeats it")
    return np.random.default_rng(seed)
