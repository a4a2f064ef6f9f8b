"""Typed results: what is asked of the backend for a type, and what a program gets and reads."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, Field, TypeAdapter
from typing_extensions import TypedDict

import sglang as sgl
from sglang.lang.typed.text_form import TextForm, bare_form, json_form
from tests.lang.conftest import UseMock


class Person(BaseModel):
    name: str
    age: Annotated[int, Field(ge=0, le=150)]


class Colour(Enum):
    RED = "red"
    LIGHT_RED = "light red"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    x: int
    y: int = 0


class Film(TypedDict):
    title: str


ADA = Person(name="Ada", age=36)
JSON_ADA = '{"name":"Ada","age":36}'


@sgl.function
def ask(s: sgl.ProgramState, n: int | None = None, **of: Any) -> None:
    s += "Q:" + sgl.gen("x", n=n, **of)


def read(text: str, **of: Any) -> Any:
    return ask.run(**of, backend=sgl.Mock(lambda *_: text))["x"]


# --- how values are written


@pytest.mark.parametrize(
    ("of", "text", "value"),
    [
        (int, " 42", 42),
        (int, "-7\n", -7),
        (float, "3.50", 3.5),
        (float, "2", 2.0),
        (bool, "True", True),
        (bool, " False", False),
        (str, 'say "hi"\n', 'say "hi"\n'),
        (Literal["yes", "no"], " yes", "yes"),
        (Literal["only"], "only", "only"),
        (Literal["a", " a"], " a", " a"),
        (Colour, "light red", Colour.LIGHT_RED),
        (Annotated[Colour, Field(description="of the car")], "red", Colour.RED),
        (Annotated[int, Field(ge=1, lt=13)], "12", 12),
        (Annotated[float, Field(gt=0, le=1)], "0.25", 0.25),
        (Annotated[str, Field(pattern=r"^\d{3}$")], "007", "007"),
        (Annotated[str, Field(pattern=r"^\d\$")], "7$ each", "7$ each"),
        (Annotated[str, Field(min_length=2, max_length=3)], "ab", "ab"),
        (Decimal, "19.90", Decimal("19.9")),
        (Annotated[Decimal, Field(ge=0)], "19.90", Decimal("19.9")),
    ],
)
def test_bare_text(of: Any, text: str, value: Any) -> None:
    form = bare_form(of)
    assert not form.constraint or re.fullmatch(form.constraint["regex"], text)
    assert form.read(text) == value
    assert type(read(text, type=of)) is type(value)


@pytest.mark.parametrize(
    ("of", "text", "value"),
    [
        (Person, JSON_ADA, ADA),
        (list[Person], f"[{JSON_ADA}]", [ADA]),
        (dict[str, Person], f'{{"a":{JSON_ADA}}}', {"a": ADA}),
        (Person | None, "null", None),
        (Point, '{"x":1}', Point(1)),
        (Film, '{"title":"M"}', {"title": "M"}),
        (date, '"2024-02-29"', date(2024, 2, 29)),
        (Level, "2", Level.HIGH),
        (Literal["a", 1], '"a"', "a"),
        (int | float, "1.5", 1.5),
        (set[int], "[1,2]", {1, 2}),
        (tuple[int, str], '[1,"a"]', (1, "a")),
        (TypeAdapter(list[int]), "[1]", [1]),
        (Annotated[int, Field(multiple_of=5)], "25", 25),
        (Annotated[list[int], AfterValidator(sorted)], "[2,1]", [1, 2]),
    ],
)
def test_json(of: Any, text: str, value: Any) -> None:
    for form in (bare_form(of), json_form(of)):
        assert json.loads(form.constraint["json_schema"])
        assert form.read(text) == value
    assert read(text, type=of) == read(text, schema=of) == value


@pytest.mark.parametrize(
    ("of", "wrong"),
    [
        (int, ["", "4.2", "042", "+1", "one", "4  "]),
        (float, [".5", "1.", "nan", "1e999"]),
        (bool, ["true", "yes", ""]),
        (Literal["yes", "no"], ["maybe", '"yes"', "yesno", "yes\n"]),
        (Literal["a.b"], ["axb"]),
        (Annotated[int, Field(ge=1, lt=13)], ["0", "13", "-1"]),
        (Annotated[float, Field(gt=0, le=1)], ["0", "0.0", "1.1", "-0.5"]),
        (Annotated[float, Field(gt=0, lt=1e-7)], ["0", "0.0000001", "1"]),
        (Annotated[str, Field(pattern=r"^\d{3}$")], ["07", "0070"]),
    ],
)
def test_what_is_no_value_is_not_allowed(of: Any, wrong: list[str]) -> None:
    assert not [text for text in wrong if re.fullmatch(bare_form(of).constraint["regex"], text)]


def test_a_choice_that_goes_on_as_another_may_be_ended() -> None:
    form: TextForm[str] = bare_form(Literal["re", "red", "blue"])
    assert form.stops == ("\n",)
    assert re.fullmatch(form.constraint["regex"], "re\n")
    assert form.is_doubtful("re")
    assert bare_form(Literal["red", "blue"]).stops == ()


def test_a_schema_is_written_as_json_always() -> None:
    assert json.loads(json_form(int).constraint["json_schema"]) == {"type": "integer"}
    assert read('"yes"', schema=Literal["yes", "no"]) == "yes"
    assert read('{"a":[1]}', schema={"type": "object"}) == {"a": [1]}
    shape = {"tags": [{"type": "string"}]}
    assert read('{"tags":["a"]}', schema=shape) == {"tags": ["a"]}
    assert json.loads(json_form(shape).constraint["json_schema"])["required"] == ["tags"]


def test_a_published_json_schema_still_gives_text() -> None:
    for of in ({"json_schema": Person}, {"regex": Person}, {"json_schema": {"name": {"type": "string"}}}):
        assert read(JSON_ADA, **of) == JSON_ADA


def test_a_set_is_a_list_of_which_every_item_is_taken_once() -> None:
    """So that it can be enforced; of few runtimes can all items be made to differ."""
    for of in (set[int], frozenset[int]):
        assert "uniqueItems" not in bare_form(of).constraint["json_schema"]
        assert read("[1,1]", type=of) == {1}


def test_a_set_that_has_to_have_several_is_a_list_of_different_items() -> None:
    """A repeated item would leave too few."""
    schema = bare_form(Annotated[set[int], Field(min_length=2)]).constraint["json_schema"]
    assert '"uniqueItems"' in schema
    assert "uniqueItems" not in bare_form(Annotated[set[int], Field(min_length=1)]).constraint["json_schema"]


def test_a_price_is_a_number_wherever_it_stands() -> None:
    """pydantic's own schema has any string beside it."""

    class Offer(BaseModel):
        price: Annotated[Decimal, Field(gt=0, max_digits=8, decimal_places=2)]

    schema = json.loads(bare_form(Offer).constraint["json_schema"])
    assert schema["properties"]["price"] == {"type": "number", "exclusiveMinimum": 0.0, "title": "Price"}
    assert read('{"price":19.90}', type=Offer).price == Decimal("19.9")


