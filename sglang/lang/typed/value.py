"""The variables that are values of types: read from a model's text when a program asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from sglang.lang import ir
from sglang.lang.arguments import variable_name
from sglang.lang.execution.variables import Key, Several, Value
from sglang.lang.source_line import SourceLine
from sglang.lang.typed.text_form import TextForm, bare_form
from sglang.srt.errors import ProgramError, shown

T = TypeVar("T")


class Origin(NamedTuple):
    """Which generation a value comes from. state_text: what the state held after it."""

    variable: str | None
    line: SourceLine | None
    state_text: str


class TypedValue(Generic[T]):
    """A type's validators are the user's code, so they run where the value is read, in the reader's thread, once.

    A text that is no such value does not stop the state: whoever reads it gets the error, and may let the model try
    again.
    """

    def __init__(self, text: str, meta_info: Mapping[str, Any], form: TextForm[T], origin: Origin) -> None:
        self.text = text
        self.meta_info = meta_info
        self.form = form
        self._origin = origin
        self._read: list[T] = []  # the value, once it has been read

    @property
    def value(self) -> T:
        """The same object every time. Raises ProgramError if the text is none."""
        if not self._read:
            value = self._as(self.form)
            if not self._read:  # by another thread in the meantime
                self._read.append(value)
        return self._read[0]

    def read_as(self, form: TextForm[Any]) -> Any:
        """The text as a value of perhaps another type. Raises like `value`."""
        return self.value if form.type == self.form.type else self._as(form)

    def _as(self, form: TextForm[T]) -> T:
        return _read(self.text, self.meta_info, form, self._origin)


def handle(of: Any, type: Any) -> tuple[Key, TextForm[Any]]:
    """Which variable is meant, and what it is to be. Raises TypeError and ValueError."""
    if isinstance(of, ir.TypedGen):
        if type is not None:
            raise TypeError(f"{of!r} has a type; it takes no other")
        return of if of.name is None else of.name, of.form
    if isinstance(of, ir.Expr):
        raise TypeError(f"{of!r} has no type, so it is no handle; read the variable by its name, or give gen a type")
    if type is None:
        raise TypeError(f"get needs a type, as in s.get({of!r}, str); s[{of!r}] needs none")
    return variable_name(of), bare_form(type)


def value_as(value: Value, form: TextForm[T], key: Key) -> T:
    """What a program wants to read as this type. Raises ProgramError if it is none; TypeError for several values."""
    if isinstance(value, Several):
        raise TypeError(f"{key!r} has {len(value.values)} values; get_all gives them as a list")
    if isinstance(value, TypedValue):
        found: T = value.read_as(form)
        return found
    origin = Origin(key if isinstance(key, str) else None, None, value.text)
    if isinstance(value.value, str):
        return _read(value.value, value.meta_info, form, origin)
    try:
        return form.check(value.value)
    except Exception as error:
        raise _error(f"{shown(value.value)} is", value.meta_info, form, origin, error) from error


def values_as(value: Value, form: TextForm[T], key: Key) -> list[T]:
    """All of several values, or the only one. Raises like `value_as`."""
    return [value_as(one, form, key) for one in _flat(value)]


def _flat(value: Value) -> Iterator[Value]:
    if isinstance(value, Several):
        for one in value.values:
            yield from _flat(one)
    else:
        yield value


def _read(text: str, meta_info: Mapping[str, Any], form: TextForm[T], origin: Origin) -> T:
    said = f"{shown(text)}, which the model wrote, is" if origin.line else f"{shown(text)} is"
    try:
        value = form.read(text)
    except Exception as error:
        raise _error(said, meta_info, form, origin, error) from error
    if _was_cut(meta_info) and form.is_doubtful(text):
        raise _error(said, meta_info, form, origin, "it may not be all of it")
    return value


def _was_cut(meta_info: Mapping[str, Any]) -> bool:
    reason = meta_info.get("finish_reason")
    return isinstance(reason, Mapping) and reason.get("type") == "length"


def _error(
    said: str, meta_info: Mapping[str, Any], form: TextForm[Any], origin: Origin, why: Exception | str
) -> ProgramError:
    variable = f"variable {origin.variable!r}" if origin.variable is not None else "gen"
    where = f"{variable} at {origin.line}" if origin.line else variable
    cut = f"; it was cut off by its length, so allow more max_tokens{_or_bound(form)}" if _was_cut(meta_info) else ""
    file, line = origin.line or (None, None)
    return ProgramError(
        f"{where}: {said} no {form.name}: {_problems(why)}{cut}",
        origin.state_text,
        file=file,
        line=line,
        variable=origin.variable,
        request_id=meta_info.get("id"),
    )


def _or_bound(form: TextForm[Any]) -> str:
    """What helps where the model does not stop by itself."""
    return ", or bound the number, as Annotated[int, Field(ge=0, le=999)] or a regex does" if form.is_endless else ""


def _problems(error: Exception | str) -> str:
    """In one line. pydantic has one for every place, and a link."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {error}" if isinstance(error, Exception) else error
    places = [(".".join(map(str, found["loc"])), found["msg"]) for found in error.errors(include_url=False)]
    return "; ".join(f"{place}: {message}" if place else message for place, message in places)
