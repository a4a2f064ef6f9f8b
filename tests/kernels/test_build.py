"""How the native kernels come into the package, and how it does without them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sglang.srt.kernels.native import NATIVE_LEVELS, usable_levels

CHECKOUT = Path(__file__).parents[2]
SOURCES = ("CMakeLists.txt", "LICENSE", "README.md", "csrc", "pyproject.toml", "sglang")


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
def test_where_there_is_a_compiler_the_kernels_are_there() -> None:
    assert usable_levels()


def test_a_build_that_fails_gives_the_package_without_kernels(tmp_path: Path) -> None:
    """With a compiler that refuses everything, and the module of an earlier build lying about."""
    for name in SOURCES:
        copy = shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copy
        copy(CHECKOUT / name, tmp_path / name)
    shutil.copy(CHECKOUT / ".gitignore", tmp_path)
    (tmp_path / "sglang/srt/kernels/_native.earlier.so").touch()
    build = "import sys; from scikit_build_core.build import build_wheel; print(build_wheel(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=tmp_path, env={**os.environ, "CXX": "/bin/false"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    wheel = tmp_path / run.stdout.split()[-1]
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "sglang/srt/kernels/native.py" in names
    assert not [name for name in names if name.endswith(".so") or name.startswith("csrc")]
    ask = "import sys; sys.path[:0] = sys.argv[1:]; from sglang.srt.kernels.native import *; print(choose_kernels())"
    # Without site-packages, where an editable install would put this checkout before the wheel.
    answer = subprocess.check_output([sys.executable, "-S", "-c", ask, str(wheel)], cwd=tmp_path.parent, text=True)
    assert answer.startswith("computing with torch: the native kernels were not built")


@pytest.mark.parametrize("level", NATIVE_LEVELS)
def test_a_level_shares_no_code_with_others(level: str) -> None:
    """Of functions that several files define (inline ones, templates) the linker keeps one copy. If that were the one
    compiled for AVX-512, machines without it would fail.
    """
    objects = list(CHECKOUT.glob(f"build/*/csrc/**/level_{level}.cpp.o"))
    if not objects or not shutil.which("nm"):
        pytest.skip("not built here")
    lines = subprocess.check_output(["nm", "--defined-only", *objects], text=True).splitlines()
    shared = [line for line in lines if re.search(r" [WVu] ", line) and f"3sgl{len(level)}{level}" not in line]
    assert not shared, f"defined for all levels by one: {shared}"
