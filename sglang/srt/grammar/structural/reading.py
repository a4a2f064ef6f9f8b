"""Structural tags as users write them: ``{"structures": [...], "triggers": [...]}``, or ``{"format": {...}}``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sglang.srt.errors import InvalidRequestError, did_you_mean, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.limits import MAX_NESTING, check_extent
from sglang.srt.grammar.pattern import NOTHING, chars, literal, repeat
from sglang.srt.grammar.python_regex import parse_regex
from sglang.srt.grammar.recursive import is_lark, read_rules
from sglang.srt.grammar.structural.free_text import texts_without
from sglang.srt.grammar.structural.nodes import (
    Choice,
    Node,
    Recursive,
    Regular,
    Repeated,
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


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _refuse(path, f"must be a string, not {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _refuse(path, f"is not valid Unicode text: {shown(value)}") from error
    return value


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

    def has(self, name: str) -> bool:
        """Whether it is there, and not null."""
        self._known.add(name)
        return self._given.get(name) is not None

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
        return _text(self.get(name, str, "a string"), f"{self.path}.{name}")

    def texts(self, name: str) -> tuple[str, ...]:
        """At least one."""
        return tuple(dict.fromkeys(_text(*one) for one in self.items(name, "strings")))

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.get(name, bool, "true or false", default=default))

    def count(self, name: str, low: int, default: int | None = None) -> int:
        """An integer from `low` on."""
        value = self.get(name, int, f"an integer from {low} on", default)
        if isinstance(value, bool) or value < low:
            raise _refuse(f"{self.path}.{name}", f"must be an integer from {low} on, not {shown(value)}")
        return int(value)

    def schema(self, name: str) -> Schema:
        return Schema(json.dumps(self.get(name, (dict, bool), "a JSON Schema")), f"{self.path}.{name}")

    def check_default(self, name: str, default: Any, instead: str) -> None:
        """Of what others know, and which is supported only where it changes nothing."""
        self._known.add(name)
        value = self._given.get(name, default)
        if value != default:
            raise _refuse(f"{self.path}.{name}", f"is {shown(value)}, which is not supported; {instead}")

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
            "any_text": _any_text,
            "const_string": lambda fields: Regular(literal(fields.text("value"))),
            "dispatch": self._dispatch,
            "grammar": self._grammar,
            "json_schema": _json_schema,
            "optional": lambda fields: self._repeated(fields, 0, 1),
            "or": lambda fields: Choice(self._elements(fields)),
            "plus": lambda fields: self._repeated(fields, 1, None),
            "qwen_xml_parameter": lambda fields: XmlArguments(fields.schema("json_schema")),
            "regex": self._regex,
            "repeat": lambda fields: self._repeated(fields, *_counts(fields)),
            "sequence": lambda fields: Series(self._elements(fields)),
            "star": lambda fields: self._repeated(fields, 0, None),
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
            node = TriggeredTags(_triggers(fields, tags), tags, (), at_least_one=False, stop_after_first=False)
        else:
            raise _refuse(_STRUCTURAL_TAG, "needs format, or structures and triggers")
        fields.check_no_others()
        return node

    def _structure(self, given: Any, path: str) -> Tag:
        fields = _Fields(given, path)
        tag = Tag(fields.text("begin"), fields.schema("schema"), (fields.text("end"),))
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
        is_one = isinstance(fields.get("end", (str, list), "a string or a list of strings"), str)
        ends = (fields.text("end"),) if is_one else fields.texts("end")
        return Tag(fields.text("begin"), self._content(fields), ends)

    def _content(self, fields: _Fields) -> Node:
        return self._node(fields.get("content", Mapping, "a format"), f"{fields.path}.content")

    def _repeated(self, fields: _Fields, low: int, high: int | None) -> Node:
        content = self._content(fields)
        if not isinstance(content, Regular):
            return Repeated(content, low, high)
        pattern = repeat(content.pattern, low, high)
        check_extent(fields.path, [pattern])
        return Regular(pattern)

    def _dispatch(self, fields: _Fields) -> Node:
        """Tags by another name: each has its trigger as its beginning, and no end."""
        tags = []
        for rule, path in fields.items("rules", "pairs of a text and a format"):
            if not (isinstance(rule, list) and len(rule) == 2 and isinstance(rule[0], str) and rule[0]):
                raise _refuse(path, f"must be a pair of a non-empty text and a format, not {shown(rule)}")
            tags.append(Tag(rule[0], self._node(rule[1], f"{path}[1]"), ("",)))
        triggers = [(tag.begin, f"{fields.path}.rules[{index}][0]") for index, tag in enumerate(tags)]
        return TriggeredTags(
            _told_apart(triggers),
            tuple(tags),
            _excludes(fields, [trigger for trigger, _ in triggers]),
            at_least_one=False,
            stop_after_first=not fields.flag("loop", default=True),
        )

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
        triggers = _triggers(fields, tags)
        return TriggeredTags(
            triggers,
            tags,
            _excludes(fields, triggers),
            fields.flag("at_least_one"),
            fields.flag("stop_after_first"),
        )

    def _separated_tags(self, fields: _Fields) -> Node:
        return SeparatedTags(
            self._tags(fields), fields.text("separator"), fields.flag("at_least_one"), fields.flag("stop_after_first")
        )


def _triggers(fields: _Fields, tags: Iterable[Tag]) -> tuple[str, ...]:
    """As of `_told_apart`."""
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
    return _told_apart(given)


def _told_apart(given: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """given: triggers, each with its path. Without those that begin with another: that one is there first."""
    texts = [trigger for trigger, _ in given]
    for trigger, path in given:
        within = next((other for other in texts if other in trigger and not trigger.startswith(other)), None)
        if within is not None:
            raise _refuse(path, f"is {shown(trigger)}, which holds another trigger, {shown(within)}")
    return tuple(one for one in dict.fromkeys(texts) if not any(one != o and one.startswith(o) for o in texts))


def _excludes(fields: _Fields, triggers: Sequence[str] = ()) -> tuple[str, ...]:
    """Texts that are not to be there. None is a part of a trigger."""
    if not fields.get("excludes", list, "a list of strings", default=[]):
        return ()
    excludes = fields.texts("excludes")
    for text in excludes:
        if not text:
            raise _refuse(f"{fields.path}.excludes", f"must be non-empty strings, not {shown(list(excludes))}")
        within = next((trigger for trigger in triggers if text in trigger), None)
        if within is not None:
            raise _refuse(f"{fields.path}.excludes", f"has {shown(text)}, so that {shown(within)} could never be there")
    return excludes


def _any_text(fields: _Fields) -> Node:
    fields.check_default("max_tokens", None, "max_chars says how long it may be")
    excludes = _excludes(fields)
    if not fields.has("max_chars"):
        pattern = texts_without(f"{fields.path}.excludes", excludes) if excludes else repeat(chars(cs.ANY), 0, None)
        return Regular(pattern)
    if excludes:
        raise _refuse(fields.path, "has both excludes and max_chars; only one of them is supported")
    pattern = repeat(chars(cs.ANY), 0, fields.count("max_chars", 0))
    check_extent(f"{fields.path}.max_chars", [pattern])
    return Regular(pattern)


def _json_schema(fields: _Fields) -> Node:
    """With the fields that xgrammar writes, which knows more styles."""
    schema = fields.schema("json_schema")
    style = fields.get("style", str, "'json' or 'qwen_xml'", default="json")
    if style not in ("json", "qwen_xml"):
        raise _refuse(f"{fields.path}.style", f"must be 'json' or 'qwen_xml', not {shown(style)}")
    fields.check_default("any_order", False, "properties come in the order of the schema")
    fields.check_default("max_whitespace_cnt", None, "there is no white space but for what whitespace_pattern allows")
    fields.check_default("excludes", [], "a pattern in the schema says what a string may not hold")
    return schema if style == "json" else XmlArguments(schema)


def _counts(fields: _Fields) -> tuple[int, int | None]:
    low, high = fields.count("min", 0), fields.count("max", -1)
    if 0 <= high < low:
        raise _refuse(f"{fields.path}.max", f"must be -1 for no limit or at least min, which is {low}, not {high}")
    return low, None if high < 0 else high
