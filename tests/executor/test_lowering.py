"""Graphs become programs: few calls, few buffers, and a name for what cannot be lowered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from torch import nn

from sglang.srt.device import HOST
from sglang.srt.executor.capture import capture
from sglang.srt.executor.lowering import Lowering, UnsupportedGraphError, paired_weights
from sglang.srt.executor.native_network import NativeNetwork
from sglang.srt.kernels import _native, ops
from sglang.srt.kernels.native import usable_levels
from sglang.srt.model.loader.load import allocate
from sglang.srt.model.loader.packed_weights import PackedMatrix, PackedPart, PackedWeights
from sglang.srt.model.models.llama import LlamaForCausalLM
from tests.executor.test_capture import CONFIG
from tests.helpers.runners import Stream, native_backend, step_of
from tests.helpers.tiny_models import make_tiny_llama

LEVEL = usable_levels()[0] if usable_levels() else ""
SIZE = 32
Weights = Mapping[str, torch.Tensor]


class Recorder:
    """Stands where a program is built or run, and counts the calls of its methods."""

    def __init__(self, program: Any, calls: Counter[str]) -> None:
        self._program = program
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._program, name)
        if not callable(attribute):
            return attribute

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._calls[name] += 1
            return attribute(*(a._program if isinstance(a, Recorder) else a for a in args), **kwargs)

        return counted


def recorded(calls: Counter[str], program: _native.Program) -> Any:
    return Recorder(program, calls)


def packed(weights: Weights, pairs: set[str]) -> PackedWeights:
    matrices = {}
    for name, weight in weights.items():
        if weight.ndim < 2:
            continue
        matrix = _native.Weight(Kind.F32, weight.shape[1], len(weight))
        halves = np.split(np.ascontiguousarray(weight.detach().numpy()).view(np.uint8), 2)
        if name in pairs:
            for first_column, half in zip((0, 16), halves, strict=True):
                matrix.put(Kind.F32, half, first_column, panel_stride=2)
        else:
            matrix.put(Kind.F32, np.concatenate(halves), 0)
        matrices[name] = PackedMatrix([PackedPart(matrix, 0)], len(weight), name in pairs)
    vectors = {name: weight.detach().numpy() for name, weight in weights.items() if weight.ndim == 1}
    return PackedWeights(matrices, vectors, "f32")


class Body(nn.Module):
    """Something to be computed row by row."""

    angles: torch.Tensor

    def __init__(self, function: Callable[[Any, Body], torch.Tensor]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator) / 4, requires_grad=False)

        self.square, self.other = weight(SIZE, SIZE), weight(SIZE, SIZE)
        self.gate_up, self.norm, self.bias = weight(2 * SIZE, SIZE), weight(SIZE), weight(SIZE)
        self.register_buffer("angles", torch.zeros(2, 4, 1, 8))
        self.function = function

    def forward(self, x: Any) -> torch.Tensor:
        return self.function(x, self)


def attend(x: Any, b: Body, sizes: tuple[int, ...], order: tuple[int, int, int], turned: bool = False) -> Any:
    """Attention of columns of x as heads of 8 in groups of these sizes, of which these are queries, keys and values."""
    rows = x.view(-1, 4, 8)
    if turned:
        rows = ops.rotary(rows, ops.rotary_angles(x.positions, b.angles))
    groups = rows.split_with_sizes(sizes, dim=1)
    return x.forward(0, groups[order[0]], groups[order[1]], groups[order[2]])


class Lowered:
    """`function` as a native program over gathered rows."""

    def __init__(self, function: Callable[[Any, Body], torch.Tensor]) -> None:
        self.body = Body(function)
        self.calls: Counter[str] = Counter()
        graph = capture(self.body, "forward")
        weights = packed(dict(self.body.named_parameters()), paired_weights(graph))
        self._pool = _native.ThreadPool(1)
        self._program = recorded(self.calls, _native.Program(LEVEL, self._pool))
        cache = _native.KvCache(1, 1, 16, 16, "bfloat16")
        self._output, self.size = Lowering(self._program, weights, {}, cache).run(graph, SIZE)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        source = _native.Program(LEVEL, self._pool)
        table = _native.Weight(Kind.F32, SIZE, len(rows))
        table.put(Kind.F32, rows.numpy().view(np.uint8), 0)
        buffer = source.buffer("float", SIZE)
        source.embed(table, buffer)
        count, nothing = np.arange(len(rows)), np.empty(0, np.int64)
        source.run(count, count, count, nothing, nothing, np.zeros(1, np.int64), nothing, nothing, count)
        self._program.run_rows(source, buffer, count)
        return torch.from_numpy(self._program.values(self._output).copy())


GRAPHS: dict[str, tuple[Callable[[Any, Body], Any], dict[str, int]]] = {
    "product": (lambda x, b: ops.linear(x, b.square), {"matmul": 1, "add": 0}),
    "product with bias": (lambda x, b: ops.linear(x, b.square, b.bias), {"matmul": 1, "add": 0}),
    "residual": (lambda x, b: x + ops.linear(ops.rms_norm(x, b.norm, 1e-5), b.square), {"matmul": 1, "add": 0}),
    "residual, other side": (lambda x, b: ops.linear(ops.rms_norm(x, b.norm, 1e-5), b.square) + x, {"add": 0}),
    "residual with bias": (
        lambda x, b: x + ops.linear(ops.rms_norm(x, b.norm, 1e-5), b.square, b.bias), {"matmul": 1, "add": 0},
    ),
    "residual of its own input": (lambda x, b: x + ops.linear(x, b.square), {"matmul": 1}),
    "residual read again": (lambda x, b: (y := x + ops.linear(x, b.square)) + ops.linear(y, b.other), {"matmul": 2}),
    "residual whose other name is read later": (
        lambda x, b: ops.linear(x + ops.linear(y := x.float(), b.square), b.other) + y,
        {"matmul": 2},
    ),
    "product doubled": (lambda x, b: (y := ops.linear(x, b.square)) + y, {"matmul": 1, "add": 1}),
    "product read twice": (lambda x, b: x + (y := ops.linear(x, b.square)) + ops.linear(y, b.other), {"matmul": 2}),
    "sum of two products": (lambda x, b: ops.linear(x, b.square) + ops.linear(x, b.other), {"matmul": 2, "add": 0}),
    "sum of nothing else": (lambda x, b: x + x, {"matmul": 0, "add": 1}),
    "norm": (lambda x, b: ops.rms_norm(x, b.norm, 1e-5), {"rms_norm": 1}),
    "norm read in two ways": (
        lambda x, b: (y := ops.rms_norm(x, b.norm, 1e-5)) + ops.linear(y, b.square), {"rms_norm": 1},
    ),
    "gate": (lambda x, b: ops.silu_and_mul(ops.linear(x, b.gate_up)), {"matmul": 1, "silu_and_mul": 0}),
    "gate read again": (
        lambda x, b: ops.linear(ops.silu_and_mul(ops.linear(x, b.gate_up)), b.square), {"matmul": 2, "silu_and_mul": 0},
    ),
    "first columns": (lambda x, b: x.view(-1, 2, 16).split_with_sizes((1, 1), dim=1)[0], {"convert": 1}),
    "last columns": (lambda x, b: x.view(-1, 2, 16).split_with_sizes((1, 1), dim=1)[1], {"convert": 1}),
    "unused product": (lambda x, b: (ops.linear(x, b.square), ops.linear(x, b.other))[1], {"matmul": 2}),
    "nothing": (lambda x, b: x.float(), {"matmul": 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_programs_compute_what_graphs_do(name: str) -> None:
    function, expected = GRAPHS[name]
    lowered = Lowered(function)
    assert {method: lowered.calls[method] for method in expected} == expected
    rows = torch.randn(7, SIZE, generator=torch.Generator().manual_seed(1))
    exact = function(rows, lowered.body).reshape(len(rows), -1)
    assert lowered.size == exact.shape[1]
    torch.testing.assert_close(lowered(rows), exact, rtol=1e-5, atol=1e-5)


UNKNOWN: dict[str, tuple[Callable[[Any, Body], Any], str]] = {
    "function": (lambda x, b: torch.tanh(x), "calls .*tanh"),
    "method": (lambda x, b: x.cos(), "calls cos"),
    "constant": (lambda x, b: x + 1, "1 is a constant"),
    "operator": (lambda x, b: x * x, "calls .*mul"),
    "weight as rows": (lambda x, b: x + b.square, "square is used as rows"),
    "rows as weight": (lambda x, b: ops.linear(x, x), "x is used as a weight"),
    "view": (lambda x, b: x.view(-1, SIZE), "view.* is not a row's heads"),
    "view of too many": (lambda x, b: x.view(-1, 3, 16), "view.* is not a row's heads"),
    "split": (lambda x, b: x.view(-1, 2, 16).split_with_sizes((1, 1), dim=2)[0], "only heads are split"),
    "split of some": (lambda x, b: x.view(-1, 2, 16).split_with_sizes((1,), dim=1)[0], "only heads are split"),
    "attention without positions": (lambda x, b: attend(x, b, (2, 1, 1), (0, 1, 2)), "without rotary positions"),
    "attention with values turned": (lambda x, b: attend(x, b, (2, 1, 1), (0, 1, 2), True), "side by side"),
    "attention the wrong way round": (lambda x, b: attend(x, b, (2, 1, 1), (2, 1, 0)), "side by side"),
    "attention after other columns": (lambda x, b: attend(x, b, (1, 1, 1, 1), (1, 2, 3)), "side by side"),
    "angles of something else": (lambda x, b: ops.rotary_angles(x.token_ids, b.angles), "those of the rows' positions"),
    "rotary of rows": (lambda x, b: ops.rotary(x, x), "something else than heads"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_has_no_instruction_is_named(name: str) -> None:
    function, message = UNKNOWN[name]
    with pytest.raises(UnsupportedGraphError, match=message):
        Lowered(function)


# --- whole models ---------------------------------------------------------------------------------------------------


def llama(layers: int, calls: Counter[str]) -> Any:
    """The body of a model without weights, as a counted program. Returns the network's two programs."""
    model = LlamaForCausalLM(replace(CONFIG, num_hidden_layers=layers))
    forward, tables = capture(model, "forward"), dict(model.named_buffers())
    allocate(model, torch.float32, HOST)
    weights = packed(dict(model.named_parameters()), paired_weights(forward))
    cache = _native.KvCache(layers, 2, 16, 32, "bfloat16")
    program = recorded(calls, _native.Program(LEVEL, _native.ThreadPool(1)))
    Lowering(program, weights, tables, cache).run(forward)
    return program


