"""Functions without a state: ``gen(prompt)`` is the value."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import sglang as sgl
from tests.lang.conftest import UseMock


class Order(BaseModel):
    number: int


def gen(prompt: Any, *args: Any, **options: Any) -> Any:
    """As untyped programs see it."""
    return sgl.gen(prompt, *args, **options)


@sgl.function
def ask(prompt: Any, **options: Any) -> Any:
    return gen(prompt, **options)


def answered(text: str, **options: Any) -> Any:
    return ask("Q", **options, backend=sgl.Mock(lambda *_: text))


def test_a_prompt_gives_a_text(use_mock: UseMock) -> None:
    mock = use_mock({"Where?": " Here.", "And? Here.": " There."})

    @sgl.function
    def program(question: str, end: str = "?") -> dict[str, str]:
        first = gen(question + end)
        return {"first": first, "second": gen(f"And?{first}", 7, stop="!")}

    assert program("Where") == {"first": " Here.", "second": " There."}
    assert [request.prompt.text for request in mock.requests] == ["Where?", "And? Here."]
    assert mock.requests[1].sampling is not None
    assert (mock.requests[1].sampling.max_new_tokens, mock.requests[1].sampling.stop) == (7, ("!",))
    state = program.run("Where", temperature=0.5)
    assert (state.ret_value["first"], state["second"]) == (" Here.", " There.")
    assert mock.requests[2].sampling is not None
    assert mock.requests[2].sampling.temperature == 0.5


@pytest.mark.parametrize(
    ("text", "options", "value"),
    [
        ("7", {"type": int}, 7),
        ('{"number":7}', {"schema": Order}, Order(number=7)),
        ('{"number":7}', {"json_schema": Order}, Order(number=7)),
        ('{"number":7}', {"json_schema": {"number": {"type": "integer"}}}, {"number": 7}),
        ('{"number":7}', {"regex": {"type": "object"}}, {"number": 7}),
        ('{"number":7}', {"json_schema": '{"type":"object"}'}, {"number": 7}),
        ("yes", {"type": Literal["yes", "no"]}, "yes"),
        ("7", {"regex": r"\d"}, "7"),
        ("7", {"dtype": int}, "7"),
        ("7", {"type": int, "n": 2}, [7, 7]),
    ],
)
def test_the_value_is_what_the_constraint_promises(text: str, options: dict[str, Any], value: Any) -> None:
    assert answered(text, **options) == value


@pytest.mark.parametrize("regex", [r"\{.*?\}", r"\{[^}]*\}", r"{[^{}]*}", r"\{[\s\S]*?\}", r"\{.+?\}"])
def test_a_block_in_braces_is_an_object(regex: str) -> None:
    text = '{"brand": "A", "price": 9.5, "tags": ["x", null], "new": true}'
    assert answered(text, regex=regex) == {"brand": "A", "price": 9.5, "tags": ["x", None], "new": True}
    for wrong in ('{"a": {"b": 1}}', '{"a": "}"}', "{a}", "{}", '{"a": 01}', '{"a": 1,}', '{"a": "\\x"}'):
        with pytest.raises(sgl.ProgramError, match="does not match"):
            answered(wrong, regex=regex)


@pytest.mark.parametrize("regex", [r"\{.*\}", r"\{[\s\S]*\}"])
def test_a_block_up_to_the_last_brace_may_hold_others(regex: str) -> None:
    assert answered('{"a":{"b":"}"}}', regex=regex) == {"a": {"b": "}"}}


@pytest.mark.parametrize("name", ["json_schema", "regex"])
def test_a_type_is_no_schema_and_no_regex(name: str, mock: sgl.Mock) -> None:
    with pytest.raises(TypeError, match=rf"{name} must be .* a pydantic class.*, not list\[int\]"):
        ask("Q", **{name: list[int]})
    assert not mock.requests


@pytest.mark.parametrize("required", [["a"], []])
def test_a_schema_that_does_not_say_what_is_required_promises_all(required: list[str], use_mock: UseMock) -> None:
    mock = use_mock(lambda *_: "{}")
    schema: dict[str, Any] = {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    ask("Q", json_schema=schema)
    ask("Q", json_schema=json.dumps(schema))
    ask("Q", json_schema={**schema, "required": required})
    schemas = [json.loads(request.sampling.json_schema) for request in mock.requests]  # type: ignore[union-attr, arg-type]
    assert [schema["required"] for schema in schemas] == [["a", "b"], ["a", "b"], required]


def test_other_regexes_in_braces_are_regexes() -> None:
    assert answered("{a}", regex=r"\{a\}") == "{a}"


def test_what_is_no_value_is_an_error_that_says_where() -> None:
    with pytest.raises(sgl.ProgramError, match=r"test_direct\.py:\d+: .*which the model wrote, is no JSON") as raised:
        answered('{"number": 7}', json_schema=Order.model_json_schema(), max_new_tokens=1)
    assert "allow more max_tokens" in str(raised.value)


def test_choices(use_mock: UseMock) -> None:
    mock = use_mock(scores={"a": [-2.0], "b": [-1.0]})

    @sgl.function
    def program() -> tuple[Any, Any]:
        return gen("Q:", choices=["a", "b"]), sgl.select("Q:", ["a", "b"])

    assert program() == ("b", "b")
    assert mock.requests[0].prompt.text == "Q:"


def test_prompts_of_messages(use_mock: UseMock) -> None:
    mock = use_mock(lambda *_: "Paris")
    assert ask(sgl.user("Capital?") + sgl.assistant_begin()) == "Paris"
    assert mock.requests[0].prompt.messages == ({"role": "user", "content": "Capital?"},)


@pytest.mark.parametrize("prompt", [None, 7, {"a": 1}])
def test_what_is_no_prompt(prompt: Any, mock: sgl.Mock) -> None:
    with pytest.raises(TypeError, match="the prompt comes first"):
        ask(prompt)


def test_a_function_in_a_function_asks_the_same_backend_in_the_same_way(use_mock: UseMock) -> None:
    default = use_mock()
    mock = sgl.Mock()

    @sgl.function
    def outer() -> list[Any]:
        return [gen("outer"), ask("inner"), ask("cold", temperature=0.0), ask("default", backend=default)]

    values = outer.run(backend=mock, temperature=0.25).ret_value
    assert len(set(values)) == 4
    temperatures = [(request.prompt.text, request.sampling) for request in mock.requests]
    assert [(text, sampling and sampling.temperature) for text, sampling in temperatures] == [
        ("outer", 0.25), ("inner", 0.25), ("cold", 0.0)
    ]  # fmt: skip
    assert [request.prompt.text for request in default.requests] == ["default"]


def test_programs_of_both_styles_call_each_other(use_mock: UseMock) -> None:
    use_mock({"Q:": "with a state", "Q": "without"})

    @sgl.function
    def with_state(s: sgl.ProgramState) -> str:
        s += "Q:" + sgl.gen("answer")
        return f"{s['answer']}, {ask('Q')}"

    @sgl.function
    def without() -> str:
        return f"{gen('Q')}, {with_state.run().ret_value}, {gen('Q')}"

    assert without() == "without, with a state, without, without"


def test_outside_of_a_function_gen_is_a_node(mock: sgl.Mock) -> None:
    ask("Q")
    assert repr(sgl.gen("x")) == "Gen('x')"
    node: Any = sgl.gen("x")
    with pytest.raises(TypeError, match="is no value; outside of a function without a state"):
        _ = node["order_id"]


def test_threads_of_a_program_are_part_of_it_with_its_context(use_mock: UseMock) -> None:
    use_mock(lambda *_: "7")

    @sgl.function
    def program() -> list[Any]:
        with ThreadPoolExecutor() as pool:
            return [pool.submit(copy_context().run, gen, "Q", type=int).result() for _ in range(3)]

    assert program() == [7, 7, 7]


@pytest.mark.parametrize("held", [list, lambda found: dict.fromkeys("x", next(found)), next])
def test_threads_without_its_context_are_found_out(held: Any, mock: sgl.Mock) -> None:
    @sgl.function
    def program() -> Any:
        with ThreadPoolExecutor() as pool:
            return held(pool.map(gen, ["Q"]))

    with pytest.raises(TypeError, match=r"Gen\('Q'\) is returned, which is no value: in a thread .*copy_context"):
        program()

    @sgl.function
    def formatted() -> str:
        with ThreadPoolExecutor() as pool:
            return f"{pool.submit(gen, 'Q').result()}"

    with pytest.raises(TypeError, match=r"Gen\('Q'\) has no text yet.* \(in a thread .*copy_context"):
        formatted()


def test_batches_and_streams(use_mock: UseMock) -> None:
    mock = use_mock(lambda *_: "7")
    states = ask.run_batch([{"prompt": str(number)} for number in range(20)], max_new_tokens=5)
    assert [state.ret_value for state in states] == ["7"] * 20
    state = ask("Q", stream=True)
    state.sync()
    assert state.ret_value == "7"
    assert ask.bind(prompt="bound")() == "7"
    assert mock.requests[-1].prompt.text == "bound"


async def test_coroutines_await_them(use_mock: UseMock) -> None:
    use_mock(lambda *_: "7")
    assert (await ask.arun("Q")).ret_value == "7"
    assert [state.ret_value for state in await ask.arun_batch([{"prompt": "Q"}] * 3)] == ["7"] * 3


def test_an_error_ends_the_function(use_mock: UseMock) -> None:
    mock = use_mock(errors={0: RuntimeError("down")})
    with pytest.raises(sgl.ProgramError, match=r"at .*test_direct\.py:\d+ failed: RuntimeError: down"):
        ask("Q")

    @sgl.function
    def program() -> None:
        gen("Q")
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        program()
    assert mock.num_open == 0


def test_an_async_function_needs_a_state() -> None:
    async def program(prompt: str) -> None: ...

    with pytest.raises(TypeError, match=r"program has no state, .* make it a plain one, or the state 's'"):
        sgl.function(program)


def test_a_state_under_another_name_is_explained(mock: sgl.Mock) -> None:
    @sgl.function
    def program(state: Any, question: str) -> None:
        state += question

    with pytest.raises(TypeError, match="missing a required argument: 'question'; it has no state, since its first"):
        program.run("Q")
