"""Random programs give what a plain interpreter gives that does one thing after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sglang as sgl
from sglang.lang.backends.base import Prompt
from sglang.lang.ir import SamplingArguments

Op = tuple[Any, ...]

names = st.sampled_from("abc")
simple_ops = st.one_of(
    st.tuples(st.just("text"), st.text("xy \n", max_size=3)),
    st.tuples(st.just("gen"), names, st.integers(1, 3)),
    st.tuples(st.just("select"), names),
    st.tuples(st.just("set"), names, st.text("z", max_size=2)),
    st.tuples(st.just("fill"), names),
    st.tuples(st.just("read"), names),
    st.tuples(st.just("role"), st.sampled_from(["user", "assistant"]), names),
)
programs = st.recursive(
    st.lists(simple_ops, max_size=5),
    lambda inner: st.lists(
        st.one_of(
            simple_ops,
            st.tuples(st.just("fork"), st.lists(inner, min_size=1, max_size=3), st.sampled_from(["gather", "append"])),
            st.tuples(st.just("scope"), names, st.lists(simple_ops, max_size=3)),
        ),
        max_size=5,
    ),
    max_leaves=8,
)


def write(s: sgl.ProgramState, ops: Sequence[Op], seen: list[Any]) -> None:
    """The program in the language."""
    for op in ops:
        match op:
            case ("text", text):
                s += text
            case ("gen", name, size):
                s += sgl.gen(name, max_tokens=size)
            case ("select", name):
                s += sgl.select(name, ["p", "q r"])
            case ("set", name, value):
                s[name] = value
            case ("fill", name) if name in s:
                s += str(s[name])
            case ("read", name) if name in s:
                seen.append(s[name])
            case ("role", role, name):
                s += getattr(sgl, role)("c" + sgl.gen(name, max_tokens=1))
            case ("scope", name, inner):
                with s.var_scope(name):
                    write(s, inner, seen)
            case ("fork", branches, mode):
                forks = s.fork(len(branches))
                for fork, branch in zip(forks, branches, strict=True):
                    write(fork, branch, seen)
                s += forks.join("gather_variable" if mode == "gather" else "concate_and_append")


@dataclass
class Plain:
    """The same, one thing after the other, with nothing but strings."""

    mock: sgl.Mock
    text: str = ""
    variables: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    own: dict[str, Any] = field(default_factory=dict)

    def set(self, name: str, value: Any) -> None:
        self.variables[name] = self.own[name] = value

    def gen(self, name: str, size: int) -> str:
        sampling = SamplingArguments(max_new_tokens=size).over(DEFAULTS)
        (found,) = asyncio.run(self.mock.generate(Prompt(self.text, (self.text,)), sampling))
        self.text += found.text
        self.set(name, found.text)
        return found.text

    def select(self, name: str) -> None:
        prompt = Prompt(self.text, (self.text,))
        found = asyncio.run(self.mock.select(prompt, ["p", "q r"], sgl.token_length_normalized))
        self.text += found.decision
        self.set(name, found.decision)

    def role(self, role: str, name: str) -> None:
        self.text += f"<|im_start|>{role}\nc"
        answer = self.gen(name, 1)
        self.text += "<|im_end|>\n"
        self.messages.append({"role": role, "content": "c" + answer})

    def fork(self, branches: Sequence[Sequence[Op]], mode: str, seen: list[Any]) -> None:
        forks = []
        for branch in branches:
            forks.append(Plain(self.mock, self.text, dict(self.variables), list(self.messages)))
            forks[-1].run(branch, seen)
        if mode == "append":
            length, num_messages = len(self.text), len(self.messages)
            for fork in forks:
                self.text += fork.text[length:]
                self.messages += fork.messages[num_messages:]
            return
        for name in dict.fromkeys(name for fork in forks for name in fork.own):
            values = [fork.own[name] for fork in forks if name in fork.own]
            self.set(name, values[0] if len(values) == 1 else values)

    def run(self, ops: Sequence[Op], seen: list[Any]) -> None:
        for op in ops:
            match op:
                case ("text", text):
                    self.text += text
                case ("gen", name, size):
                    self.gen(name, size)
                case ("select", name):
                    self.select(name)
                case ("set", name, value):
                    self.set(name, value)
                case ("fill", name) if name in self.variables:
                    self.text += str(self.variables[name])
                case ("read", name) if name in self.variables:
                    seen.append(self.variables[name])
                case ("role", role, name):
                    self.role(role, name)
                case ("scope", name, inner):
                    length = len(self.text)
                    self.run(inner, seen)
                    self.set(name, self.text[length:])
                case ("fork", branches, mode):
                    self.fork(branches, mode, seen)


DEFAULTS = SamplingArguments(
    temperature=1.0, top_p=1.0, top_k=-1, min_p=0.0, frequency_penalty=0.0, presence_penalty=0.0
)


@sgl.function
def written(s: sgl.ProgramState, ops: Sequence[Op]) -> list[Any]:
    seen: list[Any] = []
    write(s, ops, seen)
    return seen


@pytest.mark.parametrize("stream", [False, True])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ops=programs)
def test_the_same_as_one_thing_after_the_other(ops: list[Op], stream: bool) -> None:
    plain, seen = Plain(sgl.Mock()), []  # type: ignore[var-annotated]
    plain.run(ops, seen)
    state = written.run(ops, stream=stream, backend=sgl.Mock())
    assert state.text() == plain.text
    assert state.messages() == plain.messages
    assert {name: state[name] for name in plain.variables} == plain.variables
    assert state.ret_value == seen
    assert "".join(state.text_iter()) == plain.text


def test_a_batch_gives_what_each_gives_alone() -> None:
    inputs = [
        (([("text", "x" * 100), ("text", str(index)), ("gen", "a", 3), ("role", "user", "b")]),) for index in range(50)
    ]
    alone = [written.run(*item, backend=sgl.Mock()).text() for item in inputs]
    assert [state.text() for state in written.run_batch(inputs, backend=sgl.Mock())] == alone
