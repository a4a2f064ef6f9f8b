"""Programs in direct style: functions without a state parameter, in which ``gen(prompt)`` is the value itself.

Such a function is a program like any other. Its state is found by a context variable, and every prompt begins a state
of its own, since all that the model is to know stands in the prompt.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from sglang.lang import calls, ir
from sglang.lang.arguments import json_schema_text, says_what_json
from sglang.lang.calls import ApiCall, answer_of
from sglang.lang.execution.returned import check_values
from sglang.lang.state import ProgramState
from sglang.lang.typed.shapes import is_schema
from sglang.lang.typed.text_form import TextForm, json_form, object_form
from sglang.srt.errors import shown

_BLOCK_IN_BRACES = re.compile(
    r"\\?\{(?:(?P<any>(?:\.|\[\\s\\S\])[*+])|(?:\.|\[\\s\\S\])[*+]\?|\[\^\{?\}\][*+]\??)\\?\}"
)
"""Up to the last brace (`any`), or to the first one that closes, so that there is no other inside."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What code reaches without naming it because it is part of a program. state: in direct style, its state."""

    state: ProgramState | None
    calls: list[ApiCall] = field(default_factory=list)


_scope: ContextVar[_Scope | None] = ContextVar("sglang_scope", default=None)


def current_state() -> ProgramState | None:
    """Of the function in direct style that this code is part of, if it is."""
    scope = _scope.get()
    return None if scope is None else scope.state


def value_of(state: ProgramState, prompt: Any, node: ir.Gen | ir.Select) -> Any:
    """What the model says to this prompt. Raises ProgramError if it fails, TypeError for what is no prompt."""
    prompt = answer_of(prompt)
    if not isinstance(prompt, (str, ir.Expr)):
        raise TypeError(f"in a function without a state, the prompt comes first: a text, not {shown(prompt)}")
    branch = state.fork()[0]
    branch += prompt + node
    return branch.get_var(node.name)


def promised_form(wanted: Mapping[str, Any]) -> TextForm[Any] | None:
    """What a constraint is of that promises JSON, whose value the program gets then; None: it promises a text.

    A regex that describes a block in braces and nothing else promises a JSON object that matches it. A schema that has
    properties and does not say which are required promises them all. Raises ValueError for what is no JSON schema.
    """
    match wanted:
        case {"regex": str(regex)}:
            block = _BLOCK_IN_BRACES.fullmatch(regex)
            return block and object_form(is_flat=block["any"] is None)
        case {"json_schema": str(text)}:
            return json_form(_all_required(json.loads(json_schema_text(text))))
        case {"regex": schema} | {"json_schema": schema} if says_what_json(schema):
            return json_form(_all_required(schema))
    return None


def _all_required(schema: Any) -> Any:
    match schema:
        case {"properties": {**properties}} if "required" not in schema and is_schema(schema):
            return {**schema, "required": list(properties)}
    return schema


def call_api(name: str, arguments: Mapping[str, Any] | None = None, *, timeout: float | None = None) -> ApiCall:
    """Begin a call of a registered API, and go on. Where its answer is used, it is waited for.

    A program has ended only when its calls have, and raises the error of one whose answer it never used. timeout: in
    seconds, instead of what the API was registered with. Raises ConfigurationError if there is no such API.
    """
    begun = calls.begin(name, arguments, timeout)
    if (scope := _scope.get()) is not None:
        scope.calls.append(begun)
    return begun


def body_of(func: Callable[..., Any], is_direct: bool) -> Callable[..., Any]:
    """A function of a state and the user's arguments that calls the user's function as part of a program."""

    @functools.wraps(func)
    def body(state: ProgramState, *args: Any, **kwargs: Any) -> Any:
        with _inside(_Scope(state if is_direct else None)) as scope:
            given = func(*args, **kwargs) if is_direct else func(state, *args, **kwargs)
            for call in scope.calls:
                call.settle()
            if is_direct:
                check_values(given)
            return answer_of(given) if scope.calls else given

    return body


def async_body_of(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    async def body(state: ProgramState, *args: Any, **kwargs: Any) -> Any:
        with _inside(_Scope(None)) as scope:
            given = await func(state, *args, **kwargs)
            for call in scope.calls:
                await call.settle_async()
            return answer_of(given) if scope.calls else given

    return body


@contextmanager
def _inside(scope: _Scope) -> Iterator[_Scope]:
    token = _scope.set(scope)
    try:
        yield scope
    finally:
        _scope.reset(token)
        for call in scope.calls:
            call.cancel()
