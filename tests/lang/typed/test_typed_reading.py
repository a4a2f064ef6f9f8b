"""What a strict type checker knows of typed results without a plugin. mypy checks the tests, and so these types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from typing_extensions import assert_type

import sglang as sgl
from tests.lang.conftest import UseMock


class Person(BaseModel):
    name: str


@dataclass
class Point:
    x: int


def test_handles(use_mock: UseMock) -> None:
    use_mock({"Who?": '{"name":"Ada"}', "Number:": "7", "Points:": '[{"x":1}]', "Letter:": "a"})

    @sgl.function
    def program(s: sgl.ProgramState) -> Person:
        person = sgl.gen("person", 64, schema=Person, temperature=0.0)
        s += "Who?" + person
        assert_type(s.get(person), Person)
        assert_type(s.get("person", Person), Person)
        number = sgl.gen("number", type=TypeAdapter(int), n=2)
        s += "Number:" + number
        assert_type(s.get_all(number), list[int])
        assert_type(s.get_all("number", int), list[int])
        points = sgl.gen("points", type=list[Point])
        s += "Points:" + points
        assert_type(s.get(points), list[Point])
        letter = sgl.gen("letter", type=Literal["a", "b"])  # a form of type that has no type of its own yet
        s += "Letter:" + letter
        assert_type(s.get(letter), Any)
        assert_type(s["person"], Any)
        return s.get(person)

    assert program.run().ret_value == Person(name="Ada")


async def test_handles_in_coroutines(use_mock: UseMock) -> None:
    use_mock(lambda *_: "7")

    @sgl.function
    async def program(s: sgl.ProgramState) -> int:
        number = sgl.gen("number", type=int)
        s += number
        assert_type(await s.aget("number", int), int)
        assert_type(await s.aget_all(number), list[int])
        return await s.aget(number)

    assert (await program.arun()).ret_value == 7


def test_mistakes_are_seen(use_mock: UseMock) -> None:
    """An unused type-ignore is an error."""
    use_mock(lambda *_: "7")
    number = sgl.gen("number", type=int)

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += number
        wrong: str = s.get(number)  # type: ignore[assignment]
        assert str(wrong) == "7"

    program.run()
