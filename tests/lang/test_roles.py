"""Roles in all forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import sglang as sgl
from sglang.lang.backends.base import Backend


def calls(s: sgl.ProgramState) -> None:
    s += sgl.system("Be brief.")
    s += sgl.user("Why?")
    s += sgl.assistant("Because" + sgl.gen("a") + ".")


def methods(s: sgl.ProgramState) -> None:
    s.system("Be brief.")
    s.user("Why?")
    s.assistant("Because" + sgl.gen("a") + ".")


def contexts(s: sgl.ProgramState) -> None:
    with s.system():
        s += "Be brief."
    with s.user() as inner:
        inner += "Why?"
    with s.assistant():
        s += "Because"
        s += sgl.gen("a")
        s += "."


def begin_and_end(s: sgl.ProgramState) -> None:
    s += sgl.system_begin() + "Be brief." + sgl.system_end()
    s += sgl.user_begin() + "Why?"
    s += sgl.user_end() + sgl.assistant_begin()
    s += "Because" + sgl.gen("a") + "." + sgl.assistant_end()


def one_expression(s: sgl.ProgramState) -> None:
    s += sgl.system("Be brief.") + sgl.user("Why?") + sgl.assistant("Because" + sgl.gen("a") + ".")


@pytest.mark.parametrize("form", [calls, methods, contexts, begin_and_end, one_expression])
def test_all_forms_are_the_same(form: Callable[[sgl.ProgramState], None], mock: sgl.Mock) -> None:
    state = sgl.function(form).run()
    answer = f"Because{state['a']}."
    assert state.messages() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": answer},
    ]
    assert state.text() == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
        f"<|im_start|>assistant\n{answer}<|im_end|>\n"
    )
    (request,) = mock.requests
    assert (request.prompt.open_role, request.prompt.role_text) == ("assistant", "Because")
    assert request.prompt.messages == tuple(state.messages()[:2])


def test_contents_begin_without_space_and_may_be_empty(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.user("  \n hi ") + sgl.assistant() + sgl.user("")

    state = program.run()
    assert [message["content"] for message in state.messages()] == ["hi ", "", ""]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (sgl.user("a" + sgl.assistant("b")), "Nested roles are not allowed: 'assistant' begins before 'user' ends"),
        (sgl.user_begin() + sgl.assistant_end(), "'assistant' ends, but 'user' is open"),
        ("a" + sgl.user_end(), "'user' ends, but no role is open"),
    ],
)
def test_roles_that_do_not_fit(expression: object, message: str, mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += expression  # type: ignore[arg-type]

    with pytest.raises(sgl.ProgramError, match=message):
        program.run().text()


def test_a_role_is_closed_when_the_body_catches_an_error(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        try:
            with s.user():
                s += "half"
                raise LookupError
        except LookupError:
            s += sgl.assistant("sorry")

    assert [message["role"] for message in program.run().messages()] == ["user", "assistant"]


def test_roles_a_backend_refuses(mock: sgl.Mock) -> None:
    class NoRoles(sgl.Mock):
        role_text = Backend.role_text

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.user("a")

    with pytest.raises(sgl.ProgramError, match="NoRoles does not support roles"):
        program.run(backend=NoRoles()).text()
