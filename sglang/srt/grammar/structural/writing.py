"""A structural tag written as rules of llguidance.

The library reads a lexeme as far as any lexeme that is allowed at that place goes on, and never comes back. So parts
may follow each other, or stand beside each other, only where none begins with all of what may stand there instead; else
the structural tag is refused. Tags need no such care: they are over at the first place where they can be, and the
beginnings of several are written as a trie.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.charset import CharSet
from sglang.srt.grammar.ebnf import ROOT
from sglang.srt.grammar.json_schema import json_schema_rules
from sglang.srt.grammar.lark import TerminalWriter, lexed_rules, times
from sglang.srt.grammar.lexemes import cut_into_lexemes
from sglang.srt.grammar.overruns import continuations
from sglang.srt.grammar.pattern import (
    EMPTY_TEXT,
    NOTHING,
    Chars,
    Concat,
    Pattern,
    Ref,
    Repeat,
    Union,
    chars,
    concat,
    is_nullable,
    literal,
    repeat,
    union,
)
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
from sglang.srt.grammar.structural.parts import EMPTY, Joiner, Part
from sglang.srt.grammar.structural.xml_writing import XmlWriter

_JSON_BEGINS = {
    "object": "{",
    "array": "[",
    "string": '"',
    "integer": "-0123456789",
    "number": "-0123456789",
    "boolean": "tf",
    "null": "n",
}
_NUMBER = cs.characters("+-.0123456789eE")
_ANY_CHARACTER = chars(cs.ANY)
_SOME_TEXT = repeat(_ANY_CHARACTER, 1, None)
_ANY_TEXT = repeat(_ANY_CHARACTER, 0, None)


def structural_rules(node: Node, name: str, unless: str = "", whitespace: str = "") -> str:
    """The rule `name`; the names of all other rules begin with it.

    unless: a terminal; free text at the beginning does not match it. whitespace: of the schemas.
    Raises InvalidRequestError for what cannot be told apart, and for schemas that cannot be enforced.
    """
    return _Writer(name, unless, whitespace).text(node)


class _Writer:
    def __init__(self, name: str, unless: str, whitespace: str) -> None:
        self._name = name
        self._whitespace = whitespace
        self._unless = unless
        self._joiner = Joiner()
        self._patterns = TerminalWriter(f"{name.upper()}_")
        self._terminals: dict[str, str] = {}
        self._rules: list[str] = []
        self._schemas: dict[str, str] = {}
        self._num_grammars = 0
        self._xml = XmlWriter(f"{name}_xml", self._part)

    def text(self, node: Node) -> str:
        top = self._triggered(node, self._unless) if isinstance(node, TriggeredTags) else self._part(node)
        terminals = [f"{name}: {body}" for body, name in self._terminals.items()]
        return (
            "\n".join(
                [f"{self._name}: {top.text}", *terminals, *self._patterns.definitions, *self._rules, *self._xml.rules]
            )
            + "\n"
        )

    def _part(self, node: Node) -> Part:
        match node:
            case Regular(pattern):
                part = self._regular(pattern)
            case Schema(text, path):
                part = self._schema(text, path)
            case XmlArguments():
                part = self._xml.part(node, ())
            case Recursive():
                part = self._recursive(node, EMPTY_TEXT)
            case Series(nodes):
                part = self._series(nodes)
            case Choice(nodes):
                part = self._choice(nodes)
            case Repeated():
                part = self._repeated(node)
            case Tag():
                part = self._tags([node], 0)
            case SeparatedTags():
                part = self._separated(node)
            case TriggeredTags():
                part = self._triggered(node, "")
        return part

    # --- what has no parts

    def _terminal(self, body: str) -> str:
        return self._terminals.setdefault(body, f"{self._name.upper()}_TEXT_{len(self._terminals)}")

    def _regular(self, pattern: Pattern) -> Part:
        if pattern == EMPTY_TEXT:
            return EMPTY
        goes_on, text = _continuations(pattern), self._patterns.write(pattern)
        if is_nullable(pattern):
            some = self._terminal(f"({text}) & {self._patterns.write(_SOME_TEXT)}")
            return Part(f"{some}?", pattern, union([pattern, goes_on]), may_be_empty=True)
        return Part(self._terminal(text), pattern, goes_on)

    def _schema(self, text: str, path: str) -> Part:
        if text not in self._schemas:
            self._schemas[text] = f"{self._name}_json_{len(self._schemas)}"
            try:
                self._rules.append(json_schema_rules(text, self._schemas[text], self._whitespace))
            except InvalidRequestError as error:
                raise InvalidRequestError(f"{path} cannot be enforced: {error}") from error
        begins = cs.characters("".join(_JSON_BEGINS[kind] for kind in _json_types(text)))
        goes_on = chars(_NUMBER) if cs.overlap(begins, _NUMBER) else NOTHING
        return Part(self._schemas[text], chars(begins), goes_on, is_json=True)

    def _recursive(self, grammar: Recursive, end: Pattern) -> Part:
        """With `end` after it. If that can be told from whatever may follow, it goes on with nothing."""
        name = f"{self._name}_grammar_{self._num_grammars}"
        self._num_grammars += 1
        with_end, following = f"{ROOT} with its end", "what follows"
        rules = {
            **grammar.rules.rules,
            following: _ANY_TEXT,
            with_end: concat([Ref(ROOT), end]),
            name: concat([Ref(with_end), Ref(following)]),
        }
        lexed = cut_into_lexemes(name, rules)
        is_over = _SOME_TEXT in lexed.lexemes
        if not is_over:
            lexed = cut_into_lexemes(
                with_end, {rule: body for rule, body in rules.items() if rule not in (name, following)}
            )
        self._rules.append(lexed_rules(lexed, with_end, name))
        return Part(name, chars(_first_chars(grammar.rules.rules)), NOTHING if is_over else _ANY_CHARACTER)

    # --- one after the other, and beside each other

    def _series(self, nodes: Sequence[Node]) -> Part:
        flat = [inner for node in nodes for inner in (node.parts if isinstance(node, Series) else (node,))]
        parts = []
        for is_regular, group in itertools.groupby(flat, lambda node: isinstance(node, Regular)):
            if is_regular:
                parts.append(self._regular(concat(one.pattern for one in group if isinstance(one, Regular))))
            else:
                parts += map(self._part, group)
        whole = EMPTY
        for part in parts:
            whole = self._joiner.followed(whole, part)
        return whole

    def _choice(self, nodes: Sequence[Node]) -> Part:
        regular = [node.pattern for node in nodes if isinstance(node, Regular)]
        parts = [self._regular(union(regular))] if regular else []
        tags = [node for node in nodes if isinstance(node, Tag)]
        if tags:
            parts.append(self._tags(tags, 0))
        return self._joiner.one_of(
            [*parts, *(self._part(node) for node in nodes if not isinstance(node, (Regular, Tag)))]
        )

    def _repeated(self, node: Repeated) -> Part:
        one = self._part(node.content)
        if node.high == 0:
            return EMPTY
        goes_on = one.goes_on
        if node.high != 1:
            self._joiner.followed(one, one)
            goes_on = union([goes_on, one.begins])
        may_be_empty = one.may_be_empty or node.low == 0
        if may_be_empty:
            goes_on = union([goes_on, one.begins])
        low = 0 if one.may_be_empty else node.low
        return Part(f"({one.text}){times(low, node.high)}", one.begins, goes_on, may_be_empty)

    # --- tags

    def _tags(self, tags: Sequence[Tag], num_read: int) -> Part:
        """One of the tags, all of which begin with the same `num_read` characters, but for these."""
        begun = [tag for tag in tags if len(tag.begin) == num_read]
        regular = [tag for tag in begun if isinstance(tag.content, Regular) and "" not in tag.ends]
        parts = [self._regular_rests(regular)] if regular else []
        parts += [self._rest(tag) for tag in begun if tag not in regular]
        others = sorted((tag for tag in tags if len(tag.begin) > num_read), key=lambda tag: tag.begin)
        for _, group in itertools.groupby(others, lambda tag: tag.begin[num_read]):
            alike = list(group)
            end = _length_in_common(alike[0].begin, alike[-1].begin)
            opening = self._regular(literal(alike[0].begin[num_read:end]))
            parts.append(self._joiner.followed(opening, self._tags(alike, end)))
        return self._joiner.one_of(parts)

    def _regular_rests(self, tags: Sequence[Tag]) -> Part:
        """As `_rest`, of one of the tags, whose contents are regular."""
        rests = union(concat([_pattern(tag.content), tag.end]) for tag in tags)
        part = self._regular(rests)
        if part.goes_on == NOTHING:
            return part
        whole, more = self._patterns.write(rests), self._patterns.write(_SOME_TEXT)
        terminal = self._terminal(f"({whole}) & ~(({whole}) {more})")
        return replace(part, text=terminal, goes_on=NOTHING)

    def _rest(self, tag: Tag) -> Part:
        """What comes after its beginning. Where that has no end it may go on as its content does."""
        content = tag.content
        if tag.ends == ("",):
            return self._part(content)
        if isinstance(content, Recursive):
            part = self._recursive(content, tag.end)
        elif isinstance(content, XmlArguments):
            part = self._xml.part(content, tag.ends)
        else:
            part = self._joiner.followed(self._part(content), self._regular(tag.end))
        if part.goes_on != NOTHING:
            raise InvalidRequestError(
                f"structural_tag has a tag whose end {_shown(tag.ends)} cannot be told from its content, {_named(tag)}"
                "; give it another end"
            )
        return part

    def _separated(self, node: SeparatedTags) -> Part:
        one = self._tags(node.tags, 0)
        text, goes_on = f"({one.text})", one.goes_on
        if not node.stop_after_first:
            again = self._joiner.followed(self._regular(literal(node.separator)), one)
            self._joiner.followed(one, again)
            text, goes_on = f"{text} ({again.text})*", union([goes_on, again.begins])
        if node.at_least_one:
            return Part(text, one.begins, goes_on)
        return Part(f"({text})?", one.begins, union([one.begins, goes_on]), may_be_empty=True)

    def _triggered(self, node: TriggeredTags, unless: str) -> Part:
        """Text up to and including a trigger is one lexeme. It holds no other trigger, so it cannot go on.

        unless: as of `structural_rules`.
        """
        rests = {trigger: self._after(node, trigger) for trigger in node.triggers}
        more = "" if node.stop_after_first else f" ({self._found_tag(node, rests, '')})* {self._free_text(node, '')}?"
        if node.at_least_one:
            first = self._tags(node.tags, 0)
            return Part(f"({first.text}){more}", first.begins, first.goes_on if not more else _ANY_CHARACTER)
        text = f"({self._found_tag(node, rests, unless)}){more} | {self._free_text(node, unless)}"
        return Part(f"({text})?", _ANY_CHARACTER, _ANY_CHARACTER, may_be_empty=True)

    def _after(self, node: TriggeredTags, trigger: str) -> str:
        """What comes after it."""
        tags = [tag for tag in node.tags if tag.begin.startswith(trigger)]
        rest = self._tags(tags, len(trigger))
        if rest.goes_on != NOTHING and not node.stop_after_first:
            endless = next(tag for tag in tags if tag.ends == ("",))
            raise InvalidRequestError(
                f"structural_tag has a tag without an end, {_named(endless)}, that may go on where other text may "
                "follow; give it an end"
            )
        return rest.text

    def _found_tag(self, node: TriggeredTags, rests: Mapping[str, str], unless: str) -> str:
        """Text without triggers, and a tag. rests: by trigger, what comes after it."""
        any_text, some_text = self._patterns.write(_ANY_TEXT), self._patterns.write(_SOME_TEXT)
        too_long = f"{any_text} {self._one_of(node.triggers)} {some_text}"
        options = []
        for trigger, rest in rests.items():
            found = f"({any_text} {self._patterns.write(literal(trigger))}) & ~({too_long})"
            options.append(f"{self._terminal(found + self._but_not(node.excludes, unless))} {rest}")
        return " | ".join(options)

    def _free_text(self, node: TriggeredTags, unless: str) -> str:
        any_text, some_text = self._patterns.write(_ANY_TEXT), self._patterns.write(_SOME_TEXT)
        with_trigger = f"{any_text} {self._one_of(node.triggers)} {any_text}"
        return self._terminal(f"{some_text} & ~({with_trigger}){self._but_not(node.excludes, unless)}")

    def _but_not(self, excludes: Sequence[str], unless: str) -> str:
        """Of a terminal: it holds nothing that is excluded, and is none of `unless`."""
        any_text = self._patterns.write(_ANY_TEXT)
        with_excluded = f" & ~({any_text} {self._one_of(excludes)} {any_text})" if excludes else ""
        return with_excluded + (f" & ~{unless}" if unless else "")

    def _one_of(self, texts: Iterable[str]) -> str:
        return f"({self._patterns.write(union(map(literal, texts)))})"


def _length_in_common(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _continuations(pattern: Pattern) -> Pattern:
    try:
        return chars(continuations(pattern))
    except InvalidRequestError as error:
        raise InvalidRequestError(
            "structural_tag has a regular expression that is too large to tell where it ends"
        ) from error


def _first_chars(rules: Mapping[str, Pattern]) -> CharSet:
    """What a text of ROOT may begin with, and perhaps more: every rule counts as one that may be empty."""
    found: list[CharSet] = []
    left: list[Pattern] = [Ref(ROOT)]
    seen: set[str] = set()
    while left:
        match left.pop():
            case Chars(members):
                found.append(members)
            case Ref(name) if name not in seen:
                seen.add(name)
                left.append(rules[name])
            case Concat(parts):
                for part in parts:
                    left.append(part)
                    if not (is_nullable(part) or isinstance(part, Ref)):
                        break
            case Union(options):
                left += options
            case Repeat(body):
                left.append(body)
    return cs.union(*found)


def _json_types(schema: str) -> list[str]:
    """Of the values that are valid, and perhaps others. Beside a ``$ref`` a type may mean nothing: so in draft-07."""
    root = json.loads(schema)
    types = root.get("type") if isinstance(root, dict) and not {"$schema", "$ref"} <= root.keys() else None
    named = types if isinstance(types, list) else [types]
    return [kind for kind in _JSON_BEGINS if kind in named] or list(_JSON_BEGINS)


def _pattern(node: Node) -> Pattern:
    assert isinstance(node, Regular)
    return node.pattern


def _named(tag: Tag) -> str:
    return f"the one that begins with {shown(tag.begin)}"


def _shown(ends: tuple[str, ...]) -> str:
    return shown(ends[0] if len(ends) == 1 else list(ends))
