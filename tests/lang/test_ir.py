"""Nodes, and how they are put together."""

from __future__ import annotations

from typing import Any

import pytest

import sglang as sgl
from sglang.lang.ir import ConstantText, ExprList, SamplingArguments, Variable


def test_nodes_show_what_they_are() -> None:
    assert repr(sgl.gen("x")) == "Gen('x')"
    assert repr(ConstantText("a")) == "Constant('a')"
    assert repr(sgl.user_begin()) == "RoleBegin(user)"
    assert repr(sgl.user_end()) == "RoleEnd(user)"
    assert repr(Variable("x")) == "Variable('x')"
    assert repr(sgl.select("x", ["a"])) == "Select('x', choices=['a'], choices_method=TokenLengthNormalized)"
    assert repr("a" + sgl.gen("x")) == "ExprList([Constant('a'), Gen('x')])"


def test_plus_takes_text_and_nodes_in_either_order_and_is_flat() -> None:
    x, y = sgl.gen("x"), sgl.gen("y")
    a, b = ConstantText("a"), ConstantText("b")
    assert (x + y).nodes == (x, y)
    assert ("a" + x).nodes == (a, x)
    assert (x + "a").nodes == (x, a)
    assert ("a" + (x + "b")).nodes == (a, x, b)
    assert (("a" + x) + (y + "b")).nodes == (a, x, y, b)
    assert ("a" + x + "b" + y).nodes == (a, x, b, y)
    assert (ExprList() + x).nodes == (x,)
    assert sgl.user("a" + x).nodes == (sgl.user_begin(), a, x, sgl.user_end())


@pytest.mark.parametrize("other", [1, None, ["a"], b"a"])
def test_plus_refuses_what_is_no_expression(other: Any) -> None:
    with pytest.raises(TypeError):
        sgl.gen("x") + other
    with pytest.raises(TypeError):
        other + sgl.gen("x")


def test_what_is_appended_is_checked(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState, value: Any) -> None:
        s += value

    with pytest.raises(ValueError, match="None cannot be appended"):
        program.run(None)
    with pytest.raises(TypeError, match="int 5"):
        program.run(5)
    with pytest.raises(TypeError, match=r"list \['a'\]"):
        program.run(["a"])
    with pytest.raises(TypeError, match="int 5"):
        sgl.user(5)  # type: ignore[arg-type]


def test_sampling_arguments_fall_back_on_those_of_the_level_above() -> None:
    inner = SamplingArguments(temperature=0.0, stop=())
    outer = SamplingArguments(temperature=0.7, stop=("a",), top_k=3)
    assert dict(inner.over(outer).given()) == {"temperature": 0.0, "stop": (), "top_k": 3}
