"""A language for programs that call language models, and the runtime that makes them fast.

Importing this package is quick: names that need more are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sglang.version import __version__

if TYPE_CHECKING:
    from sglang.srt.engine import Engine

__all__ = ["Engine", "__version__"]

_LAZY = {"Engine": "sglang.srt.engine"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'sglang' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