def test_a_layer_is_seven_instructions_and_no_buffer() -> None:
    """Two norms, four products, of which one does the gating and two add to what was there, and attention."""
    one, two, eight = Counter[str](), Counter[str](), Counter[str]()
    counts = [llama(layers, calls).num_instructions for layers, calls in ((1, one), (2, two), (8, eight))]
    assert two - one == {"rms_norm": 2, "matmul": 4, "attention": 1, "input_kind": 6}
    assert counts == [counts[0], counts[0] + 7, counts[0] + 7 * 7]
    assert one["buffer"] == two["buffer"] == eight["buffer"]


@pytest.mark.parametrize("layers", [1, 6])
def test_a_step_is_one_call(layers: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()
    monkeypatch.setattr(
        "sglang.srt.executor.native_network.Program", lambda *args: recorded(calls, _native.Program(*args))
    )
    runner = native_backend(make_tiny_llama(tmp_path, num_hidden_layers=layers), LEVEL).make_runner(32)
    assert isinstance(runner._network, NativeNetwork)
    calls.clear()
    first, second = Stream.at_slots(list(range(10)), 0), Stream.at_slots([3], 20)
    runner.logits(step_of([(first, 10), (second, 1)]), np.array([9, 10]))
    assert calls == {"run": 1, "run_rows": 1, "values": 1}


def test_weights_are_paired_where_only_silu_reads_them() -> None:
    forward = capture(LlamaForCausalLM(CONFIG), "forward")
    assert paired_weights(forward) == {f"model.layers.{layer}.mlp.gate_up_proj.weight" for layer in range(3)}
    assert not paired_weights(capture(LlamaForCausalLM(replace(CONFIG, mlp_bias=True)), "forward"))
