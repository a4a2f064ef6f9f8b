"""From a model's graph to a native program.

Ops become instructions where they stand. Fused on the way: a norm writes the kind of rows that the products after it
read; a product whose only use is to be added to another value, or to go through `silu_and_mul`, does so itself; turning
queries and keys is part of attention. A buffer is used again when no later op reads it. After the last attention only
the rows that are read are computed: rows meet nowhere else. Of a program over a step's rows only these are its result.
"""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sglang.srt.errors import SglangError
from sglang.srt.kernels import ops
from sglang.srt.kernels._native import FloatVector, KvCache, Program
from sglang.srt.kernels.graph import Graph, Node
from sglang.srt.model.loader.packed_weights import PackedMatrix, PackedWeights

FloatArray = npt.NDArray[np.float32]

FLOAT = "float"


class UnsupportedGraphError(SglangError):
    """The model does something that native programs have no instruction for."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns [first_column, first_column + size) of a float buffer, if heads is not 0 as so many heads."""

    buffer: int
    first_column: int
    size: int
    heads: int = 0
    angles: str = ""  # the table by which the heads are to be turned


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str


@dataclass(frozen=True, slots=True)
class _Input:
    name: str  # token_ids, positions, attention


@dataclass(frozen=True, slots=True)
class _Angles:
    table: str  # the name of the buffer with all positions' cosines and sines


@dataclass(frozen=True, slots=True)
class _Converted:
    """A value that exists only in the kinds that products read."""


@dataclass(slots=True)
class _Buffers:
    """Buffers of a program, handed out again when everything that lies in them has been given back."""

    program: Program
    holders: Counter[int] = field(default_factory=Counter)
    shape_of: dict[int, tuple[str, int]] = field(default_factory=dict)
    free: dict[tuple[str, int], list[int]] = field(default_factory=lambda: defaultdict(list))

    def take(self, kind: str, size: int) -> int:
        if self.free[kind, size]:
            buffer = self.free[kind, size].pop()
        else:
            buffer = self.program.buffer(kind, size)
            self.shape_of[buffer] = (kind, size)
        self.holders[buffer] = 1
        return buffer

    def hold(self, buffer: int) -> None:
        self.holders[buffer] += 1

    def give_back(self, buffer: int) -> None:
        self.holders[buffer] -= 1
        if not self.holders[buffer]:
            self.free[self.shape_of[buffer]].append(buffer)


