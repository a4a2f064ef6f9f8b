"""Tests that compute with the native kernels are left out where there are none."""

from __future__ import annotations

from sglang.srt.kernels.native import usable_levels

NATIVE = ("test_highest_tokens.py", "test_lowering.py", "test_native_network.py")

collect_ignore = [] if usable_levels() else list(NATIVE)
