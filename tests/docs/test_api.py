"""The reference has every public name, as its docstring describes it."""

from __future__ import annotations

import inspect
import re

import sglang as sgl
from tests.docs.api_page import CHAPTERS, PAGE, entry, page, unnamed


def test_the_page_is_in_step() -> None:
    """After an intended change: python -m tests.docs.api_page."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_public_name_is_in_one_chapter() -> None:
    """A new one goes into CHAPTERS of api_page.py."""
    names = [name for chapter in CHAPTERS.values() for name in chapter]
    assert len(names) == len(set(names))
    assert set(names) == {name for name in sgl.__all__ if not name.startswith("__")} | unnamed().keys()


def test_an_entry_is_signature_and_docstring() -> None:
    described = entry("register_api", sgl.register_api)
    assert "register_api(name: str, target: Target, timeout: float = 60.0) -> None" in described
    assert inspect.cleandoc(sgl.register_api.__doc__ or "") in described


def test_methods_are_described_where_they_are_inherited_too() -> None:
    state = entry("ProgramState", sgl.ProgramState)
    assert re.findall(r"^\.(\w+)\(", state, re.MULTILINE)[0] == "append"
    for method in ("\n.fork(", "\n.text_iter(", "\nasync .aget(", "\n.trace("):
        assert method in state
    assert "._" not in state


def test_a_node_is_described_for_users() -> None:
    described = entry("TypedGen", sgl.TypedGen)
    assert "``state.get(handle)`` is a T" in described
    assert "extra_stops" not in described


def test_errors_say_what_they_are() -> None:
    assert entry("VariableNotSetError", sgl.VariableNotSetError).startswith("A `ProgramError`, `KeyError`.")
    assert "**`.cause`** What went wrong." in entry("ProgramError", sgl.ProgramError)