@pytest.mark.parametrize(
    ("of", "error", "message"),
    [
        ({"type": "int"}, TypeError, "type must be a type, such as int or a pydantic class, not 'int'"),
        ({"type": {"type": "string"}}, TypeError, "a JSON schema goes into schema="),
        ({"type": object()}, TypeError, "type must be a type that JSON can hold"),
        ({"schema": type(len)}, TypeError, "schema must be a type that JSON can hold"),
        ({"schema": {"name": "string"}}, ValueError, "'name' is no keyword of JSON Schema"),
        ({"type": Annotated[int, Field(gt=1, lt=2)]}, ValueError, "no integer can have"),
        ({"type": int, "regex": r"\d"}, ValueError, "only one constraint can hold, but gen has regex and type"),
        ({"type": int, "choices": ["1"]}, ValueError, "gen has choices and type"),
        ({"type": int, "dtype": int}, ValueError, "gen has dtype and type"),
        ({"type": int, "schema": int}, ValueError, "gen has type and schema"),
    ],
)
def test_mistakes(of: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        sgl.gen("x", **of)


# --- what programs read


def test_the_text_goes_into_the_prompt_and_the_value_to_the_program(use_mock: UseMock) -> None:
    mock = use_mock(lambda *_: JSON_ADA)

    @sgl.function
    def program(s: sgl.ProgramState) -> Person:
        person = sgl.gen("person", type=Person)
        s += "Who? " + person + " So: " + sgl.gen("again", schema=Person)
        assert s["person"] is s.get(person) is s.get("person", Person)
        return s.get(person)

    for stream in (False, True):
        state = program.run(stream=stream)
        assert state.text() == f"Who? {JSON_ADA} So: {JSON_ADA}"
        assert state.ret_value == state["again"] == ADA
        assert "".join(state.text_iter("person")) == JSON_ADA
        assert state.get_meta_info("person")["finish_reason"]["type"] == "stop"
    assert mock.requests[1].prompt.text == f"Who? {JSON_ADA} So: "


def test_several_samples_and_forks() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        number = sgl.gen("number", n=2, type=int)
        s += number
        assert s["number"] == s.get_all(number) == s.get_all("number", int) == [7, 7]
        with pytest.raises(TypeError, match="'number' has 2 values; get_all gives them as a list"):
            s.get(number)
        forks = s.fork(3)
        forks += sgl.gen("forked", type=int)
        forks[0] += sgl.gen("single", type=int)
        s += forks.join()

    state = program.run(backend=sgl.Mock(lambda *_: "7"))
    assert state.text() == "7"
    assert state["forked"] == [7, 7, 7]
    assert state.get_all("single", int) == [state.get("single", int)] == [7]


async def test_coroutines(use_mock: UseMock) -> None:
    use_mock(lambda *_: "7")

    @sgl.function
    async def program(s: sgl.ProgramState) -> int:
        number = sgl.gen("number", type=int)
        s += number
        assert await s.aget_all("number", int) == [7]
        assert await s.aget("number") == await s.aget("number", int) == 7
        return await s.aget(number)

    assert (await program.arun()).ret_value == 7


def test_a_type_at_the_time_of_reading() -> None:
    state = ask.run(backend=sgl.Mock(lambda *_: JSON_ADA))
    assert state["x"] == state.get("x", str) == JSON_ADA
    assert state.get("x", Person) == ADA
    state.set_var("set", {"x": "1"})
    assert state.get("set", Point) == Point(1)
    with pytest.raises(sgl.ProgramError, match=r"variable 'set': \{'x': '1'\} is no int: Input should be a valid int"):
        state.get("set", int)
    with pytest.raises(sgl.VariableNotSetError, match="'y'"):
        state.get("y", int)


def test_a_handle_without_a_name() -> None:
    """It is the very gen that counts, not one that asks for the same."""

    @sgl.function
    def add(s: sgl.ProgramState) -> tuple[int, int]:
        first, second = sgl.gen(type=int), sgl.gen(type=int)
        s += "one " + first
        assert first in s
        assert second not in s
        s += " two " + second
        with pytest.raises(sgl.VariableNotSetError, match="there is none"):
            s.get("x", int)
        return s.get(first), s.get(second)

    state = add.run(backend=sgl.Mock({"one ": "1", "two ": "2"}))
    assert state.ret_value == (1, 2)
    assert state[None] == 2


def test_a_handle_without_a_name_of_forks() -> None:
    @sgl.function
    def guess(s: sgl.ProgramState) -> list[int]:
        number, alone = sgl.gen(type=int), sgl.gen(type=int)
        forks = s.fork(2)
        forks += lambda i: f"{i}:" + number
        forks[1] += "alone:" + alone
        forks.join()
        with pytest.raises(TypeError, match="2 values; get_all"):
            s.get(number)
        return [*s.get_all(number), s.get(alone)]

    assert guess.run(backend=sgl.Mock({"0:": "4", "1:": "5", "alone:": "6"})).ret_value == [4, 5, 6]


def test_a_handle_that_another_coroutine_appends(use_mock: UseMock) -> None:
    use_mock(lambda *_: "7")
    number = sgl.gen(type=int)

    @sgl.function
    async def late(s: sgl.ProgramState) -> None:
        s += number

    state = late.run(stream=True)
    assert state.get(number) == 7


def test_handles_that_are_none() -> None:
    state = ask.run(backend=sgl.Mock())
    with pytest.raises(sgl.VariableNotSetError, match="this very gen was not appended to this state"):
        state.get(sgl.gen(type=int))
    with pytest.raises(TypeError, match="has no type, so it is no handle"):
        state.get(sgl.gen("x"))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=re.escape("s.get('x', str)")):
        state.get("x")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="it takes no other"):
        state.get(sgl.gen("x", type=int), str)  # type: ignore[call-overload]


