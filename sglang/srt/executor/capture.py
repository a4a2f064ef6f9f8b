"""A model's operations as a graph, read off its own forward pass.

The model file stays the only definition of the model: its `forward` runs once with stand-ins for tensors, and what it
does with them is recorded, one node per call of an op of ``kernels/ops``.
"""

from __future__ import annotations

from torch import fx, nn


class _ModelTracer(fx.Tracer):
    proxy_buffer_attributes = True

    def __init__(self, method: str) -> None:
        super().__init__()
        self.traced_func_name = method

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        return False


def capture(model: nn.Module, method: str) -> fx.Graph:
    """What ``model.<method>`` computes. Its arguments are the placeholders; weights are named as in the model.

    Nothing is computed, so the model may be on the meta device. The method must not branch on values.
    """
    return _ModelTracer(method).trace(model)
