"""What a function computes, as a graph of operations, read off by running it once with stand-ins for tensors.

A stand-in has no values: whatever is done with it becomes a node, and its result is another stand-in. Needs no torch,
but torch's own functions, given a stand-in, become nodes too.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Node:
    """One operation, or where a value comes from.

    op: ``placeholder`` (an argument), ``get_attr`` (a named tensor), ``call_function``, ``call_method`` or ``output``.
    target: the name or function. args, kwargs: nodes where stand-ins were given, all else as it was. users: the nodes
    that read this one, once each.
    """

    op: str
    target: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    users: list[Node] = field(default_factory=list)

    @property
    def inputs(self) -> list[Node]:
        """The nodes that this one reads, once each."""
        return list(dict.fromkeys(_nodes((*self.args, *self.kwargs.values()))))

    def __str__(self) -> str:
        return getattr(self.target, "__name__", str(self.target))

    __repr__ = __str__


class Graph:
    """nodes: in the order in which they were recorded, which is one in which they can be computed."""

    def __init__(self, names: Mapping[int, str]) -> None:
        """names: by `id`, of the tensors that operations may read beside their arguments."""
        self.nodes: list[Node] = []
        self._names = names
        self._named: dict[str, Node] = {}

    def add(self, op: str, target: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> StandIn:
        node = Node(op, target, self._recorded(args), {k: self._recorded(v) for k, v in (kwargs or {}).items()})
        for source in node.inputs:
            source.users.append(node)
        self.nodes.append(node)
        return StandIn(self, node)

    def _recorded(self, value: Any) -> Any:
        if isinstance(value, StandIn):
            return value.node
        if isinstance(value, (tuple, list)):
            return tuple(map(self._recorded, value))
        if id(value) in self._names:
            return self._tensor(self._names[id(value)])
        return value

    def _tensor(self, name: str) -> Node:
        if name not in self._named:
            self._named[name] = self.add("get_attr", name).node
        return self._named[name]


def _recorded_operator(function: Callable[..., Any]) -> Callable[..., StandIn]:
    def method(self: StandIn, *args: Any) -> StandIn:
        return self.graph.add("call_function", function, (self, *args))

    return method


class StandIn:
    """In place of a value while a function is recorded. It has no truth value and no length to branch on."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph = graph
        self._node = node

    @property
    def node(self) -> Node:
        return self._node

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Attribute(self, name)

    def split_with_sizes(self, sizes: tuple[int, ...], dim: int = 0) -> _Parts:
        parts = self.graph.add("call_method", "split_with_sizes", (self, sizes), {"dim": dim})
        return _Parts(self.graph, parts.node)

    def __iter__(self) -> Iterator[StandIn]:
        raise TypeError(f"{self.node}: how many parts a value has is not known yet; split it into as many as there are")

    def __bool__(self) -> bool:
        raise TypeError(f"{self.node}: what a model computes may not depend on values, which are not known yet")

    def __eq__(self, other: object) -> bool:
        raise TypeError(f"{self.node}: what a model computes may not depend on values, which are not known yet")

    __hash__ = object.__hash__

    __add__ = _recorded_operator(operator.add)
    __sub__ = _recorded_operator(operator.sub)
    __mul__ = _recorded_operator(operator.mul)
    __truediv__ = _recorded_operator(operator.truediv)
    __matmul__ = _recorded_operator(operator.matmul)
    __neg__ = _recorded_operator(operator.neg)
    __getitem__ = _recorded_operator(operator.getitem)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> StandIn:
        graph = next(argument for argument in (*args, *(kwargs or {}).values()) if isinstance(argument, cls)).graph
        return graph.add("call_function", function, args, kwargs)


class _Attribute(StandIn):
    """An attribute of a stand-in, or a method of it: which one shows when it is used."""

    def __init__(self, owner: StandIn, name: str) -> None:
        self.graph = owner.graph
        self._owner = owner
        self._name = name
        self._value: Node | None = None

    @property
    def node(self) -> Node:
        if self._value is None:
            self._value = self.graph.add("call_function", getattr, (self._owner, self._name)).node
        return self._value

    def __call__(self, *args: Any, **kwargs: Any) -> StandIn:
        return self.graph.add("call_method", self._name, (self._owner, *args), kwargs)


class _Parts(StandIn):
    """As many as were asked for."""

    def __iter__(self) -> Iterator[StandIn]:
        return (self[number] for number in range(len(self.node.args[1])))


def _nodes(values: tuple[Any, ...]) -> Iterator[Node]:
    for value in values:
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            yield from _nodes(value)