class Lowering:
    """One graph on its way into `program`. tables: the model's own buffers, by name."""

    def __init__(
        self, program: Program, weights: PackedWeights, tables: Mapping[str, FloatArray], cache: KvCache
    ) -> None:
        self._program = program
        self._weights = weights
        self._tables = tables
        self._cache = cache
        self._buffers = _Buffers(program)
        self._values: dict[Node, Any] = {}
        self._converted: dict[Node, dict[str, int]] = defaultdict(dict)
        self._uses_left: Counter[Node] = Counter()
        self._angles: dict[str, FloatVector] = {}

    def run(self, graph: Graph, gathered_size: int | None = None) -> tuple[int, int]:
        """Append the graph's instructions. Returns the buffer in which its result will be, and its size.

        gathered_size: what a program over gathered rows has as its argument; else the argument is a ForwardBatch.
        """
        self._uses_left = Counter({node: len(node.users) for node in graph.nodes})
        last_attention = _last_attention(graph)
        is_wide = gathered_size is None
        for node in graph.nodes:
            if node.op == "output":
                buffer = self._as_kind(_node(_arguments(node)[0]), FLOAT)
                if is_wide:
                    self._program.narrow([buffer])
                return buffer, self._buffers.shape_of[buffer][1]
            if node not in self._values:
                self._values[node] = self._value(node, gathered_size)
            for argument in node.inputs:
                self._release_use(argument)
            if node is last_attention:
                is_wide = not self._narrow()
        raise AssertionError("a graph ends with an output")

    def _value(self, node: Node, gathered_size: int | None) -> Any:
        match node.op:
            case "placeholder":
                return _Input("batch") if gathered_size is None else self._gather(gathered_size)
            case "get_attr":
                return _Parameter(str(node.target))
            case "call_function" if node.target in _FUNCTIONS:
                return _FUNCTIONS[node.target](self, node)
            case "call_method" if node.target in _METHODS:
                return _METHODS[str(node.target)](self, node)
        raise UnsupportedGraphError(f"the model calls {node.target}, for which there is no native instruction")

    def _release_use(self, node: Node) -> None:
        self._uses_left[node] -= 1
        if self._uses_left[node]:
            return
        for part in _parts(self._values[node]):
            if isinstance(part, Rows):
                self._buffers.give_back(part.buffer)
        for buffer in self._converted.pop(node, {}).values():
            self._buffers.give_back(buffer)

    def _narrow(self) -> bool:
        """From here on, only the rows that are read: where all that later ops read is rows of floats. Else False."""
        live = [node for node, uses in self._uses_left.items() if uses and node in self._values]
        if any(self._converted.get(node) for node in live):
            return False
        parts = [part for node in live for part in _parts(self._values[node])]
        self._program.narrow(sorted({part.buffer for part in parts if isinstance(part, Rows)}))
        return True

    def _alias(self, value: Rows) -> Rows:
        """Another name for a part of a buffer, which keeps it in use."""
        self._buffers.hold(value.buffer)
        return value

    # --- values ---

    def _rows(self, argument: Any) -> Rows:
        value = self._values[argument]
        if not isinstance(value, Rows):
            raise UnsupportedGraphError(f"{argument} is used as rows of activations, but is none")
        return value

    def _parameter(self, argument: Any) -> str:
        value = self._values[argument]
        if not isinstance(value, _Parameter):
            raise UnsupportedGraphError(f"{argument} is used as a weight, but is none")
        return value.name

    def _new(self, size: int) -> Rows:
        return Rows(self._buffers.take(FLOAT, size), 0, size)

    def _gather(self, size: int) -> Rows:
        rows = self._new(size)
        self._program.gather(rows.buffer)
        return rows

    def _as_kind(self, node: Node, kind: str) -> int:
        """The buffer with `node`'s rows as products read them, converted at first use."""
        if kind in self._converted[node]:
            return self._converted[node][kind]
        rows = self._rows(node)
        if kind == FLOAT and rows.first_column == 0 and self._buffers.shape_of[rows.buffer][1] == rows.size:
            return rows.buffer
        buffer = self._buffers.take(kind, rows.size)
        self._program.convert(rows.buffer, rows.first_column, buffer)
        self._converted[node][kind] = buffer
        return buffer

    # --- functions ---

    def _getattr(self, node: Node) -> _Input:
        return _Input(str(_arguments(node)[1]))

    def _getitem(self, node: Node) -> Any:
        source, index = _arguments(node)
        item = self._values[_node(source)][index]
        return self._alias(item) if isinstance(item, Rows) else item

    def _embedding(self, node: Node) -> Rows:
        (part,) = self._weights.matrices[self._parameter(_arguments(node)[1])].parts
        rows = self._new(part.weight.inputs)
        self._program.embed(part.weight, rows.buffer)
        return rows

    def _rms_norm(self, node: Node) -> Rows | _Converted:
        source, weight, eps = _arguments(node)
        buffer = self._as_kind(_node(source), FLOAT)
        vector = FloatVector(self._weights.vectors[self._parameter(weight)])
        size = self._buffers.shape_of[buffer][1]
        outputs = {kind: self._buffers.take(kind, size) for kind in self._kinds_read(node)}
        for output in outputs.values():
            self._program.rms_norm(buffer, vector, float(eps), output)
        if FLOAT in outputs:
            self._converted[node] = {kind: output for kind, output in outputs.items() if kind != FLOAT}
            return Rows(outputs[FLOAT], 0, size)
        self._converted[node] = outputs
        return _Converted()

    def _kinds_read(self, node: Node) -> set[str]:
        """The kinds of rows in which the users of `node` read it."""
        kinds: set[str] = set()
        for user in node.users:
            if user.target is ops.linear and _arguments(user)[0] is node:
                matrix = self._weights.matrices[str(_node(_arguments(user)[1]).target)]
                kinds.update(self._program.input_kind(part.weight) for part in matrix.parts)
            else:
                kinds.add(FLOAT)
        return kinds

    def _linear(self, node: Node) -> Rows:
        arguments = _arguments(node)
        source, weight, bias = arguments if len(arguments) == 3 else (*arguments, None)
        matrix = self._weights.matrices[self._parameter(weight)]
        biases = None if bias is None else self._weights.vectors[self._parameter(bias)]
        rows, epilogue = self._product_target(node, matrix)
        for part in matrix.parts:
            share = None if biases is None else FloatVector(biases[part.first_column :][: part.weight.columns])
            buffer = self._as_kind(_node(source), self._program.input_kind(part.weight))
            self._program.matmul(buffer, part.weight, share, epilogue, rows.buffer, part.first_column)
        return rows

    def _product_target(self, node: Node, matrix: PackedMatrix) -> tuple[Rows, str]:
        """Where a product goes and how. If its only use can be part of it, that use is done with it."""
        user = next(iter(node.users), None)
        if matrix.is_paired and user is not None:
            rows = self._new(matrix.columns // 2)
            self._values[user] = self._alias(rows)
            return rows, "silu_and_mul"
        if user is not None and len(node.users) == 1 and user.target is operator.add:
            first, second = _arguments(user)
            other = _node(second if first is node else first)
            value = self._values.get(other)
            if isinstance(value, Rows) and value.size == matrix.columns and self._is_replaceable(other, value):
                self._values[user] = self._alias(value)
                return self._alias(value), "add"
        return self._new(matrix.columns), "store"

    def _is_replaceable(self, node: Node, value: Rows) -> bool:
        """Whether nothing but its one coming use will read the buffer in which `node` lies."""
        return (
            self._uses_left[node] == 1
            and self._buffers.holders[value.buffer] == 1
            and self._buffers.shape_of[value.buffer] == (FLOAT, value.size)
        )

    def _silu_and_mul(self, node: Node) -> Rows:
        source = self._as_kind(_node(_arguments(node)[0]), FLOAT)
        rows = self._new(self._buffers.shape_of[source][1] // 2)
        self._program.silu_and_mul(source, rows.buffer)
        return rows

    def _add(self, node: Node) -> Rows:
        first, second = (_node(argument) for argument in _arguments(node))
        rows = self._new(self._rows(first).size)
        self._program.convert(self._rows(first).buffer, self._rows(first).first_column, rows.buffer)
        self._program.add(self._as_kind(second, FLOAT), rows.buffer)
        return rows

    def _rotary_angles(self, node: Node) -> _Angles:
        positions, table = _arguments(node)
        if self._values[_node(positions)] != _Input("positions"):
            raise UnsupportedGraphError(f"{node}: angles are those of the rows' positions")
        return _Angles(self._parameter(table))

    def _rotary(self, node: Node) -> Rows:
        """Only noted: attention turns queries and keys as it stores them."""
        rows, angles = self._rows(_arguments(node)[0]), self._values[_node(_arguments(node)[1])]
        if not rows.heads or not isinstance(angles, _Angles):
            raise UnsupportedGraphError(f"{node}: rotary positions of something else than heads")
        return self._alias(replace(rows, angles=angles.table))

    # --- methods ---

    def _view(self, node: Node) -> Rows:
        source, *shape = _arguments(node)
        rows = self._rows(source)
        if len(shape) != 3 or shape[0] != -1 or int(shape[1]) * int(shape[2]) != rows.size:
            raise UnsupportedGraphError(f"{node}: view{tuple(shape)} is not a row's heads")
        return self._alias(replace(rows, heads=int(shape[1])))

    def _split_with_sizes(self, node: Node) -> tuple[Rows, ...]:
        rows, sizes = self._rows(_arguments(node)[0]), _arguments(node)[1]
        if node.kwargs.get("dim") != 1 or sum(sizes) != rows.heads:
            raise UnsupportedGraphError(f"{node}: only heads are split")
        head_dim = rows.size // rows.heads
        parts, first = [], rows.first_column
        for heads in sizes:
            parts.append(self._alias(replace(rows, first_column=first, size=heads * head_dim, heads=heads)))
            first += heads * head_dim
        return tuple(parts)

    def _forward(self, node: Node) -> Rows:
        """batch.attention.forward(layer, query, key, value)"""
        _, layer, *arguments = _arguments(node)
        query, key, value = (self._rows(argument) for argument in arguments)
        ends = (query.first_column + query.size, key.first_column + key.size)
        if (key.first_column, value.first_column) != ends or query.first_column or value.angles:
            raise UnsupportedGraphError(f"{node}: queries, keys and values do not lie side by side")
        if not query.angles or query.angles != key.angles:
            raise UnsupportedGraphError(f"{node}: attention without rotary positions")
        output = self._new(query.size)
        scale = (query.size // query.heads) ** -0.5
        table = self._rotary_table(query.angles)
        self._program.attention(query.buffer, query.heads, scale, table, self._cache, layer, output.buffer)
        return output

    def _rotary_table(self, name: str) -> FloatVector:
        """[positions, head_dim], cosines then sines, of the table that `ops.rotary_angles` describes."""
        if name not in self._angles:
            cos, negative_and_sin = self._tables[name][:, :, 0]
            half = cos.shape[-1] // 2
            self._angles[name] = FloatVector(np.concatenate((cos[:, :half], negative_and_sin[:, half:]), axis=1))
        return self._angles[name]

    def _float(self, node: Node) -> Rows:
        return self._alias(self._rows(_arguments(node)[0]))


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _last_attention(graph: Graph) -> Node | None:
    return next((node for node in reversed(graph.nodes) if node.target == "forward"), None)


def paired_weights(graph: Graph) -> set[str]:
    """The weights whose product goes through `silu_and_mul` and nowhere else: gate and up can share tiles."""
    return {
        str(_node(_arguments(node)[1]).target)
        for node in graph.nodes
        if node.target is ops.linear
        and [user.target for user in node.users] == [ops.silu_and_mul]
        and (len(_arguments(node)) < 3 or _arguments(node)[2] is None)
    }


def _arguments(node: Node) -> tuple[Any, ...]:
    return node.args


def _node(argument: Any) -> Node:
    if not isinstance(argument, Node):
        raise UnsupportedGraphError(f"{argument!r} is a constant where a computed value is expected")
    return argument


_FUNCTIONS: dict[Any, Callable[[Lowering, Node], Any]] = {
    getattr: Lowering._getattr,
    operator.getitem: Lowering._getitem,
    operator.add: Lowering._add,
    ops.embedding: Lowering._embedding,
    ops.rms_norm: Lowering._rms_norm,
    ops.linear: Lowering._linear,
    ops.silu_and_mul: Lowering._silu_and_mul,
    ops.rotary: Lowering._rotary,
    ops.rotary_angles: Lowering._rotary_angles,
}
_METHODS: dict[str, Callable[[Lowering, Node], Any]] = {
    "view": Lowering._view,
    "split_with_sizes": Lowering._split_with_sizes,
    "forward": Lowering._forward,
    "float": Lowering._float,
}
