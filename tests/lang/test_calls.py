"""Calls of APIs: functions and URLs, side by side, awaited where they are used."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.execution import loop
from tests.lang.conftest import UseMock


class Register:
    """Registers APIs for one test."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, target: Any, **options: Any) -> None:
        sgl.register_api(name, target, **options)
        self.names.append(name)


@pytest.fixture
def register() -> Iterator[Register]:
    registered = Register()
    yield registered
    for name in set(registered.names):
        sgl.unregister_api(name)


SLOW = threading.Event()
"""When the slow URL answers."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        if self.path == "/slow":
            SLOW.wait(60)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, kind, answer = {
            "/json": (200, "application/json; charset=utf-8", json.dumps({"got": json.loads(body)}).encode()),
            "/text": (200, "text/plain", body),
            "/fails": (503, "text/plain", b"closed on Sundays"),
            "/broken": (200, "application/json", b"{"),
            "/slow": (200, "text/plain", b"at last"),
        }[self.path]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@sgl.function
def fetch(name: str, arguments: Any = None, **options: Any) -> Any:
    return sgl.call_api(name, arguments, **options)


@pytest.fixture(autouse=True)
def some_backend(use_mock: UseMock) -> sgl.Mock:
    return use_mock(lambda *_: "said")


def test_a_function_gets_the_arguments_and_the_program_the_answer(register: Register) -> None:
    register("railway", lambda arguments: {"train": "G1", **arguments})
    assert fetch("railway", {"from": "北京"}) == {"train": "G1", "from": "北京"}
    assert fetch("railway") == {"train": "G1"}
    register("railway", lambda arguments: "replaced")
    assert fetch("railway") == "replaced"


def test_calls_run_side_by_side_and_are_awaited_where_they_are_used(register: Register) -> None:
    all_three = threading.Barrier(3)

    def meet(arguments: dict[str, Any]) -> dict[str, Any]:
        all_three.wait(60)
        return {"name": arguments["name"]}

    register("meet", meet)

    @sgl.function
    def program() -> dict[str, Any]:
        first, second = (sgl.call_api("meet", {"name": name}) for name in "ab")
        all_three.wait(60)
        prompt = f"{first['name']} and {second}"
        return {"prompt": prompt, "said": sgl.gen(prompt), "calls": [first, (second,)]}

    state = program.run()
    assert state.ret_value == {
        "prompt": "a and {'name': 'b'}", "said": "said", "calls": [{"name": "a"}, ({"name": "b"},)]
    }  # fmt: skip
    assert type(state.ret_value["calls"][0]) is dict


def test_an_answer_is_used_like_the_value_it_is(register: Register) -> None:
    register("give", lambda arguments: arguments["value"])

    def give(value: Any) -> Any:
        return sgl.call_api("give", {"value": value})

    answer = give({"a": [1, 2]})
    assert (answer["a"], len(answer), list(answer), "a" in answer, answer.get("b", 3)) == ([1, 2], 1, ["a"], True, 3)
    assert give(7) == 7 and give(7) != 8 and give(7) > 6 and give(7) <= give(8)
    assert (give(7) + 1, 1 + give(7), 2 * give(7), 10 - give(7), give(9) / 2) == (8, 8, 14, 3, 4.5)
    assert f"{give(3.14159):.2f} {give('x')}" == "3.14 x"
    assert "a" + give("b") == "ab"
    assert (int(give("7")), float(give("7")), bool(give([])), {give(7): 1}[7]) == (7, 7.0, False, 1)
    assert give("text").upper() == "TEXT"
    assert give({"b": 1}).result() == {"b": 1}
    assert re.fullmatch(r"<call_api\('give', \{'value': 1\}\) at .*test_calls\.py:\d+>", repr(give(1)))


async def test_async_functions_and_coroutines(register: Register) -> None:
    async def double(arguments: dict[str, Any]) -> int:
        await asyncio.sleep(0)
        return int(arguments["x"]) * 2

    register("double", double)

    @sgl.function
    async def program(s: sgl.ProgramState) -> Any:
        first, second = sgl.call_api("double", {"x": 2}), sgl.call_api("double", {"x": 3})
        return [await first + await second, first]

    assert (await program.arun()).ret_value == [10, 4]


async def test_a_use_that_would_block_an_event_loop_is_an_error(register: Register) -> None:
    released = threading.Event()
    register("wait", lambda _: released.wait(60))
    call = sgl.call_api("wait")
    with pytest.raises(sgl.ProgramError, match="would block the event loop it is used in; await it first"):
        str(call)
    released.set()
    assert await call is True
    assert str(call) == "True"


async def test_a_plain_program_may_block_the_loop_it_is_called_in(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook, whose cells run in an event loop: the program is no part of it."""
    is_awaited = threading.Event()
    register("wait", lambda _: is_awaited.wait(60))
    wait = loop.wait

    def told(*given: Any) -> Any:
        is_awaited.set()
        return wait(*given)

    monkeypatch.setattr(loop, "wait", told)

    @sgl.function
    def program() -> Any:
        used, returned = sgl.call_api("wait"), sgl.call_api("wait")
        return f"{used}", returned

    assert program() == ("True", True)


