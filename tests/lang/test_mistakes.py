"""What users get wrong, and what they are told."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest

import sglang as sgl
from tests.lang.conftest import UseMock


def test_generators_are_no_programs() -> None:
    def yields(s: sgl.ProgramState) -> Iterator[int]:
        yield 1

    async def does_both(s: sgl.ProgramState) -> AsyncIterator[int]:
        yield 1

    for function in (yields, does_both):
        with pytest.raises(TypeError, match=f"{function.__name__} must be a plain or an async function"):
            sgl.function(function)


def test_what_is_to_be_generated_cannot_stand_in_an_f_string() -> None:
    for expression in (sgl.gen("x"), sgl.select("x", ["a", "b"]), "a" + sgl.gen("x"), sgl.user("a")):
        with pytest.raises(TypeError, match="cannot stand in an f-string; write: 'text' \\+"):
            f"Q: {expression}"
    assert repr(sgl.gen("x")) == str(sgl.gen("x")) == "Gen('x')"


def returning(make: Callable[[sgl.ProgramState], Any], is_async: bool = False) -> sgl.SglFunction:
    def program(s: sgl.ProgramState) -> Any:
        s += "Q: "
        return make(s)

    async def async_program(s: sgl.ProgramState) -> Any:
        return program(s)

    return sgl.function(async_program if is_async else program)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda s: sgl.gen("x"), "Gen('x'), .* append it, s \\+= Gen('x'), and return what it gives, s\\['x'\\]$"),
        (lambda s: "A" + sgl.select("x", ["a", "b"]) + "!", "ExprList(.*), .* it gives, s\\['x'\\]$"),
        (lambda s: sgl.gen(), "Gen(None), .* what it gives$"),
        (lambda s: sgl.user("Hi"), "ExprList"),
        (lambda s: {"a": 1, "b": sgl.gen("x")}, "Gen('x')"),
        (lambda s: ["a", "b" + sgl.gen("x")], "ExprList(.*, Gen('x')"),
    ],
)
def test_an_expression_that_is_returned_and_was_never_appended(
    use_mock: UseMock, make: Callable[[sgl.ProgramState], Any], what: str, is_async: bool
) -> None:
    use_mock()
    what = what.replace("(", "\\(").replace(")", "\\)")
    program = returning(make, is_async)
    with pytest.raises(sgl.ProgramError, match=f"program at .*{__file__}:\\d+ returns {what}") as caught:
        program.run()
    assert caught.value.file == __file__
    (found,) = program.run_batch([{}], return_exceptions=True)
    assert isinstance(found, sgl.ProgramError)
    with pytest.raises(sgl.ProgramError, match="was never appended"):
        returning(make).run(stream=True).text()


def appended(s: sgl.ProgramState) -> Any:
    handle = sgl.gen("x")
    s += handle
    return handle


def appended_to_a_fork(s: sgl.ProgramState) -> Any:
    handle = sgl.gen(type=int)
    (fork,) = s.fork()
    (inner,) = fork.fork()
    inner += "=" + handle
    return handle, {"n": inner.get(handle)}["n"]


def appended_in_another_run(s: sgl.ProgramState) -> Any:
    inner = returning(appended_to_a_fork).run()
    handle, _ = inner.ret_value
    return handle


MAKERS = [appended, appended_to_a_fork, appended_in_another_run, lambda s: s, lambda s: {"x": "Hi"}, lambda s: None]


@pytest.mark.parametrize("make", MAKERS)
def test_other_values_are_returned_as_they_are(use_mock: UseMock, make: Callable[[sgl.ProgramState], Any]) -> None:
    use_mock(lambda prompt, sampling: "7")
    state = returning(make).run()
    assert state.text().startswith("Q: ")
    assert make is not appended or state.ret_value == sgl.gen("x")


@pytest.mark.parametrize("name", ["regex", "ebnf", "json_schema", "structural_tag"])
def test_an_empty_constraint_is_none(name: str) -> None:
    with pytest.raises(ValueError, match=r"must not be empty|is not JSON"):
        sgl.gen("x", **{name: ""})  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"structural_tag": "{"}, ValueError, "structural_tag is not JSON: .*: '{'"),
        ({"structural_tag": "[]"}, TypeError, "structural_tag must be a dict with format, .* not '\\[\\]'"),
        ({"structural_tag": {"format": {1, 2}}}, ValueError, "structural_tag cannot be written as JSON: .*set"),
        ({"structural_tag": {}, "ebnf": "a"}, ValueError, "only one constraint .* ebnf and structural_tag"),
        ({"logprobs_mode": "raw"}, ValueError, "must be 'raw_logprobs' or 'processed_logprobs', not 'raw'"),
        ({"guided_regex": "a"}, TypeError, "it is called 'regex' here"),
        ({"guided_whitespace_pattern": " "}, TypeError, "it is called 'whitespace_pattern' here"),
        ({"json_schema": list[int]}, TypeError, "json_schema must be .*use schema=.*, not list\\[int\\]"),
        ({"whitespace_pattern": " "}, ValueError, "whitespace_pattern .* needs json_schema, schema, or a type"),
        ({"whitespace_pattern": " ", "regex": "a"}, ValueError, "whitespace_pattern .* needs json_schema"),
        ({"whitespace_pattern": " ", "type": int}, ValueError, "whitespace_pattern .* needs json_schema"),
        ({"whitespace_pattern": " ", "choices": ["a", "b"]}, ValueError, "whitespace_pattern cannot be had with"),
        ({"whitespace_pattern": 1, "schema": int}, TypeError, "whitespace_pattern must be a string, not 1"),
        ({"whitespace_pattern": "(", "schema": int}, re.error, "whitespace_pattern '\\(' is wrong: missing \\)"),
        (
            {"choices_method": "exact", "choices": ["a", "b"]},
            TypeError,
            "must be sgl.token.* or sgl.exact, not 'exact'",
        ),
    ],
)
def test_what_gen_cannot_take_is_refused_in_its_line(
    arguments: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        sgl.gen("x", **arguments)


def test_a_wrong_regex_is_shown() -> None:
    with pytest.raises(re.error, match=r"regex '\(\[a' is wrong: unterminated character set") as caught:
        sgl.gen("x", regex="([a")
    assert (caught.value.pattern, caught.value.pos) == ("([a", 1)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"max_tokens": 3}, "for all generations of a run it is called max_new_tokens$"),
        ({"temprature": 0}, "did you mean 'temperature'\\?$"),
        ({"nam": "Bo"}, "did you mean 'name'\\?$"),
        ({"xyzzy": 1}, "unexpected keyword argument 'xyzzy'$"),
    ],
)
def test_an_argument_that_is_not_known(use_mock: UseMock, arguments: dict[str, Any], hint: str) -> None:
    use_mock()

    @sgl.function
    def greet(s: sgl.ProgramState, name: str = "Ann") -> None:
        s += "Hello " + name

    with pytest.raises(TypeError, match=f"^greet: .*{hint}"):
        greet.run(**arguments)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"num_thread": 2}, "'num_thread' is not known; did you mean 'num_threads'\\?$"),
        ({"generator_styl": True}, "did you mean 'generator_style'\\?$"),
        ({"temprature": 0}, "did you mean 'temperature'\\?$"),
        ({"max_tokens": 3}, "for all generations of a run it is called max_new_tokens$"),
        ({"xyzzy": 1}, "'xyzzy' is not known$"),
    ],
)
def test_an_argument_that_batches_do_not_have(use_mock: UseMock, arguments: dict[str, Any], hint: str) -> None:
    use_mock()

    @sgl.function
    def greet(s: sgl.ProgramState) -> None:
        s += "Hello"

    with pytest.raises(TypeError, match=hint):
        greet.run_batch([{}], **arguments)


def test_a_misspelled_argument_that_python_does_not_name(use_mock: UseMock) -> None:
    use_mock()

    @sgl.function
    def read(s: sgl.ProgramState, mail: str) -> None:
        s += mail

    with pytest.raises(TypeError, match="missing a required argument: 'mail'; did you mean 'mail' instead of 'mial'"):
        read.run_batch([{"mial": "x"}])


def test_a_variable_that_is_almost_there(use_mock: UseMock) -> None:
    use_mock()

    @sgl.function
    def ask(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("answer")

    with pytest.raises(sgl.VariableNotSetError, match=r"there are 'answer'; did you mean 'answer'\?"):
        ask.run()["anwser"]


@pytest.mark.parametrize("answers", [["yes"], "text", {"a": 5}, {1: "a"}])
def test_answers_of_a_wrong_shape(answers: Any) -> None:
    with pytest.raises(TypeError, match="Mock takes its answers by the end of the prompt"):
        sgl.Mock(answers)


def test_an_interrupt_of_the_user_s_own_comes_through(use_mock: UseMock) -> None:
    mock = use_mock()
    mock.hold()

    @sgl.function
    def ask(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("answer")

    def interrupt(*_: object) -> None:
        raise TimeoutError("mine")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(TimeoutError, match="mine"):
            ask.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert mock.num_open == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_new_tokens": 5}, "gen has no argument 'max_new_tokens'; did you mean 'max_tokens'?"),
        ({"max_token": 5}, "gen has no argument 'max_token'; did you mean 'max_tokens'?"),
        ({"seed": 5}, "gen has no argument 'seed'; it is called 'sampling_seed' here"),
        ({"xyzzy": 5}, "gen has no argument 'xyzzy'; it has choices, "),
    ],
)
def test_a_keyword_that_gen_does_not_have(arguments: dict[str, Any], message: str) -> None:
    for make in (sgl.gen, sgl.gen_int, sgl.gen_string):
        with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
            make("x", **arguments)


def test_a_keyword_that_select_does_not_have() -> None:
    with pytest.raises(TypeError, match="select has no argument 'options'; it is called 'choices' here"):
        sgl.select("x", options=["a", "b"])  # type: ignore[call-arg]


@pytest.mark.parametrize("argument", ["type", "schema"])
@pytest.mark.parametrize(
    "of", [lambda: 3, print, partial(int), complex, type[int], 3, [int], (int, str), ..., object()]
)
def test_what_is_no_type(argument: str, of: Any) -> None:
    with pytest.raises(TypeError, match=f"^{argument} must be a type") as caught:
        sgl.gen("x", **{argument: of})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "strng"}, "JSON Schema has no type 'strng'; did you mean 'string'?"),
        ('{"type": "strng"}', "JSON Schema has no type 'strng'; did you mean 'string'?"),
        ({"type": ["string", "nul"]}, "JSON Schema has no type 'nul'; did you mean 'null'?"),
        ({"properties": {"a": {"items": {"type": "int"}}}}, "JSON Schema has no type 'int'; did you mean 'integer'?"),
        ({"anyOf": [{"type": "dict"}]}, "JSON Schema has no type 'dict'; did you mean 'object'?"),
        ({"a": {"type": "float"}}, "JSON Schema has no type 'float'; did you mean 'number'?"),
        ({"const": {1, 2}}, "a JSON Schema must be plain JSON: Object of type set is not JSON serializable"),
        ({"const": float("nan")}, "a JSON Schema must be plain JSON: Out of range float values"),
        ("[1]", "json_schema must be the text of a JSON object, not '[1]'"),
        ("{", "json_schema is not JSON"),
    ],
)
def test_what_is_no_schema(schema: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        sgl.gen("x", json_schema=schema)
    if isinstance(schema, dict):
        with pytest.raises(ValueError, match=re.escape(message)):
            sgl.gen("x", schema=schema)


def test_properties_may_be_called_like_keywords() -> None:
    for schema in (
        {"properties": {"type": {"type": "string"}, "items": {"enum": ["strng"]}}, "default": {"type": "strng"}},
        {"type": "object", "properties": {"const": {"const": {"type": "strng"}}}},
    ):
        sgl.gen("x", json_schema=schema)


def test_a_wrong_stop_regex_is_shown() -> None:
    for wrong in ("([a", ["ok", "([a"]):
        with pytest.raises(re.error, match=r"stop_regex '\(\[a' is wrong: unterminated character set"):
            sgl.gen("x", stop_regex=wrong)


def test_the_native_api_is_not_under_v1() -> None:
    for url in ("http://localhost:30000/v1", "http://localhost:30000/v1/"):
        with pytest.raises(ValueError, match=r"leave that away, RuntimeEndpoint\('http://localhost:30000'\)"):
            sgl.RuntimeEndpoint(url)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("Anthropic", "anthropic", "anthropic"),
        ("LiteLLM", "litellm", "litellm"),
        ("OpenAI", "openai", "openai"),
        ("VertexAI", "google.genai", "vertexai"),
    ],
)
def test_a_client_library_that_is_missing(monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str) -> None:
    make = getattr(sgl, name)
    monkeypatch.setitem(sys.modules, module, None)
    if module == "google.genai":
        monkeypatch.setitem(sys.modules, "google", None)
    with pytest.raises(ValueError, match=rf"pip install 'sglang\[{extra}\]'"):
        make("m")
