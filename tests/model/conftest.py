"""Tests of weights for the native kernels are left out where there are none."""

from __future__ import annotations

from sglang.srt.kernels.native import usable_levels

collect_ignore = [] if usable_levels() else ["test_packed_weights.py"]
