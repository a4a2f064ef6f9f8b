"""Values of Python types: what a model's text must match to be one, and how it is read.

As bare text, where a type has an obvious one: numbers, ``True`` and ``False``, choices of texts, texts. Everything else
is JSON. pydantic knows the types.
"""

from __future__ import annotations

import functools
import json
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, get_args

from sglang.lang.typed.number_regex import INTEGER, NUMBER, Bound, numbers_between
from sglang.lang.typed.shapes import as_schema, schema_text
from sglang.srt.errors import shown

T = TypeVar("T")

DECIMALS = 6
"""Of a number in a range, or 3 more than its bounds have."""

MAX_DECIMALS = 24
"""A range whose bounds need more is left to JSON."""

_ANNOTATIONS = frozenset(("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"))
_LOWER_LIMITS = frozenset(("minimum", "exclusiveMinimum"))
_UPPER_LIMITS = frozenset(("maximum", "exclusiveMaximum"))
_LIMITS = _LOWER_LIMITS | _UPPER_LIMITS
_ANY = r"[\s\S]"
_LAST_ANCHOR = re.compile(r"(?<!\\)(?:\\\\)*\$\Z")

_CALLED = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial)
"""What pydantic would take for a check of arguments, or for nothing it knows."""

_STRING = r'"(?:[^"\\{}\x00-\x1f\x7f]|\\["\\/bfnrt])*"'
_SCALAR = f"(?:{_STRING}|{NUMBER}|true|false|null)"
_VALUE = rf"(?:{_SCALAR}|\[(?:{_SCALAR}(?:, ?{_SCALAR})*)?\])"
_MEMBER = f"{_STRING}: ?{_VALUE}"
_FLAT_OBJECT = rf"\{{{_MEMBER}(?:, ?{_MEMBER})*\}}"


class _Writing(NamedTuple):
    """constraint: an argument of `gen` and its value, or nothing. as_json: what the text is in JSON.

    stops: what ends the text although more could follow. has_longer: whether a text may go on to be another.
    is_endless: whether it is a number that the constraint lets grow for ever.
    """

    constraint: Mapping[str, str]
    as_json: Callable[[str], str] = str.strip
    stops: tuple[str, ...] = ()
    has_longer: bool = False
    is_endless: bool = False


class _Reader(Protocol):
    """What pydantic's TypeAdapter is."""

    def validate_json(self, data: str, /) -> Any: ...
    def validate_python(self, value: Any, /) -> Any: ...


class _PlainJson:
    """JSON of which nobody says what it is in Python."""

    validate_json = staticmethod(json.loads)

    def validate_python(self, value: Any, /) -> Any:
        return value


@dataclass(frozen=True, slots=True, eq=False)
class TextForm(Generic[T]):
    """How a model writes a value of `type`, and how that is read."""

    type: Any
    _writing: _Writing
    _reader: _Reader

    @property
    def name(self) -> str:
        of = getattr(self.type, "__origin__", None) if hasattr(self.type, "__metadata__") else self.type  # Annotated
        if isinstance(of, Mapping):
            return "JSON"
        return of.__name__ if isinstance(of, type) and not get_args(of) else shown(of)

    @property
    def constraint(self) -> Mapping[str, str]:
        """An argument of `gen` and its value, or nothing."""
        return self._writing.constraint

    @property
    def stops(self) -> tuple[str, ...]:
        """What ends the text although the constraint would let more follow."""
        return self._writing.stops

    def read(self, text: str) -> T:
        """Raises ValueError for a text that is no such value, and whatever the type's own validators raise."""
        value: T = self._reader.validate_json(self._writing.as_json(text))
        return value

    def check(self, value: Any) -> T:
        """A value that no model has written. Raises like `read`."""
        checked: T = self._reader.validate_python(value)
        return checked

    @property
    def is_endless(self) -> bool:
        """Whether it is a number whose digits nothing but the model, or its budget, ends."""
        return self._writing.is_endless

    def is_doubtful(self, cut_text: str) -> bool:
        """Whether more of the text might have made it another value. Of JSON only a number can be read in part."""
        return self._writing.has_longer or self._writing.as_json(cut_text)[-1:].isdigit()


def bare_form(of: Any) -> TextForm[Any]:
    """What ``type=`` means. Raises TypeError for what pydantic does not know, or has no JSON schema for; ValueError for
    a range with nothing in it.
    """
    return _bare_form(of) if _is_hashable(of) else _bare_form.__wrapped__(of)


def json_form(of: Any) -> TextForm[Any]:
    """What ``schema=`` means: JSON, of a type or of a JSON schema. Raises like `bare_form`; ValueError for a dict that
    is no schema.
    """
    if isinstance(of, Mapping):
        return TextForm(of, _json(as_schema(of)), _PlainJson())
    return _json_form(of) if _is_hashable(of) else _json_form.__wrapped__(of)


def object_form(is_flat: bool) -> TextForm[Any]:
    """Some JSON object. is_flat: with no brace inside."""
    writing = _Writing({"regex": _FLAT_OBJECT}) if is_flat else _json({"type": "object"})
    return TextForm({"type": "object"}, writing, _PlainJson())


@functools.lru_cache(maxsize=256)
def _bare_form(of: Any) -> TextForm[Any]:
    reader, schema = _known_to_pydantic("type", of)
    return TextForm(of, _bare(schema) or _json(schema), reader)


