"""API speculative execution: what is cut out of a longer completion, and what is asked anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.backends.apis.openai import OpenAI
from sglang.lang.backends.apis.speculation import Completion
from sglang.lang.backends.runtime import Runtime
from sglang.lang.execution import loop
from tests.lang.backends.fake_server import Answer, FakeServer

PAGE = "Name: Ada Lovelace\nBorn: 1815\nField: mathematics\nName:"
"""What the recorded model always goes on with, beginning where its prompt ends."""

PROMPT = "x = "
"""Which the tiny model goes on from in whole characters."""


def tokens_of(text: str) -> list[str]:
    return re.findall(r" ?\w+|\n|.", text)


def recorded(path: str, body: Any) -> Answer:
    """A completion as the API gives it: 7 prompt tokens, one token for a word, the offsets counted from the prompt."""
    prompt = body["prompt"]
    page = PAGE[len(prompt) :] if PAGE.startswith(prompt) else " something else entirely, and so on and on and on"
    tokens = tokens_of(page)[: body["max_tokens"]]
    text = "".join(tokens)
    finish_reason = "length"
    for stop in body.get("stop", ()):
        if stop in text:
            text, finish_reason = text[: text.index(stop)], "stop"
    offsets = [len(prompt) + sum(map(len, tokens[:index])) for index in range(len(tokens))]
    logprobs = {"tokens": tokens, "token_logprobs": [-1.0] * len(tokens), "text_offset": offsets, "top_logprobs": None}
    choice = {
        "index": 0,
        "text": text,
        "finish_reason": finish_reason,
        "logprobs": logprobs if "logprobs" in body else None,
    }
    usage = {"prompt_tokens": 7, "completion_tokens": len(tokens), "total_tokens": 7 + len(tokens)}
    return Answer({"id": "1", "object": "o", "created": 1, "model": "m", "choices": [choice], "usage": usage})


@pytest.fixture
def wire() -> Iterator[FakeServer]:
    with FakeServer(recorded) as fake:
        yield fake


@pytest.fixture
def model(wire: FakeServer) -> Iterator[OpenAI]:
    backend = OpenAI("m", False, base_url=wire.url, api_key="k")
    yield backend
    loop.run(backend.aclose())


def asked(wire: FakeServer) -> list[tuple[str, int]]:
    """The prompt and the limit of every request."""
    return [(request.body["prompt"], request.body["max_tokens"]) for request in wire.asked]


def card(s: sgl.ProgramState, second: str = "\nBorn:", **options: Any) -> None:
    s += "Name:" + sgl.gen("name", stop="\n", **options)
    s += second + sgl.gen("born", stop="\n", **options)
    s += "\nField:" + sgl.gen("field", stop="\n", **options)


def values(state: sgl.ProgramState) -> list[str]:
    return [state[name] for name in ("name", "born", "field")]


def speculative(num_tokens: int, func: Callable[..., Any] = card) -> Any:
    return sgl.function(num_api_spec_tokens=num_tokens)(func)


def test_a_pattern_that_is_kept_to_needs_one_call(wire: FakeServer, model: OpenAI) -> None:
    state = speculative(40).run(backend=model)
    assert values(state) == [" Ada Lovelace", " 1815", " mathematics"]
    assert asked(wire) == [("Name:", 128)]
    assert "stop" not in wire.asked[0].body
    usage = model.token_usage
    assert (usage.calls, usage.saved_calls) == (1, 2)
    metas = [state.get_meta_info(name) for name in ("name", "born", "field")]
    before = [7, 7 + len(tokens_of(" Ada Lovelace\nBorn:")), 7 + len(tokens_of(" Ada Lovelace\nBorn: 1815\nField:"))]
    assert [meta["prompt_tokens"] for meta in metas] == before
    assert [meta["saved_prompt_tokens"] for meta in metas] == [0, *before[1:]]
    assert usage.saved_prompt_tokens == sum(before[1:])
    assert [meta["completion_tokens"] for meta in metas] == [2, 1, 1]


def test_the_answers_are_those_of_plain_calls(wire: FakeServer, model: OpenAI) -> None:
    plain = sgl.function(card).run(backend=model, max_new_tokens=9)
    assert len(wire.asked) == 3
    state = speculative(40).run(backend=model, max_new_tokens=9)
    assert asked(wire)[3:] == [("Name:", 40)]
    assert state.text() == plain.text()
    assert [state.get_meta_info(name)["finish_reason"] for name in ("name", "born")] == [{"type": "stop"}] * 2


def test_text_that_differs_is_asked_anew(wire: FakeServer, model: OpenAI) -> None:
    state = speculative(40).run(second="\nDied:", backend=model, max_new_tokens=5)
    prompts = ["Name:", "Name: Ada Lovelace\nDied:"]
    assert [prompt for prompt, _ in asked(wire)][:2] == prompts
    assert state["born"] == " something else entirely, and"
    assert model.token_usage.saved_calls == 0


def test_an_answer_that_goes_on_beyond_the_completion_is_asked_anew(wire: FakeServer, model: OpenAI) -> None:
    assert values(speculative(6).run(backend=model, max_new_tokens=4))[:2] == [" Ada Lovelace", " 1815"]
    assert asked(wire) == [("Name:", 6), ("Name: Ada Lovelace\nBorn:", 6)]
    assert model.token_usage.saved_calls == 1


def test_a_limit_counts_tokens(wire: FakeServer, model: OpenAI) -> None:
    def program(s: sgl.ProgramState) -> None:
        s += "Name:" + sgl.gen("first", max_tokens=1)
        s += sgl.gen("second", max_tokens=2)

    state = speculative(40, program).run(backend=model)
    assert (state["first"], state["second"]) == (" Ada", " Lovelace\n")
    assert state.get_meta_info("second")["finish_reason"] == {"type": "length"}
    assert len(wire.asked) == 1


def test_forks_get_no_copies_of_one_another(wire: FakeServer, model: OpenAI) -> None:
    def program(s: sgl.ProgramState) -> None:
        s += "Name:"
        for fork in s.fork(3):
            fork += sgl.gen("name", stop="\n")
            fork += "\nBorn:" + sgl.gen("born", stop="\n")
            fork.sync()

    speculative(40, program).run(backend=model)
    assert [prompt for prompt, _ in asked(wire)] == ["Name:"] * 3
    assert model.token_usage.saved_calls == 3


def test_what_a_generation_is_drawn_with_must_be_the_same(wire: FakeServer, model: OpenAI) -> None:
    def program(s: sgl.ProgramState) -> None:
        s += "Name:" + sgl.gen("name", stop="\n", temperature=0.5)
        s += "\nBorn:" + sgl.gen("born", stop="\n", temperature=0.7)

    speculative(40, program).run(backend=model)
    assert len(wire.asked) == 2


@pytest.mark.parametrize(
    "options",
    [{"regex": " [A-Z].*"}, {"return_logprob": True}, {"frequency_penalty": 0.5}, {"min_tokens": 2}],
    ids=lambda options: next(iter(options)),
)
def test_what_cannot_be_cut_is_asked_as_ever(wire: FakeServer, model: OpenAI, options: dict[str, Any]) -> None:
    assert values(speculative(40).run(backend=model, max_new_tokens=9)) and len(wire.asked) == 1

    def program(s: sgl.ProgramState) -> None:
        card(s, **options)

    speculative(40, program).run(backend=model, max_new_tokens=9)
    assert [limit for _, limit in asked(wire)[1:]] == [9, 9, 9]
    assert all(request.body["stop"] == ["\n"] for request in wire.asked[1:])


@pytest.mark.parametrize("options", [{"max_tokens": -1}, {"stop": ["\n", ""]}])
def test_what_no_server_takes_is_left_to_it(wire: FakeServer, model: OpenAI, options: dict[str, Any]) -> None:
    def program(s: sgl.ProgramState) -> None:
        s += "Name:" + sgl.gen("name", **options)

    speculative(40, program).run(backend=model)
    body = wire.asked[0].body
    assert (body["max_tokens"], body.get("stop", [])) == (options.get("max_tokens", 128), options.get("stop", []))


def test_a_choice_in_between_may_be_as_the_completion_went_on(wire: FakeServer, model: OpenAI) -> None:
    def program(s: sgl.ProgramState) -> None:
        s += "Name:" + sgl.gen("name", stop="\n") + "\n"
        s += sgl.gen("key", choices=["Born:"]) + sgl.gen("born", stop="\n")

    assert speculative(40, program).run(backend=model)["born"] == " 1815"
    assert len(wire.asked) == 1


def test_an_async_program(wire: FakeServer, model: OpenAI) -> None:
    async def program(s: sgl.ProgramState) -> None:
        s += "Name:" + sgl.gen("name", stop="\n")
        s += "\nBorn:" + sgl.gen("born", stop="\n")
        assert await s.aget("born") == " 1815"

    speculative(40, program).run(backend=model)
    assert len(wire.asked) == 1


def test_an_answer_that_is_shorter_than_asked_for_is_what_there_is() -> None:
    """A server with a limit of its own."""

    def answer(path: str, body: Any) -> Answer:
        return recorded(path, {**body, "max_tokens": 2})

    with FakeServer(answer) as fake:
        backend = OpenAI("m", False, base_url=fake.url, api_key="k")
        state = speculative(40).run(backend=backend)
        assert state["name"] == " Ada Lovelace"
        assert state.get_meta_info("name")["finish_reason"] == {"type": "length"}
        loop.run(backend.aclose())


def test_a_batch(wire: FakeServer, model: OpenAI) -> None:
    states = speculative(40).run_batch([{}] * 5, backend=model)
    assert all(values(state) == [" Ada Lovelace", " 1815", " mathematics"] for state in states)
    assert (model.token_usage.calls, model.token_usage.saved_calls) == (5, 10)


def test_a_bound_program_speculates_too(wire: FakeServer, model: OpenAI) -> None:
    speculative(40).bind(second="\nBorn:").run(backend=model)
    assert len(wire.asked) == 1


def test_a_template_ends_roles(wire: FakeServer) -> None:
    backend = OpenAI("m", False, "chatml", base_url=wire.url, api_key="k")

    def program(s: sgl.ProgramState) -> None:
        s += sgl.assistant(sgl.gen("a"))

    speculative(40, program).run(backend=backend, max_new_tokens=3)
    assert "stop" not in wire.asked[0].body
    loop.run(backend.aclose())


# --- our own server ---------------------------------------------------------------------------------------------------


@pytest.fixture
def ours(runtime: Runtime) -> Iterator[OpenAI]:
    backend = OpenAI("tiny", False, base_url=f"{runtime.url}/v1", api_key="EMPTY")
    yield backend
    loop.run(backend.aclose())


def test_on_our_server_it_saves_calls_and_changes_nothing(ours: OpenAI) -> None:
    def program(s: sgl.ProgramState) -> None:
        s += PROMPT
        for number in range(4):
            s += sgl.gen(f"part{number}", max_tokens=4)

    given: dict[str, Any] = {"backend": ours, "temperature": 0.0, "ignore_eos": True}
    saved = speculative(16, program).run(**given)
    whole = sgl.function(lambda s: s.append(PROMPT + sgl.gen("whole", max_tokens=16))).run(**given)
    assert "".join(saved[f"part{number}"] for number in range(4)) == whole["whole"]
    assert (ours.token_usage.calls, ours.token_usage.saved_calls) == (2, 3)
    assert ours.token_usage.completion_tokens == 2 * 16
    assert saved.get_meta_info("part3")["prompt_tokens"] == whole.get_meta_info("whole")["prompt_tokens"] + 12


# --- wrong use --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), (True, TypeError)])
def test_the_number_is_a_positive_integer(number: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="num_api_spec_tokens must be"):
        speculative(number)


def test_it_is_refused_where_it_means_nothing(model: OpenAI) -> None:
    with pytest.raises(sgl.UnsupportedError, match=r"Mock does not support num_api_spec_tokens"):
        speculative(40).run(backend=sgl.Mock())
    chat = OpenAI("gpt-4o", base_url="http://127.0.0.1:1", api_key="k")
    with pytest.raises(sgl.UnsupportedError, match=r"needs a completion model \(is_chat_model=False\).*gpt-4o"):
        speculative(40).run_batch([{}], backend=chat)
    with pytest.raises(sgl.UnsupportedError, match="stream=True"):
        speculative(40).run(backend=model, stream=True)


def test_a_server_without_the_places_of_tokens_is_refused() -> None:
    choice = {"index": 0, "text": "!", "finish_reason": "stop", "logprobs": None}
    answer = {"id": "1", "object": "o", "created": 1, "model": "m", "choices": [choice]}
    with FakeServer(lambda path, body: Answer(answer)) as fake:
        backend = OpenAI("m", False, base_url=fake.url, api_key="k")
        with pytest.raises(sgl.ProgramError, match="text_offset"):
            speculative(40).run(backend=backend).text()
        loop.run(backend.aclose())


# --- the parts of a completion ----------------------------------------------------------------------------------------


def completion(*, is_ended: bool) -> Completion:
    """Tokens "ab", "", "c", "de"."""
    return Completion("P", "abcde", [2, 2, 3, 5], is_ended, num_prompt_tokens=None)


@pytest.mark.parametrize(
    ("begin", "limit", "stops", "expected"),
    [
        (0, 1, [], ("ab", "length")),
        (0, 3, [], ("abc", "length")),
        (1, 1, [], ("b", "length")),
        (0, 9, ["d", "c"], ("ab", "stop")),
        (0, 3, ["cd"], ("abc", "length")),
        (2, 9, ["ab"], None),
        (3, 1, [], ("de", "length")),
        (0, 9, ["a"], ("", "stop")),
    ],
)
def test_a_piece_ends_where_its_own_call_would(
    begin: int, limit: int, stops: list[str], expected: tuple[str, str] | None
) -> None:
    piece = completion(is_ended=False).cut(begin, limit, stops)
    assert (None if piece is None else (piece.text, piece.finish_reason)) == expected


def test_what_the_model_ended_is_complete() -> None:
    piece = completion(is_ended=True).cut(2, 9, [])
    assert piece is not None and (piece.text, piece.finish_reason, piece.num_tokens) == ("cde", "stop", 2)


def test_a_completion_goes_on_from_its_unused_part_only() -> None:
    found = completion(is_ended=True)
    found.used = 2
    assert [found.place_of(prompt) for prompt in ("P", "Pab", "Pabc", "Pabx", "Qabc", "Pabcde")] == [
        None,
        2,
        3,
        None,
        None,
        None,
    ]
