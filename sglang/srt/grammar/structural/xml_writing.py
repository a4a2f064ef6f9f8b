"""Arguments between tags as rules: those that are required, in order, and any of the others."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.pattern import NOTHING, chars, literal, repeat, union
from sglang.srt.grammar.structural.nodes import Node, Regular, Schema, Tag, XmlArguments
from sglang.srt.grammar.structural.parts import EMPTY, Part
from sglang.srt.grammar.xml_arguments import QWEN_ARGUMENTS, Argument, read_arguments

_BETWEEN = "\n"
_BRACKET = literal("<")
_ANY_TEXT = repeat(chars(cs.ANY), 0, None)


class XmlWriter:
    """part_of: writes what stands between the tags of one argument, with them. `rules` grow by those of `part`."""

    def __init__(self, name: str, part_of: Callable[[Node], Part]) -> None:
        self._name = name
        self._part_of = part_of
        self.rules: list[str] = []

    def part(self, node: XmlArguments, ends: Sequence[str]) -> Part:
        """All arguments, and one of `ends` after them, if there are any. Rules whose names begin with this one's are
        its own.

        Raises InvalidRequestError for schemas that tags cannot say, and an end that may be taken for an argument.
        """
        arguments = _arguments(node.schema)
        has_end = any(ends)
        tail = self._part_of(Regular(union(map(literal, ends)))) if has_end else EMPTY
        name = f"{self._name}_{len(self.rules)}"
        after = [f"{name}_after_{place}" for place in range(len(arguments) + 1)]
        self.rules.append(f"{after[-1]}: {tail.text}")
        for place in reversed(range(len(arguments))):
            written = self._written(arguments[place], _BETWEEN, node.schema.path)
            rest = "" if arguments[place].is_required else f" | {after[place + 1]}"
            self.rules.append(f"{after[place]}: {written} {after[place + 1]}{rest}")
        starts = [self._written(one, "", node.schema.path) for one in _reached(arguments)]
        options = [f"{start} {rest}" for start, rest in zip(starts, after[1:], strict=False)]
        if not any(one.is_required for one in arguments):
            options.append(after[-1])
            begins = union([_BRACKET if starts else NOTHING, tail.begins])
        else:
            begins = _BRACKET
        self.rules.append(f"{name}: {' | '.join(options)}")
        if has_end:
            _check_ends(ends, arguments)
            return Part(name, begins, NOTHING)
        may_be_empty = after[-1] in options
        goes_on = NOTHING if not arguments or arguments[-1].is_required else literal(_BETWEEN)
        return Part(name, begins, union([begins, goes_on]) if may_be_empty else goes_on, may_be_empty)

    def _written(self, argument: Argument, before: str, path: str) -> str:
        begin, end = QWEN_ARGUMENTS.around(argument.key)
        return self._part_of(Tag(before + begin, _value(argument, path), (end,))).text


def _arguments(schema: Schema) -> list[Argument]:
    arguments = read_arguments(schema.text)
    if arguments is None:
        raise InvalidRequestError(
            f"{schema.path} has to be an object whose properties are schemas that stand alone, with required and "
            "additionalProperties: false beside them and nothing else, since nothing else can be said between tags; "
            f"it is {shown(json.loads(schema.text))}"
        )
    return arguments


def _reached(arguments: Sequence[Argument]) -> Sequence[Argument]:
    """Those that may come first: up to one that is required."""
    required = (place for place, one in enumerate(arguments) if one.is_required)
    return arguments[: next(required, len(arguments)) + 1]


def _check_ends(ends: Sequence[str], arguments: Sequence[Argument]) -> None:
    """Where an argument may be left out, one of the next may stand, or the end."""
    for argument in _reached(arguments[::-1]):
        if argument.is_required:
            return
        begin, _ = QWEN_ARGUMENTS.around(argument.key)
        for before, end in itertools.product((begin, _BETWEEN + begin), ends):
            if before.startswith(end) or end.startswith(before):
                raise InvalidRequestError(
                    f"structural_tag has a tag whose end {shown(end)} cannot be told from {shown(before)}, with which "
                    "an argument begins; give it another end"
                )


def _value(argument: Argument, path: str) -> Node:
    if argument.is_any_text:
        return Regular(_ANY_TEXT)
    if argument.texts:
        return Regular(union(map(literal, argument.texts)))
    return Schema(argument.schema, f"{path}.properties.{argument.key}")
