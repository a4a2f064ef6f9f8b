"""The names that programs are written with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

from sglang.lang import ir
from sglang.lang.arguments import (
    DTYPE_STOPS,
    choice_texts,
    constraint,
    dtype_name,
    only_one,
    sampling_arguments,
    variable_name,
)
from sglang.lang.choices import ChoicesSamplingMethod, token_length_normalized
from sglang.lang.default_backend import chosen_backend
from sglang.lang.program import SglFunction
from sglang.srt.errors import UnsupportedError, shown

MAX_SELECT_TEMPERATURE = 1e-5
"""`select` decides; what is drawn at a temperature is `gen` with ``regex="a|b"``."""


@overload
def function(func: Callable[..., Any]) -> SglFunction: ...
@overload
def function(
    func: None = None, num_api_spec_tokens: int | None = None
) -> Callable[[Callable[..., Any]], SglFunction]: ...
def function(
    func: Callable[..., Any] | None = None, num_api_spec_tokens: int | None = None
) -> SglFunction | Callable[[Callable[..., Any]], SglFunction]:
    """Make a program of a function whose first parameter is the state ``s``. A decorator, bare or called."""
    if num_api_spec_tokens is not None:
        raise UnsupportedError(f"num_api_spec_tokens={num_api_spec_tokens!r}: speculative calls are not supported")
    return SglFunction if func is None else SglFunction(func)


def gen(
    name: str | None = None,
    max_tokens: int | None = None,
    min_tokens: int | None = None,
    n: int | None = None,
    stop: str | Sequence[str] | None = None,
    stop_token_ids: Sequence[int] | None = None,
    stop_regex: str | Sequence[str] | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    ignore_eos: bool | None = None,
    return_logprob: bool | None = None,
    logprob_start_len: int | None = None,
    top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
    dtype: type | str | None = None,
    choices: Sequence[str] | None = None,
    choices_method: ChoicesSamplingMethod | None = None,
    regex: str | dict[str, Any] | type | None = None,
    json_schema: str | dict[str, Any] | type | None = None,
    *,
    ebnf: str | None = None,
    repetition_penalty: float | None = None,
    sampling_seed: int | None = None,
) -> ir.Gen | ir.Select:
    """Have the model go on. The text it generates is appended, and is the value of the variable `name`.

    None means: as `run` was told. With `choices` it is `select`, which generates nothing, so everything else that says
    how to generate has no meaning then. At most one of `dtype`, `choices`, `regex`, `ebnf` and `json_schema`; a dict or
    a pydantic class is a JSON schema under either name. With ``n > 1`` the variable is a list, and its first item is
    appended. Raises TypeError and ValueError for wrong arguments, re.error for a bad regex.
    """
    if choices is not None:
        constraints = {"dtype": dtype, "regex": regex, "ebnf": ebnf, "json_schema": json_schema}
        only_one(["choices", *(what for what, value in constraints.items() if value is not None)])
        return select(name, choices, 0.0 if temperature is None else temperature, choices_method)
    if choices_method is not None:
        raise ValueError("choices_method needs choices")
    given = {
        "max_tokens": max_tokens, "min_tokens": min_tokens, "n": n,
        "stop": stop, "stop_token_ids": stop_token_ids, "stop_regex": stop_regex, "ignore_eos": ignore_eos,
        "temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p, "sampling_seed": sampling_seed,
        "frequency_penalty": frequency_penalty, "presence_penalty": presence_penalty,
        "repetition_penalty": repetition_penalty, "return_logprob": return_logprob,
        "logprob_start_len": logprob_start_len, "top_logprobs_num": top_logprobs_num,
        "return_text_in_logprobs": return_text_in_logprobs,
        **constraint(regex, ebnf, json_schema, dtype),
    }  # fmt: skip
    stops = () if dtype is None else DTYPE_STOPS.get(dtype_name(dtype), ())
    return ir.Gen(variable_name(name), sampling_arguments(given), stops)


def gen_int(name: str | None = None, max_tokens: int | None = None, **arguments: Any) -> ir.Gen | ir.Select:
    """`gen` of an integer. Takes its other arguments by name."""
    return gen(name, max_tokens, dtype=int, **arguments)


def gen_string(name: str | None = None, max_tokens: int | None = None, **arguments: Any) -> ir.Gen | ir.Select:
    """`gen` of a quoted string. Takes its other arguments by name."""
    return gen(name, max_tokens, dtype=str, **arguments)


def select(
    name: str | None = None,
    choices: Sequence[str] | None = None,
    temperature: float = 0.0,
    choices_method: ChoicesSamplingMethod | None = None,
) -> ir.Select:
    """Append the one of `choices` that the model holds for the best, as `choices_method` ranks them.

    Raises ValueError for no choices, and for a temperature, which a decision has none of.
    """
    if choices is None:
        raise ValueError("select needs choices")
    sampling_arguments({"temperature": temperature})
    if temperature > MAX_SELECT_TEMPERATURE:
        raise ValueError(f"select takes no temperature, but {temperature} is given: it decides by scores")
    method = token_length_normalized if choices_method is None else choices_method
    if not isinstance(method, ChoicesSamplingMethod):
        raise TypeError(f"choices_method must be one of the methods of sglang, not {shown(method)}")
    return ir.Select(variable_name(name), choice_texts(choices), method)


def image(path: str | bytes) -> ir.Image:
    """An image, by the path of its file or by its content."""
    return ir.Image(path)


def video(path: str, num_frames: int) -> ir.Video:
    return ir.Video(path, num_frames)


def system(expr: ir.Expr | str | None = None) -> ir.ExprList:
    """A message of this role with this content."""
    return _message("system", expr)


def user(expr: ir.Expr | str | None = None) -> ir.ExprList:
    return _message("user", expr)


def assistant(expr: ir.Expr | str | None = None) -> ir.ExprList:
    return _message("assistant", expr)


def system_begin() -> ir.RoleBegin:
    return ir.RoleBegin("system")


def system_end() -> ir.RoleEnd:
    return ir.RoleEnd("system")


def user_begin() -> ir.RoleBegin:
    return ir.RoleBegin("user")


def user_end() -> ir.RoleEnd:
    return ir.RoleEnd("user")


def assistant_begin() -> ir.RoleBegin:
    return ir.RoleBegin("assistant")


def assistant_end() -> ir.RoleEnd:
    return ir.RoleEnd("assistant")


def flush_cache(backend: Any = None) -> None:
    """Have the backend forget what it has cached. Raises ConfigurationError if there is no backend."""
    chosen_backend(backend).flush_cache()


def get_server_info(backend: Any = None) -> dict[str, Any]:
    """What the backend says about itself. Raises ConfigurationError if there is no backend."""
    return chosen_backend(backend).get_server_info()


def _message(role: str, content: ir.Expr | str | None) -> ir.ExprList:
    return ir.ExprList.of(ir.RoleBegin(role), "" if content is None else content, ir.RoleEnd(role))
