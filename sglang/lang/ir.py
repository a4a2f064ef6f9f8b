"""What a program is made of: immutable nodes that a state executes in order.

Nodes are made by the functions of `lang/api.py`. ``+`` concatenates nodes and strings, in either order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar

import msgspec

from sglang.lang.choices import ChoicesMethod, Exact, token_length_normalized
from sglang.lang.media import Media
from sglang.lang.typed.text_form import TextForm
from sglang.srt.errors import shown

T = TypeVar("T")

DEFAULT_MAX_NEW_TOKENS = 128

CONSTRAINTS = ("regex", "ebnf", "json_schema", "structural_tag")
"""The sampling arguments that say what a text must be. A generation has one of them at most."""


class SamplingArguments(msgspec.Struct, frozen=True, kw_only=True):
    """How to generate. None means: not said here, ask the level above (gen, then run, then the backend's defaults).

    Names are those of the native API. ``json_schema`` and ``structural_tag`` are JSON text. ``whitespace_pattern``
    belongs to a ``json_schema``. ``separate_reasoning`` names how the model marks its thoughts, or is ``auto``.
    """

    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    n: int | None = None
    stop: str | tuple[str, ...] | None = None
    stop_token_ids: tuple[int, ...] | None = None
    stop_regex: str | tuple[str, ...] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    ignore_eos: bool | None = None
    sampling_seed: int | None = None
    return_logprob: bool | None = None
    logprob_start_len: int | None = None
    top_logprobs_num: int | None = None
    return_text_in_logprobs: bool | None = None
    logprobs_mode: str | None = None
    regex: str | None = None
    ebnf: str | None = None
    json_schema: str | None = None
    whitespace_pattern: str | None = None
    structural_tag: str | None = None
    separate_reasoning: str | None = None

    def over(self, defaults: SamplingArguments) -> SamplingArguments:
        """These, and where they say nothing, `defaults`."""
        return msgspec.structs.replace(defaults, **dict(self.given()))

    def with_stops(self, stops: Sequence[str]) -> SamplingArguments:
        """These, which end at `stops` too."""
        before = self.stop or ()
        return msgspec.structs.replace(self, stop=(*([before] if isinstance(before, str) else before), *stops))

    def given(self) -> Iterator[tuple[str, Any]]:
        """Names and values that are not None."""
        for name, value in zip(self.__struct_fields__, msgspec.structs.astuple(self), strict=True):
            if value is not None:
                yield name, value

    def constraint(self) -> tuple[str, str] | None:
        """The one there is, by its name."""
        return next(((name, value) for name, value in self.given() if name in CONSTRAINTS), None)


NO_SAMPLING = SamplingArguments()


IN_THREADS = "in a thread that a function without a state starts, gen needs contextvars.copy_context().run"
"""What is missing where a node turns up instead of a value."""


class Expr:
    """What can be appended to a state: a node, or several."""

    __slots__ = ()

    def __add__(self, other: Expr | str) -> ExprList:
        return ExprList.of(self, other) if isinstance(other, (Expr, str)) else NotImplemented

    def __radd__(self, other: str) -> ExprList:
        return ExprList.of(other, self) if isinstance(other, str) else NotImplemented

    def __getitem__(self, key: object) -> NoReturn:
        raise TypeError(
            f"{self!r} is no value; outside of a function without a state, read what it gives from the state it is "
            f"appended to ({IN_THREADS})"
        )

    def __format__(self, spec: str) -> str:
        raise TypeError(
            f"{self!r} has no text yet, so it cannot stand in an f-string; write: 'text' + {self!r} + 'text' "
            f"({IN_THREADS})"
        )


@dataclass(frozen=True, slots=True, repr=False)
class ExprList(Expr):
    """Nodes one after the other. Flat: it holds no other list."""

    nodes: tuple[Expr, ...] = ()

    @classmethod
    def of(cls, *parts: Expr | str) -> ExprList:
        return cls(tuple(node for part in parts for node in leaves(part)))

    def __repr__(self) -> str:
        return f"ExprList({list(self.nodes)!r})"


def leaves(expression: object) -> tuple[Expr, ...]:
    """The nodes of an expression, in order. Raises ValueError for None, TypeError for what is no expression."""
    if isinstance(expression, str):
        return (ConstantText(expression),)
    if isinstance(expression, ExprList):
        return expression.nodes
    if isinstance(expression, Expr):
        return (expression,)
    if expression is None:
        raise ValueError("None cannot be appended; give text or an expression")
    raise TypeError(f"only text and expressions can be appended, not {type(expression).__name__} {shown(expression)}")


@dataclass(frozen=True, slots=True, repr=False)
class ConstantText(Expr):
    value: str

    def __repr__(self) -> str:
        return f"Constant({self.value!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Gen(Expr):
    """Let the model go on. extra_stops: end here too, whatever else ends it, at this call's level or at the run's."""

    name: str | None
    sampling: SamplingArguments = NO_SAMPLING
    extra_stops: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Gen({self.name!r})"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TypedGen(Gen, Generic[T]):
    """What `gen` gives with a `type` or a `schema`: to be appended to a state, and the handle of the value that the
    model writes there. ``state.get(handle)`` is a T, and ``state.get_all(handle)`` a list of them, of ``n`` samples.

    Equal to itself only: two that ask for the same have a value each.
    """

    form: TextForm[T] = field(kw_only=True)

    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True, repr=False)
class Select(Expr):
    """Append the best of `choices`, which are two or more, or just one."""

    name: str | None
    choices: tuple[str, ...]
    method: ChoicesMethod = token_length_normalized

    @property
    def is_decided(self) -> bool:
        """Whether no model is to be asked: there is one choice, and how likely it is, is not wanted."""
        return len(self.choices) == 1 and not isinstance(self.method, Exact)

    def __repr__(self) -> str:
        return f"Select({self.name!r}, choices={list(self.choices)!r}, choices_method={self.method!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Variable(Expr):
    """The text of a variable of the state it is appended to, without waiting for it."""

    name: str | None

    def __repr__(self) -> str:
        return f"Variable({self.name!r})"


@dataclass(frozen=True, slots=True, repr=False)
class RoleBegin(Expr):
    role: str

    def __repr__(self) -> str:
        return f"RoleBegin({self.role})"


@dataclass(frozen=True, slots=True, repr=False)
class RoleEnd(Expr):
    role: str

    def __repr__(self) -> str:
        return f"RoleEnd({self.role})"


@dataclass(frozen=True, slots=True, repr=False)
class VarScopeBegin(Expr):
    name: str

    def __repr__(self) -> str:
        return f"VarScopeBegin({self.name!r})"


@dataclass(frozen=True, slots=True, repr=False)
class VarScopeEnd(Expr):
    """Sets the variable to the text since the scope began."""

    name: str

    def __repr__(self) -> str:
        return f"VarScopeEnd({self.name!r})"


@dataclass(frozen=True, slots=True, repr=False)
class MediaInput(Expr):
    """An image, a sound or a video, for the model to look at."""

    media: Media

    def __repr__(self) -> str:
        return repr(self.media)
