"""The reference of the public names, docs/api.md, made of their signatures and docstrings.

    python -m tests.docs.api_page

writes it anew.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import sglang as sgl
from sglang.lang.backends.base import Backend
from sglang.lang.ir import Expr
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "api.md"

CHAPTERS = {
    "Programs": (
        "function", "gen", "select", "gen_int", "gen_string", "TypedGen", "system", "user", "assistant", "system_begin",
        "system_end", "user_begin", "user_end", "assistant_begin", "assistant_end", "image", "audio", "video",
        "separate_reasoning",
    ),
    "Running": ("SglFunction", "set_default_backend", "global_config", "flush_cache", "get_server_info"),
    "State": ("ProgramState", "ProgramStateGroup"),
    "Ranking choices": (
        "token_length_normalized", "greedy_token_selection", "unconditional_likelihood_normalized", "exact", "Exact",
    ),
    "APIs": ("register_api", "unregister_api", "call_api", "ApiCall"),
    "Seeing what ran": ("Trace", "TraceNode", "Usage", "lint_sharing", "Sharing", "Difference"),
    "Backends": ("Engine", "Runtime", "RuntimeEndpoint", "OpenAI", "Anthropic", "LiteLLM", "VertexAI", "Mock"),
    "Errors": (
        "SglangError", "InvalidRequestError", "UnsupportedError", "BackendError", "EngineDeadError", "ProgramError",
        "VariableNotSetError",
    ),
}  # fmt: skip
"""Where each public name is described, and with it what public functions give but nobody has to name."""

WIDTH = 110

GIVEN = ("SglFunction", "TypedGen", "ProgramState", "ProgramStateGroup", "ApiCall", "Trace")
"""Classes that nobody calls."""

FOR_USERS = ("flush_cache", "get_server_info")
"""Of the methods of `Backend`. The others are what programs ask for by themselves."""

HEAD = """# Reference

Made from the docstrings by `python -m tests.docs.api_page`. [guide.md](guide.md) teaches the language. All names are
those of `import sglang as sgl`, but for the classes of what its functions give: `SglFunction`, `TraceNode`, `Usage`,
`Sharing` and `Difference`.
"""


def unnamed() -> dict[str, Any]:
    """Classes of what public functions give."""
    from sglang.lang.program import SglFunction
    from sglang.lang.sharing import Difference, Sharing
    from sglang.lang.trace.nodes import TraceNode, Usage

    return {kind.__name__: kind for kind in (SglFunction, TraceNode, Usage, Sharing, Difference)}


def page() -> str:
    known = {**{name: getattr(sgl, name) for name in sgl.__all__}, **unnamed()}
    chapters = (
        f"## {title}\n\n" + "\n".join(f"### {name}\n\n{entry(name, known[name])}".rstrip() + "\n" for name in names)
        for title, names in CHAPTERS.items()
    )
    return re.sub(r"\n{3,}", "\n\n", "\n".join([HEAD, *chapters]))


def entry(name: str, thing: Any) -> str:
    """Its signature, what its docstring says, and if it is a class the same of its public methods."""
    if inspect.isclass(thing):
        return _class(name, thing)
    if inspect.isfunction(thing):
        return f"{_code(name, thing)}\n{_docstring(thing)}"
    return f"An instance of `{type(thing).__name__}`. {_docstring(type(thing))}"


def _class(name: str, kind: type) -> str:
    bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__ if issubclass(base, Exception))
    parts = [] if name in GIVEN or issubclass(kind, Exception) else [_code(name, kind)]
    parts.append(f"{bases and f'A {bases}. '}{_docstring(kind)}")
    parts += [_docstring(base) for base in _hidden_bases(kind)]
    for member, value in _members(kind):
        if isinstance(value, property):
            parts.append(f"**`.{member}`** {_docstring(value)}")
        else:
            parts.append(f"{_code(f'.{member}', value)}\n{_docstring(value)}")
    return "\n".join(part for part in parts if part.strip())


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """What it has itself and from those bases; of two of one name the first."""
    seen = set[str]()
    for owner in (kind, *_hidden_bases(kind)):
        for member, value in vars(owner).items():
            function = value.__func__ if isinstance(value, classmethod) else value
            is_shown = isinstance(function, property) or inspect.isfunction(function)
            is_protocol = issubclass(kind, Backend) and hasattr(Backend, member) and member not in FOR_USERS
            if is_shown and not (member.startswith("_") or is_protocol or member in seen):
                seen.add(member)
                yield member, function


def _hidden_bases(kind: type) -> list[type]:
    """Classes of ours that have no entry, and whose docstrings are for users: those of nodes are not."""
    return [
        base
        for base in kind.__mro__[1:]
        if base.__module__.startswith("sglang.lang.")
        and base is not Backend
        and base.__name__ not in sgl.__all__
        and not issubclass(base, Expr)
    ]


class _Bare(str):
    """An annotation as it is written, which a signature would show in quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _code(name: str, thing: Any) -> str:
    signature = inspect.signature(thing)
    parameters = [
        one.replace(annotation=_bare(one.annotation)) for one in signature.parameters.values() if one.name != "self"
    ]
    kind = "async " if inspect.iscoroutinefunction(thing) else ""
    text = (
        kind
        + name
        + str(signature.replace(parameters=parameters, return_annotation=_bare(signature.return_annotation)))
    )
    wrapped = textwrap.fill(text, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return f"```python\n{wrapped}\n```\n"


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _docstring(thing: Any) -> str:
    return f"{inspect.cleandoc(thing.__doc__)}\n" if thing.__doc__ else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
