"""What computes here, and what is said about it."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import SimpleNamespace

import pytest

import sglang.srt.kernels
from sglang.srt.errors import ConfigurationError
from sglang.srt.kernels.native import (
    LEVEL_VARIABLE,
    NATIVE_LEVELS,
    TORCH,
    KernelChoice,
    choose_kernels,
    cpu_level,
    usable_levels,
)

MODULE = "sglang.srt.kernels._native"


@pytest.fixture(autouse=True)
def nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEVEL_VARIABLE, raising=False)


@pytest.fixture
def old_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine lacks avx2, and what was compiled in ends there."""
    fake = SimpleNamespace(compiled_levels=lambda: ["avx2", "portable"], usable_levels=lambda: ["portable"])
    monkeypatch.setitem(sys.modules, MODULE, fake)
    monkeypatch.setattr(sglang.srt.kernels, "_native", fake, raising=False)


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)


def test_the_best_usable_level_is_the_default(level: str) -> None:
    from sglang.srt.kernels import _native

    assert cpu_level() == usable_levels()[0]
    assert level in _native.compiled_levels()
    assert [name for name in NATIVE_LEVELS if name in _native.usable_levels()] == _native.usable_levels()
    assert _native.usable_levels()[-1] == "portable"


def test_a_level_can_be_forced(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEVEL_VARIABLE, level)
    assert choose_kernels() == KernelChoice(level, "SGLANG_CPU_LEVEL asks for it")
    assert choose_kernels().is_native


def test_torch_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEVEL_VARIABLE, TORCH)
    assert cpu_level() == TORCH
    assert not choose_kernels().is_native
    assert str(choose_kernels()) == "computing with torch: SGLANG_CPU_LEVEL asks for it"


@pytest.mark.usefixtures("old_processor")
def test_the_choice_is_one_line_of_the_log() -> None:
    assert str(choose_kernels()) == "computing with native portable kernels: the best level of this processor"


@pytest.mark.usefixtures("old_processor")
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("avx2", "SGLANG_CPU_LEVEL=avx2: this processor lacks it; there is portable, torch"),
        ("avx512", "SGLANG_CPU_LEVEL=avx512: it was not compiled in; there is portable, torch"),
        ("avx-512", "SGLANG_CPU_LEVEL='avx-512' is not a level; did you mean 'avx512'?"),
        ("neon", "SGLANG_CPU_LEVEL='neon' is not a level; known levels: avx512, avx_vnni, avx2, portable, torch"),
    ],
)
def test_a_level_that_is_not_there_is_refused(wanted: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEVEL_VARIABLE, wanted)
    with pytest.raises(ConfigurationError) as caught:
        cpu_level()
    assert str(caught.value) == message


@pytest.mark.usefixtures("not_built")
def test_without_the_module_torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_levels() == []
    assert choose_kernels().level == TORCH
    assert str(choose_kernels()).startswith("computing with torch: the native kernels were not built (")
    monkeypatch.setenv(LEVEL_VARIABLE, "portable")
    with pytest.raises(ConfigurationError, match=r"SGLANG_CPU_LEVEL=portable: .* were not built .*; there is torch$"):
        cpu_level()


def test_a_module_that_cannot_be_loaded_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"_native{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
    monkeypatch.setattr(sglang.srt.kernels, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    assert choose_kernels().level == TORCH
    assert "cannot be loaded (" in choose_kernels().reason


def test_the_text_side_does_not_load_the_kernels() -> None:
    code = "import sys, sglang.srt.engine, sglang.srt.server.app\nprint('sglang.srt.kernels.native' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
