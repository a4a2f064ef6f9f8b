"""Structural tags as users write them: ``{"structures": [...], "triggers": [...]}``, or ``{"format": {...}}``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sglang.srt.errors import InvalidRequestError, did_you_mean, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.limits import MAX_NESTING, check_extent
from sglang.srt.grammar.pattern import NOTHING, chars, literal, repeat
from sglang.srt.grammar.python_regex import parse_regex
from sglang.srt.grammar.recursive import is_lark, read_rules
from sglang.srt.grammar.structural.nodes import (
    Choice,
    Node,
    Recursive,
    Regular,
    Schema,
    SeparatedTags,
    Series,
    Tag,
    TriggeredTags,
    XmlArguments,
)

_STRUCTURAL_TAG = "structural_tag"


def read_structural_tag(text: str) -> Node:
    """Raises InvalidRequestError that says where something is wrong, and what would be right."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"structural_tag is not JSON: {error}: {shown(text)}") from error
    return _Reader().whole(given)


def _refuse(path: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"{path} {message}")


class _Fields:
    """The fields of one object. All that are there must be asked for before `check_no_others`."""

    def __init__(self, given: Any, path: str) -> None:
        if not isinstance(given, Mapping):
            raise _refuse(path, f"must be an object, not {shown(given)}")
        self.path = path
        self._given = given
        self._known = {"type"}

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def get(self, name: str, kind: type | tuple[type, ...], expected: str, default: Any = None) -> Any:
        """Raises where it is missing, and `default` is None, or of another kind."""
        self._known.add(name)
        value = self._given.get(name, default)
        if value is None:
            raise _refuse(self.path, f"needs {name}: {expected}")
        if not isinstance(value, kind):
            raise _refuse(f"{self.path}.{name}", f"must be {expected}, not {shown(value)}")
        return value

    def text(self, name: str) -> str:
        text: str = self.get(name, str, "a string")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _refuse(f"{self.path}.{name}", f"is not valid Unicode text: {shown(text)}") from error
        return text

    def flag(self, name: str) -> bool:
        return bool(self.get(name, bool, "true or false", default=False))

    def schema(self, name: str) -> Schema:
        return Schema(json.dumps(self.get(name, (dict, bool), "a JSON Schema")), f"{self.path}.{name}")

    def items(self, name: str, expected: str) -> list[tuple[Any, str]]:
        """At least one, each with its path."""
        values = self.get(name, list, f"a list of {expected}")
        if not values:
            raise _refuse(f"{self.path}.{name}", f"must be a list of {expected}, and is empty")
        return [(value, f"{self.path}.{name}[{index}]") for index, value in enumerate(values)]

    def check_no_others(self) -> None:
        for name in self._given:
            if name not in self._known:
                raise _refuse(f"{self.path}.{name}", f"is unknown; {did_you_mean(name, sorted(self._known), 'fields')}")


