"""One JSON Schema document: its schemas by place, and what the references in it mean."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import unquote, urldefrag, urljoin

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar.limits import MAX_SCHEMA_NESTING
from sglang.srt.grammar.schema.keywords import EXCLUSIVE, check_keywords, children

MAX_PLACES = 16 * 1024 * 1024
"""Characters of the places of all schemas together: what lies in a property has the name of that in its own."""

_OWN_BASE = "http://schema.invalid/"
_LEGACY = ("draft-04", "draft-06", "draft-07")
_LATER = (
    *("prefixItems", "unevaluatedItems", "minContains", "maxContains", "dependentRequired", "dependentSchemas"),
    *("unevaluatedProperties", "$dynamicRef"),
)
"""Keywords that mean nothing in those drafts."""


@dataclass(frozen=True)
class Node:
    """A schema of the document.

    place: its JSON pointer; a synthetic one, made from a value, continues the pointer. scope: the resources entered on
    the way to it, outermost first, as far as a dynamic reference may ask for them.
    """

    place: str
    scope: tuple[str, ...]
    schema: Any = field(compare=False)
    base: str = field(compare=False)


class Document:
    """is_legacy: of a draft before 2019-09. refs_replace: ``$ref`` replaces what stands beside it, as those drafts say;
    not where one is named as none is called, with https: there some validators look at what stands beside it, too.
    """

    def __init__(self, text: str) -> None:
        root = _parsed(text)
        dialect = root.get("$schema", "") if isinstance(root, dict) else ""
        self.is_legacy = isinstance(dialect, str) and any(draft in dialect for draft in _LEGACY)
        self.refs_replace = self.is_legacy and not dialect.startswith("https:")
        self._dialect = dialect
        self._bases: dict[str, str] = {}  # by place
        self._room_for_places = MAX_PLACES
        self._resources: dict[str, tuple[str, Any]] = {}
        self._anchors: dict[tuple[str, str], tuple[str, Any]] = {}
        self._dynamic: set[tuple[str, str]] = set()
        self._has_dynamic_references = False
        self.tracks_evaluation = False
        self._index("#", root, _OWN_BASE, dialect)
        self.root = self._node("#", root, ())

    def child(self, node: Node, *steps: str) -> Node:
        """The schema at these steps within the schema of `node`."""
        inner = node.schema
        for step in steps:
            inner = inner[int(step)] if isinstance(inner, list) else inner[step]
        if isinstance(inner, Node):
            return inner
        place = "/".join([node.place, *map(_escaped, steps)])
        if place not in self._bases:
            self._bases[place] = node.base
        return self._node(place, inner, node.scope)

    def made(self, node: Node, schema: Any, *steps: str) -> Node:
        """A synthetic schema, which may have nodes for schemas. Of one node the same steps mean the same schema."""
        return Node("/".join([node.place, *map(_escaped, steps)]), node.scope, schema, node.base)

    def target(self, node: Node, keyword: str) -> Node:
        """Of ``$ref`` or ``$dynamicRef``. Raises InvalidRequestError where there is none in the document."""
        reference = node.schema[keyword]
        uri, fragment = urldefrag(_joined(node.base, reference))
        found = self._anchors.get((uri, fragment)) if fragment and not fragment.startswith("/") else None
        if found is None and (not fragment or fragment.startswith("/")) and uri in self._resources:
            found = self._pointed(node, keyword, uri, fragment)
        if found is None:
            raise InvalidRequestError(
                f"json_schema has {keyword} {shown(reference)} at {node.place}, which is not in the schema itself"
            )
        if keyword == "$dynamicRef" and (uri, fragment) in self._dynamic:
            outermost = next(base for base in (*node.scope, uri) if (base, fragment) in self._dynamic)
            found = self._anchors[outermost, fragment]
        return self._node(*found, node.scope)

    def _pointed(self, node: Node, keyword: str, uri: str, fragment: str) -> tuple[str, Any] | None:
        place, inner = self._resources[uri]
        base = uri
        for step in map(_unescaped, unquote(fragment).split("/")[1:]):
            if isinstance(inner, dict) and step in inner:
                inner = inner[step]
            elif isinstance(inner, list) and step.isdecimal() and int(step) < len(inner):
                inner = inner[int(step)]
            else:
                return None
            place = f"{place}/{_escaped(step)}"
            base = self._bases.get(place, base)
        if place not in self._bases:
            self._index(place, inner, base, self._dialect)
        return place, inner

    def _node(self, place: str, schema: Any, scope: tuple[str, ...]) -> Node:
        base = self._bases[place]
        if self._has_dynamic_references and base not in scope:
            scope = (*scope, base)
        return Node(place, scope, schema, base)

    def _index(self, place: str, schema: Any, base: str, dialect: Any) -> None:
        left = [(place, schema, base, 0)]
        while left:
            place, schema, base, depth = left.pop()
            if depth > MAX_SCHEMA_NESTING:
                raise too_deep(json.dumps(schema, default=str))
            check_keywords(place, schema)
            if isinstance(schema, dict):
                base = self._identified(place, schema, base)
                self._check_dialect(place, schema, dialect)
            self._bases[place] = base
            inside = [(self._place(place, steps), inner) for steps, inner in children(schema)]
            left += [(inner_place, inner, base, depth + 1) for inner_place, inner in reversed(inside)]

    def _place(self, outer: str, steps: tuple[str, ...]) -> str:
        place = "/".join([outer, *map(_escaped, steps)])
        self._room_for_places -= len(place)
        if self._room_for_places < 0:
            raise InvalidRequestError(
                f"json_schema has schemas whose places have more than {MAX_PLACES} characters together, one at "
                f"{shown(place)}"
            )
        return place

    def _identified(self, place: str, schema: dict[str, Any], base: str) -> str:
        """The base of the schema, which is noted under its names."""
        name = schema.get("$id", schema.get("id", ""))
        if name and "$ref" in schema and not self._dialect:
            raise InvalidRequestError(
                f"json_schema has an identifier beside $ref at {place}, which means different things in different "
                "drafts; say which with $schema"
            )
        if self.refs_replace and "$ref" in schema:
            name = ""
        uri, fragment = urldefrag(_joined(base, name))
        if place == "#" or uri != base:
            self._resources.setdefault(uri, (place, schema))
        if place == "#":
            self._resources.setdefault(_OWN_BASE, (place, schema))
        anchors = [fragment, schema.get("$anchor", ""), dynamic := schema.get("$dynamicAnchor", "")]
        for anchor in filter(None, anchors):
            self._anchors.setdefault((uri, anchor), (place, schema))
        if dynamic:
            self._dynamic.add((uri, dynamic))
        self._has_dynamic_references |= "$dynamicRef" in schema
        self.tracks_evaluation |= "unevaluatedItems" in schema or "unevaluatedProperties" in schema
        return uri

    def _check_dialect(self, place: str, schema: dict[str, Any], dialect: Any) -> None:
        own = schema.get("$schema", dialect)
        if own and "//json-schema.org/" not in own:
            raise InvalidRequestError(
                f"json_schema has $schema {shown(own)} at {place}; only the drafts of json-schema.org are known"
            )
        if self._dialect and any(draft in own for draft in _LEGACY) != self.is_legacy:
            raise InvalidRequestError(f"json_schema has another $schema at {place}: {shown(own)}; it may have only one")
        for keyword, bound in EXCLUSIVE.items() if "draft-04" not in self._dialect else ():
            if isinstance(schema.get(keyword), bool) and (own or bound not in schema):
                raise InvalidRequestError(
                    f"json_schema has {keyword} {shown(schema[keyword])} at {place}, which is draft-04; it has to be a "
                    f"number, or {bound!r} to stand beside it and $schema to name that draft or nothing"
                )
        for keyword in _LATER if self.is_legacy else ():
            if keyword in schema:
                raise InvalidRequestError(
                    f"json_schema has {keyword!r} at {place}, which is no keyword of {shown(self._dialect)}; give "
                    "draft 2020-12 as $schema, or none"
                )


def too_deep(text: str) -> InvalidRequestError:
    return InvalidRequestError(f"json_schema is nested more than {MAX_SCHEMA_NESTING} levels deep: {shown(text)}")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except ValueError as error:
        raise InvalidRequestError(f"json_schema is not JSON: {error}: {shown(text)}") from error
    except RecursionError as error:
        raise too_deep(text) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _joined(base: str, reference: str) -> str:
    """Also where the base is a name without a path, like ``urn:...``."""
    return base + reference if reference.startswith("#") else urljoin(base, reference)


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def _unescaped(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")
