"""A language for programs that call language models, and the runtime that makes them fast.

Importing this package is quick: names are loaded when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sglang.version import __version__

if TYPE_CHECKING:
    from sglang.lang.api import (
        assistant,
        assistant_begin,
        assistant_end,
        audio,
        flush_cache,
        function,
        gen,
        gen_int,
        gen_string,
        get_server_info,
        image,
        select,
        separate_reasoning,
        system,
        system_begin,
        system_end,
        user,
        user_begin,
        user_end,
        video,
    )
    from sglang.lang.backends.apis.anthropic import Anthropic
    from sglang.lang.backends.apis.litellm import LiteLLM
    from sglang.lang.backends.apis.openai import OpenAI
    from sglang.lang.backends.apis.vertexai import VertexAI
    from sglang.lang.backends.mock import Mock
    from sglang.lang.backends.runtime import Runtime
    from sglang.lang.backends.runtime_endpoint import RuntimeEndpoint
    from sglang.lang.calls import ApiCall, register_api, unregister_api
    from sglang.lang.choices import (
        Exact,
        exact,
        greedy_token_selection,
        token_length_normalized,
        unconditional_likelihood_normalized,
    )
    from sglang.lang.default_backend import global_config, set_default_backend
    from sglang.lang.direct import call_api
    from sglang.lang.ir import TypedGen
    from sglang.lang.sharing import lint_sharing
    from sglang.lang.state import ProgramState, ProgramStateGroup
    from sglang.lang.trace.trace import Trace
    from sglang.srt.engine import Engine
    from sglang.srt.errors import (
        BackendError,
        EngineDeadError,
        InvalidRequestError,
        ProgramError,
        SglangError,
        UnsupportedError,
        VariableNotSetError,
    )

__all__ = [
    "Anthropic",
    "ApiCall",
    "BackendError",
    "Engine",
    "EngineDeadError",
    "Exact",
    "InvalidRequestError",
    "LiteLLM",
    "Mock",
    "OpenAI",
    "ProgramError",
    "ProgramState",
    "ProgramStateGroup",
    "Runtime",
    "RuntimeEndpoint",
    "SglangError",
    "Trace",
    "TypedGen",
    "UnsupportedError",
    "VariableNotSetError",
    "VertexAI",
    "__version__",
    "assistant",
    "assistant_begin",
    "assistant_end",
    "audio",
    "call_api",
    "exact",
    "flush_cache",
    "function",
    "gen",
    "gen_int",
    "gen_string",
    "get_server_info",
    "global_config",
    "greedy_token_selection",
    "image",
    "lint_sharing",
    "register_api",
    "select",
    "separate_reasoning",
    "set_default_backend",
    "system",
    "system_begin",
    "system_end",
    "token_length_normalized",
    "unconditional_likelihood_normalized",
    "unregister_api",
    "user",
    "user_begin",
    "user_end",
    "video",
]

_MODULES = {
    "sglang.lang.api": (
        "assistant", "assistant_begin", "assistant_end", "audio", "flush_cache", "function", "gen", "gen_int",
        "gen_string", "get_server_info", "image", "select", "separate_reasoning", "system", "system_begin",
        "system_end", "user", "user_begin", "user_end", "video",
    ),
    "sglang.lang.backends.apis.anthropic": ("Anthropic",),
    "sglang.lang.backends.apis.litellm": ("LiteLLM",),
    "sglang.lang.backends.mock": ("Mock",),
    "sglang.lang.backends.apis.openai": ("OpenAI",),
    "sglang.lang.backends.runtime": ("Runtime",),
    "sglang.lang.backends.runtime_endpoint": ("RuntimeEndpoint",),
    "sglang.lang.backends.apis.vertexai": ("VertexAI",),
    "sglang.lang.choices": (
        "Exact", "exact", "greedy_token_selection", "token_length_normalized", "unconditional_likelihood_normalized",
    ),
    "sglang.lang.calls": ("ApiCall", "register_api", "unregister_api"),
    "sglang.lang.direct": ("call_api",),
    "sglang.lang.ir": ("TypedGen",),
    "sglang.lang.default_backend": ("global_config", "set_default_backend"),
    "sglang.lang.sharing": ("lint_sharing",),
    "sglang.lang.state": ("ProgramState", "ProgramStateGroup"),
    "sglang.lang.trace.trace": ("Trace",),
    "sglang.srt.engine": ("Engine",),
    "sglang.srt.errors": (
        "BackendError", "EngineDeadError", "InvalidRequestError", "ProgramError", "SglangError", "UnsupportedError",
        "VariableNotSetError",
    ),
}  # fmt: skip
_LAZY = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'sglang' has no attribute {name!r}")
    import importlib

    found = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
