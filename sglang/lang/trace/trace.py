"""What a program did: a tree of its nodes, and of the forks that went on from it, as far as it has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sglang.lang import ir
from sglang.lang.execution.steps import CachePrefix, Extend, Fill, Fork, Record
from sglang.lang.execution.variables import Several, Value
from sglang.lang.trace.nodes import Kind, Status, TraceNode, TraceNodes, Usage, sum_of_known

if TYPE_CHECKING:
    from rich.tree import Tree

_TITLES: dict[type, tuple[Kind, str]] = {
    ir.ConstantText: ("text", "text"),
    ir.Gen: ("gen", "gen {0.name}"),
    ir.TypedGen: ("gen", "gen {0.name}"),
    ir.Select: ("select", "select {0.name}"),
    ir.Variable: ("variable", "variable {0.name}"),
    ir.RoleBegin: ("role", "{0.role} begins"),
    ir.RoleEnd: ("role", "{0.role} ends"),
    ir.VarScopeBegin: ("scope", "scope {0.name} begins"),
    ir.VarScopeEnd: ("scope", "scope {0.name} ends"),
    ir.MediaInput: ("media", "{0.media.kind}"),
    Fork: ("fork", "fork of {0.size}"),
    Extend: ("join", "text of a fork"),
    CachePrefix: ("prefix", "compute the prefix"),
}


class Trace(TraceNodes):
    """Of a state: what it did itself, and the forks of it. Does not change any more; ask the state for a newer one.

    Printed, it is a tree; `save` makes a page of it.
    """

    __slots__ = ()

    def __rich__(self) -> Tree:
        from sglang.lang.trace.tree import tree

        return tree(self)

    def __str__(self) -> str:
        from sglang.lang.trace.tree import plain_text

        return plain_text(self)

    def to_html(self) -> str:
        """A page that needs nothing else."""
        from sglang.lang.trace.page import page

        return page(self)

    def save(self, path: str | Path) -> None:
        """Write the page to a file. Raises OSError. A lone surrogate, which no file can hold, is written out."""
        Path(path).write_text(self.to_html(), encoding="utf-8", errors="backslashreplace")


def trace_of(records: Sequence[Record]) -> Trace:
    start = min((record.queued for record in list(records)), default=0.0)
    return Trace(_nodes(records, start))


def _nodes(records: Sequence[Record], start: float) -> tuple[TraceNode, ...]:
    """Those of the innermost forks first. Without recursion, since forks may lie in forks to any depth."""
    states = [list(records)]  # which may grow meanwhile
    first_branch: dict[int, int] = {}
    for state in states:
        for record in state:
            first_branch[id(record)] = len(states)
            states.extend(map(list, record.branches))
    made: list[tuple[TraceNode, ...]] = [()] * len(states)
    for index in reversed(range(len(states))):
        nodes = []
        for record in states[index]:
            first = first_branch[id(record)]
            nodes.append(_node(record, start, tuple(made[first : first + len(record.branches)])))
        made[index] = tuple(nodes)
    return made[0]


def _node(record: Record, start: float, branches: tuple[tuple[TraceNode, ...], ...]) -> TraceNode:
    node = record.node.node if isinstance(record.node, Fill) else record.node
    kind, title = _described(node)
    meta_infos = _meta_infos(record.value)
    began, ended = _since(start, record.began), _since(start, record.ended)
    if kind == "fork":
        began = ended = record.queued - start
    first_token = _since(start, record.first_token)
    waited = _number(meta_infos[:1], "first_token_latency")
    if first_token is None and began is not None and waited is not None:
        first_token = began + waited
    return TraceNode(
        kind=kind,
        title=title,
        name=getattr(node, "name", None),
        status=_status(record, ended),
        file=record.line.file,
        line=record.line.line,
        queued=record.queued - start,
        began=began,
        first_token=first_token,
        ended=ended,
        text="".join(record.texts),
        is_request=record.began is not None and _asks(node, record.value),
        samples=tuple(one.text for one in record.value.values) if isinstance(record.value, Several) else (),
        choices=node.choices if isinstance(node, ir.Select) else (),
        constraint=_constraint(node),
        at_limit=_at_limit(meta_infos),
        usage=_usage(meta_infos),
        error=None if record.failure is None else str(record.failure),
        branches=branches,
    )


def _described(node: Any) -> tuple[Kind, str]:
    kind, title = _TITLES[type(node)]
    return kind, title.format(node).removesuffix(" None")


def _asks(node: object, value: Value | None) -> bool:
    match node:
        case ir.Select():
            return not node.is_decided
        case CachePrefix():
            return value is not None
    return isinstance(node, ir.Gen)


def _status(record: Record, ended: float | None) -> Status:
    if record.failure is not None:
        return "failed"
    if ended is not None or isinstance(record.node, Fork):
        return "done"
    return "waiting" if record.began is None else "running"


def _constraint(node: object) -> str | None:
    held_to = node.sampling.constraint() if isinstance(node, ir.Gen) else None
    return held_to and " ".join(held_to)


def _meta_infos(value: Value | None) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    return value.meta_info if isinstance(value, Several) else [value.meta_info]


def _at_limit(meta_infos: Sequence[Mapping[str, Any]]) -> Literal["cut off", "closed"] | None:
    """Of several samples the worst."""
    finishes = [meta_info.get("finish_reason") for meta_info in meta_infos]
    at_limit = [finish for finish in finishes if isinstance(finish, Mapping) and finish.get("type") == "length"]
    if not at_limit:
        return None
    return "closed" if all(finish.get("closed") for finish in at_limit) else "cut off"


def _usage(meta_infos: Sequence[Mapping[str, Any]]) -> Usage:
    """Of several samples, whose prompt is the same, it counts once; of these one found least in the cache."""
    cached = [meta_info["cached_tokens"] for meta_info in meta_infos if "cached_tokens" in meta_info]
    return Usage(
        _number(meta_infos[:1], "prompt_tokens"),
        min(cached, default=None),
        _number(meta_infos, "completion_tokens"),
        _number(meta_infos, "forced_tokens"),
    )


def _number(meta_infos: Sequence[Mapping[str, Any]], name: str) -> Any:
    return sum_of_known(meta_info.get(name) for meta_info in meta_infos)


def _since(start: float, time: float | None) -> float | None:
    return None if time is None else time - start