async def test_an_answer_that_came_is_not_late(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    register("quick", lambda _: "here", timeout=60)
    call = sgl.call_api("quick")
    assert await call == "here"
    monkeypatch.setattr("sglang.lang.calls.time.monotonic", lambda: 1e12)
    assert await call == "here"


def test_urls(register: Register, url: str) -> None:
    for name in ("json", "text", "fails", "broken"):
        register(name, f"{url}/{name}")
    assert fetch("json", {"from": "北京"}) == {"got": {"from": "北京"}}
    assert json.loads(fetch("text", {"a": 1})) == {"a": 1}
    with pytest.raises(sgl.ProgramError, match=r"call_api\('fails', \{'a': 1\}\).* 503: 'closed on Sundays'") as raised:
        fetch("fails", {"a": 1})
    assert isinstance(raised.value.cause, sgl.BackendError)
    with pytest.raises(sgl.ProgramError, match=r"call_api\('broken', \{\}\) at .* failed: JSONDecodeError"):
        fetch("broken")
    register("nobody", "http://127.0.0.1:9/")
    with pytest.raises(sgl.ProgramError, match=r"call_api\('nobody', \{\}\) at .* failed: Connect"):
        fetch("nobody")


def test_an_error_names_the_call(register: Register) -> None:
    def fail(arguments: dict[str, Any]) -> None:
        raise KeyError("no such order")

    register("orders", fail)
    call = sgl.call_api("orders", {"id": 7})
    for _ in range(2):
        with pytest.raises(
            sgl.ProgramError, match=r"call_api\('orders', \{'id': 7\}\) at .* failed: KeyError"
        ) as raised:
            _ = call["status"]
        assert isinstance(raised.value.cause, KeyError)
        assert raised.value.file == __file__


def test_an_error_that_nobody_has_seen_is_raised_at_the_end(register: Register) -> None:
    def fail(arguments: dict[str, Any]) -> None:
        raise KeyError("no such order")

    register("orders", fail)

    @sgl.function
    def careless(s: sgl.ProgramState) -> None:
        sgl.call_api("orders")

    @sgl.function
    async def careless_async(s: sgl.ProgramState) -> None:
        sgl.call_api("orders")

    @sgl.function
    def careful() -> str:
        try:
            return str(sgl.call_api("orders"))
        except sgl.ProgramError:
            return "none"

    for program in (careless, careless_async):
        with pytest.raises(sgl.ProgramError, match="no such order"):
            program.run()
    assert careful() == "none"


def test_a_timeout_names_the_call(register: Register) -> None:
    released = threading.Event()
    register("slow", lambda _: released.wait(60), timeout=0.01)
    with pytest.raises(sgl.ProgramError, match=r"call_api\('slow', \{'a': 1\}\) at .* has no answer after 0\.01 s"):
        fetch("slow", {"a": 1})
    released.set()
    assert fetch("slow", timeout=60) is True


def test_a_timeout_of_a_url_names_the_call(register: Register, url: str) -> None:
    register("slow", f"{url}/slow")
    with pytest.raises(sgl.ProgramError, match=r"call_api\('slow', \{\}\) at .* (has no|has not) answer"):
        fetch("slow", timeout=0.05)
    SLOW.set()
    assert fetch("slow") == "at last"


def test_an_answer_may_be_the_prompt(register: Register, some_backend: sgl.Mock) -> None:
    register("question", lambda _: "Who?")

    @sgl.function
    def program() -> Any:
        return sgl.gen(sgl.call_api("question"))  # type: ignore[call-overload]

    assert program() == "said"
    assert some_backend.requests[0].prompt.text == "Who?"


def test_a_program_that_fails_gives_up_its_calls(register: Register) -> None:
    released = threading.Event()
    calls = []
    register("slow", lambda _: released.wait(60))

    @sgl.function
    def program() -> None:
        calls.append(sgl.call_api("slow"))
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        program()
    with pytest.raises(sgl.ProgramError, match=r"call_api\('slow', \{\}\) at .* failed: CancelledError"):
        calls[0].result()
    released.set()


def test_what_is_not_registered(register: Register) -> None:
    register("logistics", print)
    with pytest.raises(sgl.SglangError, match="no API 'logistic' is registered: did you mean 'logistics'"):
        fetch("logistic")
    with pytest.raises(sgl.SglangError, match="no API 'other'"):
        sgl.unregister_api("other")


@pytest.mark.parametrize(
    ("name", "target", "timeout", "error", "message"),
    [
        ("", print, 1, TypeError, "an API's name must be a text, not ''"),
        ("a", "ftp://host", 1, ValueError, "the URL of API 'a' must begin with http:// or https://"),
        ("a", 7, 1, TypeError, "API 'a' must be a function or a URL, not 7"),
        ("a", print, "1", TypeError, "timeout must be a number of seconds, not '1'"),
        ("a", print, 0, ValueError, "timeout must be more than 0 s, not 0"),
        ("a", print, float("nan"), ValueError, "timeout must be more than 0 s, not nan"),
    ],
)
def test_mistakes(name: str, target: Any, timeout: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        sgl.register_api(name, target, timeout=timeout)


def test_arguments_are_a_dict(register: Register) -> None:
    register("a", print)
    with pytest.raises(TypeError, match="call_api takes the arguments of 'a' as a dict, not 7"):
        sgl.call_api("a", 7)  # type: ignore[arg-type]
