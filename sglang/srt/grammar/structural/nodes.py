"""What a structural tag is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from sglang.srt.grammar.pattern import Pattern, literal, union
from sglang.srt.grammar.recursive import Rules


@dataclass(frozen=True)
class Regular:
    pattern: Pattern


@dataclass(frozen=True)
class Schema:
    """text: JSON. path: where it is given."""

    text: str
    path: str = field(compare=False)


@dataclass(frozen=True)
class XmlArguments:
    """The properties of an object, each between tags. schema: of the object."""

    schema: Schema


@dataclass(frozen=True)
class Recursive:
    """A grammar that is no regular expression."""

    rules: Rules


@dataclass(frozen=True)
class Series:
    """The parts one after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of the options."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeated:
    """The content `low` to `high` times; None is without limit."""

    content: Node
    low: int
    high: int | None


@dataclass(frozen=True)
class Tag:
    """It is over at the first place where it can be, with one of `ends`; so what stands in its content up to there is
    no end. Where the end is empty it is over where its content is.
    """

    begin: str
    content: Node
    ends: tuple[str, ...]

    @property
    def end(self) -> Pattern:
        return union(map(literal, self.ends))


@dataclass(frozen=True)
class TriggeredTags:
    """Any text, in which every trigger is the beginning of a tag. excludes: what the text between tags does not hold.
    at_least_one: a tag comes first. stop_after_first: the first tag ends it.
    """

    triggers: tuple[str, ...]
    tags: tuple[Tag, ...]
    excludes: tuple[str, ...]
    at_least_one: bool
    stop_after_first: bool


@dataclass(frozen=True)
class SeparatedTags:
    """Nothing but tags. stop_after_first: there is one at most."""

    tags: tuple[Tag, ...]
    separator: str
    at_least_one: bool
    stop_after_first: bool


def has_schema(node: Node) -> bool:
    match node:
        case Schema() | XmlArguments():
            return True
        case Series(inner) | Choice(inner) | TriggeredTags(tags=inner) | SeparatedTags(tags=inner):
            return any(map(has_schema, inner))
        case Tag(content=content) | Repeated(content=content):
            return has_schema(content)
    return False


Node = Regular | Schema | XmlArguments | Recursive | Series | Choice | Repeated | Tag | TriggeredTags | SeparatedTags