@functools.lru_cache(maxsize=256)
def _json_form(of: Any) -> TextForm[Any]:
    reader, schema = _known_to_pydantic("schema", of)
    return TextForm(of, _json(schema), reader)


def _is_hashable(of: Any) -> bool:
    try:
        hash(of)
    except TypeError:
        return False
    return True


def _known_to_pydantic(argument: str, of: Any) -> tuple[_Reader, dict[str, Any]]:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    from sglang.lang.typed.type_schema import TypeSchema

    if of is None or isinstance(of, (str, Mapping, *_CALLED)):
        hint = "; a JSON schema goes into schema=" if isinstance(of, Mapping) else ""
        raise TypeError(f"{argument} must be a type, such as int or a pydantic class, not {shown(of)}{hint}")
    try:
        adapter = of if isinstance(of, TypeAdapter) else TypeAdapter(of)
        return adapter, adapter.json_schema(schema_generator=TypeSchema)
    except PydanticUserError as error:
        reason = error.message.partition(". ")[0]
        raise TypeError(f"{argument} must be a type that JSON can hold, not {shown(of)}: {reason}") from error


# --- how a schema's values are written


def _json(schema: Mapping[str, Any]) -> _Writing:
    return _Writing({"json_schema": schema_text(schema)}, is_endless=_is_endless_number(schema))


def _bare(schema: Mapping[str, Any]) -> _Writing | None:
    """None: there is no obvious way."""
    rules = {name: value for name, value in _resolved(schema).items() if name not in _ANNOTATIONS}
    kind = rules.pop("type", "string")
    match kind, rules:
        case "boolean", {**more} if not more:
            return _Writing({"regex": " ?(?:True|False)"}, lambda text: text.strip().lower())
        case "integer" | "number", _ if rules.keys() <= _LIMITS and _decimals(rules) <= MAX_DECIMALS:
            regex = rf" ?{_number_regex(kind, rules)}[ \n]?"
            return _Writing({"regex": regex}, stops=("\n",), is_endless=_is_endless_number(_resolved(schema)))
        case "string", {"const": str(text), **more} if not more:
            return _choice([text])
        case "string", {"enum": [*texts], **more} if not more and all(isinstance(text, str) for text in texts):
            return _choice(texts)
        case "string", _ if "type" in schema and len(constraint := _text_constraint(rules)) >= bool(rules):
            return _Writing(constraint, json.dumps)
    return None


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a schema refers to that is nothing but a reference."""
    match schema:
        case {"$ref": str(reference), "$defs": definitions, **more} if more.keys() <= _ANNOTATIONS:
            found: Mapping[str, Any] = definitions[reference.removeprefix("#/$defs/")]
            return found
    return schema


def _choice(texts: list[str]) -> _Writing:
    """One that another begins with may be ended by a line break; otherwise it could end only where the model does."""
    has_longer = any(other != text and other.startswith(text) for text in texts for other in texts)
    regex = f" ?(?:{'|'.join(map(re.escape, texts))})" + (r"\n?" if has_longer else "")

    def as_json(text: str) -> str:
        return json.dumps(text if text in texts else text.removeprefix(" "))

    return _Writing({"regex": regex}, as_json, ("\n",) if has_longer else (), has_longer)


def _number_regex(kind: str, limits: Mapping[str, float]) -> str:
    minimum = _bound(limits, "minimum", "exclusiveMinimum", max)
    maximum = _bound(limits, "maximum", "exclusiveMaximum", min)
    if minimum is None and maximum is None:
        return INTEGER if kind == "integer" else NUMBER
    try:
        return numbers_between(minimum, maximum, 0 if kind == "integer" else _decimals(limits))
    except ValueError:
        raise ValueError(f"no {kind} can have {limits}") from None


def _is_endless_number(schema: Mapping[str, Any]) -> bool:
    """Whether it is a number of which one side has no bound."""
    if schema.get("type") not in ("integer", "number") or schema.keys() & {"const", "enum"}:
        return False
    return not (schema.keys() & _LOWER_LIMITS and schema.keys() & _UPPER_LIMITS)


def _decimals(limits: Mapping[str, float]) -> int:
    return max(DECIMALS, *(3 - int(Decimal(str(limit)).as_tuple().exponent) for limit in limits.values()), 0)


def _bound(
    limits: Mapping[str, float], including: str, excluding: str, stricter: Callable[[list[Fraction]], Fraction]
) -> Bound | None:
    values = {name: Fraction(str(limits[name])) for name in (including, excluding) if name in limits}
    if not values:
        return None
    value = stricter(list(values.values()))
    return Bound(value, values.get(excluding) == value)


def _text_constraint(rules: Mapping[str, Any]) -> dict[str, str]:
    """Nothing where there are no rules, or others than these."""
    if rules.keys() == {"pattern"}:
        return {"regex": _whole(rules["pattern"])}
    if rules and rules.keys() <= {"minLength", "maxLength"}:
        return {"regex": f"{_ANY}{{{rules.get('minLength', 0)},{rules.get('maxLength', '')}}}"}
    return {}


def _whole(pattern: str) -> str:
    """A pattern that is searched for, as one of all the text."""
    before, after = f"{_ANY}*", f"{_ANY}*"
    if pattern.startswith("^"):
        before, pattern = "", pattern[1:]
    if _LAST_ANCHOR.search(pattern):
        after, pattern = "", pattern[:-1]
    return f"{before}(?:{pattern}){after}"