def test_a_mock_is_asked_what_the_type_says(use_mock: UseMock) -> None:
    mock = use_mock(lambda *_: "7")
    ask.run(type=int, temperature=0.5, n=2, max_new_tokens=9)
    sampling = mock.requests[0].sampling
    assert sampling is not None
    assert (sampling.stop, sampling.temperature, sampling.n, sampling.max_new_tokens) == (("\n",), 0.5, 2, 9)


# --- what is no value


def check_odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


def fail(number: int) -> int:
    raise KeyError("no such number")


@pytest.mark.parametrize(
    ("of", "text", "message"),
    [
        (Annotated[int, AfterValidator(check_odd)], "4", "'4', which the model wrote, is no"),
        (Annotated[int, AfterValidator(check_odd)], "4", ": Value error, 4 is even"),
        (Annotated[int, AfterValidator(fail)], "4", ": KeyError: 'no such number'"),
        (Person, '{"name":"Ada","age":200}', "is no Person: age: Input should be less than or equal to 150"),
        (list[Person], '[{"name":1}]', "Person]: 0.name: Input should be a valid string; 0.age: Field required"),
    ],
)
def test_an_error_names_the_variable_the_text_and_what_is_wrong(of: Any, text: str, message: str) -> None:
    state = ask.run(type=of, backend=sgl.Mock(lambda *_: text))
    for _ in range(2):
        with pytest.raises(sgl.ProgramError, match=re.escape(message)) as raised:
            _ = state["x"]
        assert raised.value.variable == "x"
        assert raised.value.text == f"Q:{text}"
        assert raised.value.file == __file__
        assert raised.value.cause is not None
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("of", "text", "max_new_tokens"),
    [(Person, '{"name": "Ada and so on", "age": 3}', 3), (int, "42", 1), (Literal["a", "a b"], "a b", 1)],
)
def test_a_value_that_was_cut_off(of: Any, text: str, max_new_tokens: int) -> None:
    """A number, and a choice that another begins with, look whole; but there might have been more."""
    state = ask.run(type=of, max_new_tokens=max_new_tokens, ignore_eos=True, backend=sgl.Mock(lambda *_: text))
    with pytest.raises(sgl.ProgramError, match="it was cut off by its length, so allow more max_tokens"):
        _ = state["x"]


