"""A model's operations as a graph, read off its own forward pass.

The model file stays the only definition of the model: its `forward` runs once with stand-ins for tensors, and what it
does with them is recorded, one node per call of an op of ``kernels/ops``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Protocol

from sglang.srt.kernels.graph import Graph


class NamedTensors(Protocol):
    """A model, of whose weights and tables only the names matter here."""

    def named_parameters(self) -> Iterator[tuple[str, Any]]: ...
    def named_buffers(self) -> Iterator[tuple[str, Any]]: ...


def capture(model: NamedTensors, method: str) -> Graph:
    """What ``model.<method>`` computes. Its arguments are the placeholders; weights are named as in the model.

    Nothing is computed, so the model needs no weights. The method must not branch on values.
    """
    tensors = (*model.named_parameters(), *model.named_buffers())
    graph = Graph({id(tensor): name for name, tensor in tensors})
    function = getattr(model, method)
    arguments = [graph.add("placeholder", name) for name in inspect.signature(function).parameters]
    graph.add("output", "output", (function(*arguments),))
    return graph
