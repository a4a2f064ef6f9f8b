"""The names that programs are written with."""

from __future__ import annotations

import builtins
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from typing_extensions import Unpack

from sglang.lang import direct, ir
from sglang.lang.arguments import (
    DTYPE_STOPS,
    check_distinct,
    choice_texts,
    constraint,
    dtype_name,
    form_of,
    generation_arguments,
    only_one,
    sampling_arguments,
    variable_name,
)
from sglang.lang.choices import ChoicesMethod, ChoicesSamplingMethod, Exact, token_length_normalized
from sglang.lang.default_backend import chosen_backend
from sglang.lang.gen_options import Constraint, GenOptions, JsonOptions, LogprobsMode
from sglang.lang.keywords import hinting
from sglang.lang.media import media
from sglang.lang.program import SglFunction
from sglang.lang.typed.text_form import TextForm
from sglang.srt.errors import UnsupportedError, shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

MAX_SELECT_TEMPERATURE = 1e-5
"""`select` decides, but for `exact`."""

CHOICES_METHODS = (
    "sgl.token_length_normalized, sgl.greedy_token_selection, sgl.unconditional_likelihood_normalized or sgl.exact"
)


@overload
def function(func: Callable[..., Any]) -> SglFunction: ...
@overload
def function(
    func: None = None, num_api_spec_tokens: int | None = None
) -> Callable[[Callable[..., Any]], SglFunction]: ...
def function(
    func: Callable[..., Any] | None = None, num_api_spec_tokens: int | None = None
) -> SglFunction | Callable[[Callable[..., Any]], SglFunction]:
    """Make a program of a function whose first parameter is the state ``s``. A decorator, bare or called.

    num_api_spec_tokens: for completion models of `OpenAI`. A generation asks for at least so many tokens, and those
    after it are answered out of them where they went on as the program does. ``backend.token_usage`` has the calls and
    prompt tokens that this saved. Raises TypeError and ValueError if it is no positive integer.
    """
    make = partial(SglFunction, num_api_spec_tokens=num_api_spec_tokens)
    return make if func is None else make(func)


@overload
def gen(
    name: str | None = None, max_tokens: int | None = None, *, type: builtins.type[T] | TypeAdapter[T],
    **options: Unpack[JsonOptions],
) -> ir.TypedGen[T]: ...  # fmt: skip
@overload
def gen(
    name: str | None = None, max_tokens: int | None = None, *, schema: builtins.type[T] | TypeAdapter[T],
    **options: Unpack[JsonOptions],
) -> ir.TypedGen[T]: ...  # fmt: skip
@overload
def gen(
    name: str | None = None, max_tokens: int | None = None, *, type: object, **options: Unpack[JsonOptions]
) -> ir.TypedGen[Any]: ...
@overload
def gen(
    name: str | None = None, max_tokens: int | None = None, *, schema: object, **options: Unpack[JsonOptions]
) -> ir.TypedGen[Any]: ...
@overload
def gen(
    name: str | None = None, max_tokens: int | None = None, min_tokens: int | None = None, n: int | None = None,
    stop: str | Sequence[str] | None = None, stop_token_ids: Sequence[int] | None = None,
    stop_regex: str | Sequence[str] | None = None,
    temperature: float | None = None, top_p: float | None = None, top_k: int | None = None, min_p: float | None = None,
    frequency_penalty: float | None = None, presence_penalty: float | None = None, ignore_eos: bool | None = None,
    return_logprob: bool | None = None, logprob_start_len: int | None = None, top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
    dtype: builtins.type[Any] | str | None = None,
    choices: Sequence[str] | None = None, choices_method: ChoicesMethod | None = None,
    regex: Constraint | None = None, json_schema: Constraint | None = None,
    *, whitespace_pattern: str | None = None,
    ebnf: str | None = None, structural_tag: str | dict[str, Any] | None = None,
    repetition_penalty: float | None = None, sampling_seed: int | None = None,
    logprobs_mode: LogprobsMode | None = None, separate_reasoning: bool | str | None = None,
) -> ir.Gen | ir.Select: ...  # fmt: skip
@hinting
def gen(
    name: str | None = None, max_tokens: int | None = None, min_tokens: int | None = None, n: int | None = None,
    stop: str | Sequence[str] | None = None, stop_token_ids: Sequence[int] | None = None,
    stop_regex: str | Sequence[str] | None = None,
    temperature: float | None = None, top_p: float | None = None, top_k: int | None = None, min_p: float | None = None,
    frequency_penalty: float | None = None, presence_penalty: float | None = None, ignore_eos: bool | None = None,
    return_logprob: bool | None = None, logprob_start_len: int | None = None, top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
    dtype: builtins.type[Any] | str | None = None,
    choices: Sequence[str] | None = None, choices_method: ChoicesMethod | None = None,
    regex: Constraint | None = None, json_schema: Constraint | None = None,
    *, whitespace_pattern: str | None = None,
    ebnf: str | None = None, structural_tag: str | dict[str, Any] | None = None,
    repetition_penalty: float | None = None, sampling_seed: int | None = None,
    logprobs_mode: LogprobsMode | None = None, separate_reasoning: bool | str | None = None,
    type: Any = None, schema: Any = None,
) -> Any:  # fmt: skip
    """Have the model go on. The text it generates is appended, and is the value of the variable `name`.

    None means: as `run` was told. With `choices` it is `select`, which generates nothing, so everything else that says
    how to generate has no meaning then. With ``n > 1`` the variable is a list, and its first item is appended.

    At most one says what the text is: `dtype`, `choices`, `regex`, `ebnf`, `json_schema` (a dict or a pydantic class is
    a JSON schema, under `regex` too), `structural_tag` (tags in free text, and what stands in them: a dict, or JSON),
    or, to get values of a Python type, `type` or `schema`. Of a `type`, numbers, True and False, texts and choices of
    texts are bare text, and everything else is JSON. A `schema` is a type too, or a JSON schema, and always JSON. What
    `gen` gives then is also the handle for ``state.get``, with a name or without. Between any two tokens of JSON
    stands the white space that `whitespace_pattern` says, a regular expression such as ``[ ]?``; by default, none.

    logprobs_mode, beside return_logprob: ``raw_logprobs``, the default, are the model's own; ``processed_logprobs`` are
    of what tokens are drawn from, after temperature, penalties and constraint.

    separate_reasoning: the text is the answer alone, and what the model thought before it is the variable
    ``<name>_reasoning_content``, which later prompts do not hold. A name says how this model marks its thoughts (as for
    the option ``reasoning_parser``); True leaves that to the backend. The answer comes as a whole, also of a stream.

    In a function without a state the prompt stands in the place of the name, and this gives the value itself.

    Raises TypeError and ValueError for wrong arguments, re.error for a bad regex.
    """
    wanted = only_one({
        "choices": choices, "dtype": dtype, "regex": regex, "ebnf": ebnf, "json_schema": json_schema,
        "structural_tag": structural_tag, "type": type, "schema": schema,
    })  # fmt: skip
    if choices is not None:
        _check_may_choose(separate_reasoning, whitespace_pattern)
        decide_at = 0.0 if temperature is None else temperature
        return select(name, choices, decide_at, choices_method, sampling_seed=sampling_seed)
    if choices_method is not None:
        raise ValueError("choices_method needs choices")
    return _continuation(name, wanted, {
        "max_tokens": max_tokens, "min_tokens": min_tokens, "n": n,
        "stop": stop, "stop_token_ids": stop_token_ids, "stop_regex": stop_regex, "ignore_eos": ignore_eos,
        "temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p, "sampling_seed": sampling_seed,
        "frequency_penalty": frequency_penalty, "presence_penalty": presence_penalty,
        "repetition_penalty": repetition_penalty, "return_logprob": return_logprob,
        "logprob_start_len": logprob_start_len, "top_logprobs_num": top_logprobs_num,
        "return_text_in_logprobs": return_text_in_logprobs, "logprobs_mode": logprobs_mode,
        "separate_reasoning": separate_reasoning, "whitespace_pattern": whitespace_pattern,
    })  # fmt: skip