class _Reader:
    def __init__(self) -> None:
        self._depth = 0
        self._kinds: dict[str, Callable[[_Fields], Node]] = {
            "any_text": lambda _: Regular(repeat(chars(cs.ANY), 0, None)),
            "const_string": lambda fields: Regular(literal(fields.text("value"))),
            "grammar": self._grammar,
            "json_schema": lambda fields: fields.schema("json_schema"),
            "or": lambda fields: Choice(self._elements(fields)),
            "qwen_xml_parameter": lambda fields: XmlArguments(fields.schema("json_schema")),
            "regex": self._regex,
            "sequence": lambda fields: Series(self._elements(fields)),
            "tag": self._tag,
            "tags_with_separator": self._separated_tags,
            "triggered_tags": self._triggered_tags,
        }

    def whole(self, given: Any) -> Node:
        fields = _Fields(given, _STRUCTURAL_TAG)
        kind = fields.get("type", str, f"{_STRUCTURAL_TAG!r}", default=_STRUCTURAL_TAG)
        if kind != _STRUCTURAL_TAG:
            raise _refuse(f"{_STRUCTURAL_TAG}.type", f"must be {_STRUCTURAL_TAG!r}, not {shown(kind)}")
        if "format" in fields:
            node = self._node(fields.get("format", Mapping, "an object"), f"{_STRUCTURAL_TAG}.format")
        elif "structures" in fields or "triggers" in fields:
            tags = tuple(self._structure(*one) for one in fields.items("structures", "objects of begin, schema, end"))
            node = TriggeredTags(_triggers(fields, tags), tags, at_least_one=False, stop_after_first=False)
        else:
            raise _refuse(_STRUCTURAL_TAG, "needs format, or structures and triggers")
        fields.check_no_others()
        return node

    def _structure(self, given: Any, path: str) -> Tag:
        fields = _Fields(given, path)
        tag = Tag(fields.text("begin"), fields.schema("schema"), fields.text("end"))
        fields.check_no_others()
        return tag

    def _node(self, given: Any, path: str) -> Node:
        fields = _Fields(given, path)
        kind = fields.get("type", str, f"one of {', '.join(self._kinds)}")
        if kind not in self._kinds:
            hint = did_you_mean(kind, sorted(self._kinds), "types")
            raise _refuse(f"{path}.type", f"has {shown(kind)}, which is not supported; {hint}")
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise _refuse(path, f"is nested more than {MAX_NESTING} levels deep")
        node = self._kinds[kind](fields)
        self._depth -= 1
        fields.check_no_others()
        return node

    def _elements(self, fields: _Fields) -> tuple[Node, ...]:
        return tuple(self._node(*one) for one in fields.items("elements", "formats"))

    def _regex(self, fields: _Fields) -> Node:
        path = f"{fields.path}.pattern"
        pattern = parse_regex(path, fields.text("pattern"), plain_digits=True)
        if pattern == NOTHING:
            raise _refuse(path, "matches no text at all")
        check_extent(path, [pattern])
        return Regular(pattern)

    def _grammar(self, fields: _Fields) -> Node:
        path, source = f"{fields.path}.grammar", fields.text("grammar")
        if is_lark(source):
            raise _refuse(path, "is Lark, which is supported as ebnf only; here write rules as root ::= ...")
        try:
            rules = read_rules(source)
        except InvalidRequestError as error:
            raise _refuse(path, f"cannot be used: {error}") from error
        return Recursive(rules) if rules.regular is None else Regular(rules.regular)

    def _tag(self, fields: _Fields) -> Tag:
        content = self._node(fields.get("content", Mapping, "a format"), f"{fields.path}.content")
        return Tag(fields.text("begin"), content, fields.text("end"))

    def _tags(self, fields: _Fields) -> tuple[Tag, ...]:
        """In lists of tags they need not say that they are."""
        tags = []
        for given, path in fields.items("tags", "tags"):
            as_tag = {"type": "tag", **given} if isinstance(given, Mapping) else given
            tag = self._node(as_tag, path)
            if not isinstance(tag, Tag):
                raise _refuse(f"{path}.type", f"must be 'tag', not {shown(given['type'])}")
            tags.append(tag)
        return tuple(tags)

    def _triggered_tags(self, fields: _Fields) -> Node:
        tags = self._tags(fields)
        return TriggeredTags(
            _triggers(fields, tags), tags, fields.flag("at_least_one"), fields.flag("stop_after_first")
        )

    def _separated_tags(self, fields: _Fields) -> Node:
        return SeparatedTags(
            self._tags(fields), fields.text("separator"), fields.flag("at_least_one"), fields.flag("stop_after_first")
        )


def _triggers(fields: _Fields, tags: Iterable[Tag]) -> tuple[str, ...]:
    """Without those that begin with another: that one is there first."""
    given = fields.items("triggers", "strings")
    for trigger, path in given:
        if not isinstance(trigger, str) or not trigger:
            raise _refuse(path, f"must be a non-empty string, not {shown(trigger)}")
    texts = [trigger for trigger, _ in given]
    begins = [tag.begin for tag in tags]
    for begin in begins:
        if not begin.startswith(tuple(texts)):
            raise _refuse(
                fields.path, f"has a tag that begins with none of the triggers {shown(texts)}: {shown(begin)}"
            )
    for trigger, path in given:
        if not any(begin.startswith(trigger) for begin in begins):
            raise _refuse(path, f"is {shown(trigger)}, with which no tag begins")
        within = next((other for other in texts if other in trigger and not trigger.startswith(other)), None)
        if within is not None:
            raise _refuse(path, f"is {shown(trigger)}, which holds another trigger, {shown(within)}")
    return tuple(one for one in dict.fromkeys(texts) if not any(one != o and one.startswith(o) for o in texts))