ENDLESS = "allow more max_tokens, or bound the number, as Annotated[int, Field(ge=0, le=999)] or a regex does"


@pytest.mark.parametrize(
    ("of", "is_endless"),
    [
        (int, True),
        (float, True),
        (Annotated[int, Field(ge=1)], True),
        (Annotated[int, Field(lt=100)], True),
        (Annotated[int, Field(ge=1, lt=100)], False),
        (Literal[4, 44], False),
        (Level, False),
    ],
)
@pytest.mark.parametrize("argument", ["type", "schema"])
def test_a_number_without_end_should_get_one(of: Any, argument: str, is_endless: bool) -> None:
    """Where a model never stops writing digits, no budget suffices."""

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("x", **{argument: of})

    state = program.run(max_new_tokens=1, ignore_eos=True, backend=sgl.Mock(lambda *_: "4"))
    with pytest.raises(sgl.ProgramError, match="allow more max_tokens") as raised:
        _ = state["x"]
    assert (ENDLESS in str(raised.value)) is is_endless


def test_json_that_ends_where_the_length_does_is_whole() -> None:
    assert ask.run(type=Person, max_new_tokens=1, ignore_eos=True, backend=sgl.Mock(lambda *_: JSON_ADA))["x"] == ADA


def test_the_program_may_let_the_model_try_again(use_mock: UseMock) -> None:
    use_mock({"Odd:": "4", "No. Odd:": "5"})

    @sgl.function
    def program(s: sgl.ProgramState) -> Any:
        number = sgl.gen("number", type=Annotated[int, AfterValidator(check_odd)])
        s += "Odd:" + number
        try:
            return s.get(number)
        except sgl.ProgramError:
            s += " No. Odd:" + number
            return s.get(number)

    state = program.run()
    assert state.ret_value == 5
    assert state.text() == "Odd:4 No. Odd:5"
    assert state.error() is None