def gen_int(
    name: str | None = None, max_tokens: int | None = None, **options: Unpack[GenOptions]
) -> ir.Gen | ir.Select:
    """`gen` of an integer. Takes its other arguments by name."""
    return gen(name, max_tokens, dtype=int, **options)


def gen_string(
    name: str | None = None, max_tokens: int | None = None, **options: Unpack[GenOptions]
) -> ir.Gen | ir.Select:
    """`gen` of a quoted string. Takes its other arguments by name."""
    return gen(name, max_tokens, dtype=str, **options)


@hinting
def select(
    name: str | None = None,
    choices: Sequence[str] | None = None,
    temperature: float = 0.0,
    choices_method: ChoicesMethod | None = None,
    *,
    sampling_seed: int | None = None,
) -> ir.Select:
    """Append the one of `choices` that the model holds for the best, as `choices_method` ranks them.

    With `exact` a temperature above 0 draws one instead, by `sampling_seed`, or the run's where that is None. In a
    function without a state the prompt stands in the place of the name, and this gives the choice itself.

    Raises ValueError for no choices, for a temperature with another method, which decides by scores, and with `exact`
    for a choice that is given twice.
    """
    if choices is None:
        raise ValueError("select needs choices")
    sampling_arguments({"temperature": temperature, "sampling_seed": sampling_seed})
    method = token_length_normalized if choices_method is None else choices_method
    texts = choice_texts(choices)
    if isinstance(method, Exact):
        check_distinct(texts)
        method = method.drawing(temperature, sampling_seed)
    elif not isinstance(method, ChoicesSamplingMethod):
        raise TypeError(f"choices_method must be {CHOICES_METHODS}, not {shown(method)}")
    elif not 0 <= temperature <= MAX_SELECT_TEMPERATURE:
        raise ValueError(
            f"select takes no temperature, but {temperature} is given: it decides by scores; "
            "choices_method=sgl.exact draws by probability"
        )
    state = direct.current_state()
    node = ir.Select(variable_name(name) if state is None else None, texts, method)
    if state is None:
        return node
    decision: Any = direct.value_of(state, name, node)  # which no type checker can tell from a node
    return cast("ir.Select", decision)