def test_a_validator_runs_once_and_in_the_readers_thread(use_mock: UseMock) -> None:
    use_mock(lambda *_: "4")
    threads = []

    def note(number: int) -> int:
        threads.append(threading.current_thread())
        return number

    state = ask.run(type=Annotated[int, AfterValidator(note)])
    assert not threads
    assert state["x"] == state["x"] == 4
    assert threads == [threading.current_thread()]


# --- on an engine


@pytest.mark.parametrize(
    ("of", "holds"),
    [
        (Annotated[int, Field(ge=100, le=150)], lambda value: 100 <= value <= 150),
        (Annotated[float, Field(gt=-1, lt=1)], lambda value: -1 < value < 1),
        (bool, lambda value: isinstance(value, bool)),
        (Colour, lambda value: value in Colour),
        (Level, lambda value: value in Level),
        (Literal["a", "ab"], lambda value: value in ("a", "ab")),
        (Annotated[str, Field(pattern=r"^\d{3}-\d{4}$")], lambda value: len(value) == 8),
        (Annotated[str, Field(pattern=r"^[a-z]\\$")], lambda value: value[1:] == "\\"),
        (Annotated[str, Field(min_length=2, max_length=3)], lambda value: 2 <= len(value) <= 3),
        (date, lambda value: isinstance(value, date)),
        (Literal["a", 1] | None, lambda value: value in ("a", 1, None)),
        (Annotated[set[Level], Field(max_length=2)], lambda value: value <= set(Level)),
        (Annotated[set[Annotated[int, Field(ge=0, le=3)]], Field(min_length=3)], lambda value: len(value) >= 3),
        (tuple[bool, Level], lambda value: isinstance(value[0], bool) and value[1] in Level),
    ],
)
def test_an_engine_gives_such_a_value(of: Any, holds: Any, tiny_engine: sgl.Engine) -> None:
    """Whatever weights it has."""
    state = ask.run(type=of, n=3, backend=tiny_engine, max_new_tokens=96)
    assert all(map(holds, state.get_all("x", of)))


@pytest.mark.parametrize("regex", [r"\{.*?\}", r"\{.*\}"])
def test_an_engine_knows_a_block_in_braces(regex: str, tiny_engine: sgl.Engine) -> None:
    @sgl.function
    def program() -> Any:
        return sgl.gen("Q", 0, regex=regex, n=2)

    with pytest.raises(sgl.ProgramError, match="allow more max_tokens"):
        program(backend=tiny_engine)