def separate_reasoning(expr: ir.Expr | str, model_type: str | None = None) -> ir.ExprList:
    """The expression, with ``separate_reasoning`` in each `gen` of it. model_type: how the model marks its thoughts.

    Raises ValueError if it generates nothing, TypeError and ValueError for what is no expression.
    """
    (chosen,) = sampling_arguments({"separate_reasoning": True if model_type is None else model_type}).given()
    nodes = ir.leaves(expr)
    if not any(isinstance(node, ir.Gen) for node in nodes):
        raise ValueError(f"separate_reasoning takes what generates, such as sgl.gen('x'), not {shown(expr)}")
    return ir.ExprList(tuple(_with_sampling(node, dict([chosen])) for node in nodes))


def image(content: object) -> ir.MediaInput:
    """An image: the path of its file, its bytes, its URL (http, https, gs, data), or an image of PIL.

    A file is read here. In a chat it is part of the message it stands in; in the text of a state ``<image>`` stands
    for it. Raises OSError if a file cannot be read, TypeError and ValueError for what is no image.
    """
    return ir.MediaInput(media("image", content))


def audio(content: object) -> ir.MediaInput:
    """A sound: the path of its file, its bytes or its URL. Like `image`."""
    return ir.MediaInput(media("audio", content))


def video(content: object, num_frames: int | None = None) -> ir.MediaInput:
    """A video: the path of its file, its bytes or its URL. Like `image`.

    Raises UnsupportedError for `num_frames`: which of its pictures count is up to the backend.
    """
    if num_frames is not None:
        raise UnsupportedError("num_frames is not supported: the backend chooses the frames; leave it out")
    return ir.MediaInput(media("video", content))


def system(expr: ir.Expr | str | None = None) -> ir.ExprList:
    """A message of this role with this content."""
    return _message("system", expr)


def user(expr: ir.Expr | str | None = None) -> ir.ExprList:
    """A message of this role with this content."""
    return _message("user", expr)


def assistant(expr: ir.Expr | str | None = None) -> ir.ExprList:
    """A message of this role with this content."""
    return _message("assistant", expr)


def system_begin() -> ir.RoleBegin:
    """Where a message of this role begins, for what is appended until it ends."""
    return ir.RoleBegin("system")


def system_end() -> ir.RoleEnd:
    """Where it ends."""
    return ir.RoleEnd("system")


def user_begin() -> ir.RoleBegin:
    """Where a message of this role begins, for what is appended until it ends."""
    return ir.RoleBegin("user")


def user_end() -> ir.RoleEnd:
    """Where it ends."""
    return ir.RoleEnd("user")


def assistant_begin() -> ir.RoleBegin:
    """Where a message of this role begins, for what is appended until it ends."""
    return ir.RoleBegin("assistant")


def assistant_end() -> ir.RoleEnd:
    """Where it ends."""
    return ir.RoleEnd("assistant")


def flush_cache(backend: Any = None) -> None:
    """Have the backend forget what it has cached. Raises ConfigurationError if there is no backend."""
    chosen_backend(backend).flush_cache()


def get_server_info(backend: Any = None) -> dict[str, Any]:
    """What the backend says about itself. Raises ConfigurationError if there is no backend."""
    return chosen_backend(backend).get_server_info()


def _continuation(prompt_or_name: Any, wanted: Mapping[str, Any], sampling: Mapping[str, Any]) -> Any:
    state = direct.current_state()
    if state is None:
        return _gen(variable_name(prompt_or_name), wanted, form_of(wanted), sampling)
    form = form_of(wanted) or direct.promised_form(wanted)
    return direct.value_of(state, prompt_or_name, _gen(None, wanted, form, sampling))


def _gen(
    name: str | None, wanted: Mapping[str, Any], form: TextForm[Any] | None, sampling: Mapping[str, Any]
) -> ir.Gen:
    if form is not None:
        return ir.TypedGen(name, generation_arguments(sampling, form.constraint), form.stops, form=form)
    stops = DTYPE_STOPS.get(dtype_name(wanted["dtype"]), ()) if "dtype" in wanted else ()
    return ir.Gen(name, generation_arguments(sampling, constraint(wanted)), stops)


def _check_may_choose(separate_reasoning: bool | str | None, whitespace_pattern: str | None) -> None:
    """Raises ValueError for what says how a text is generated that is not generated but chosen."""
    if separate_reasoning:
        raise ValueError("separate_reasoning cannot be had with choices: a choice is made without thinking")
    if whitespace_pattern is not None:
        raise ValueError("whitespace_pattern cannot be had with choices: it belongs to JSON")


def _with_sampling(node: ir.Expr, given: Mapping[str, Any]) -> ir.Expr:
    if not isinstance(node, ir.Gen):
        return node
    return dataclasses.replace(node, sampling=ir.SamplingArguments(**given).over(node.sampling))


def _message(role: str, content: ir.Expr | str | None) -> ir.ExprList:
    return ir.ExprList.of(ir.RoleBegin(role), "" if content is None else content, ir.RoleEnd(role))
