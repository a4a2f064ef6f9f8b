"""Programs on every backend: the same text, nothing computed twice, and clear errors when a backend fails."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import sglang as sgl
from sglang.lang.backends.apis.openai import OpenAI
from sglang.lang.backends.runtime import Runtime
from sglang.lang.backends.runtime_endpoint import RuntimeEndpoint
from sglang.lang.default_backend import register_if_no_default
from sglang.lang.execution import loop
from sglang.srt.errors import BackendError, EngineDeadError, ProgramError
from tests.helpers.runtime import eventually
from tests.lang.backends.fake_server import DROPPED, Answer, FakeServer

BACKENDS = ("engine", "runtime", "endpoint")
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": 12, "ignore_eos": True}


@pytest.fixture
def backends(tiny_engine: sgl.Engine, runtime: Runtime, endpoint: RuntimeEndpoint) -> dict[str, Any]:
    return dict(zip(BACKENDS, (tiny_engine, runtime, endpoint), strict=True))


@pytest.fixture
def openai_backend(runtime: Runtime) -> Iterator[OpenAI]:
    backend = OpenAI("tiny", base_url=f"{runtime.url}/v1", api_key="EMPTY")
    yield backend
    loop.run(backend.aclose())


@sgl.function
def conversation(s: Any, question: str) -> None:
    s += sgl.system("Be brief.")
    s += sgl.user(question)
    s += sgl.assistant(sgl.gen("first"))
    s += sgl.user("And then?")
    s += sgl.assistant(sgl.gen("second"))


@sgl.function
def everything(s: Any, topic: str) -> None:
    s += f"About {topic}: " + sgl.gen("intro") + "\nIt is " + sgl.select("kind", choices=["old", "new", "both"])
    branches = s.fork(3)
    branches += lambda index: f"\n{index + 1}. " + sgl.gen("point")
    branches.join()
    s += "".join(f"\n- {point}" for point in s["point"]) + "\nIn short:" + sgl.gen("end", stop="e")


@pytest.mark.parametrize(
    ("program", "argument"),
    [(conversation, "Who are you?"), (everything, "ships 🚢")],
    ids=["conversation", "everything"],
)
def test_the_same_text_everywhere(program: Any, argument: str, backends: dict[str, Any]) -> None:
    states = [program.run(argument, backend=backend, **GREEDY) for backend in backends.values()]
    assert len({state.text() for state in states}) == 1
    assert states[0].messages() == states[1].messages() == states[2].messages()


class Truth(BaseModel):
    is_so: Literal[True]


TAG = {"type": "tag", "begin": "<f>", "content": {"type": "regex", "pattern": "[ab]{2}"}, "end": "</f>"}


@sgl.function
def tagged(s: Any, structural_tag: Any) -> None:
    s += sgl.user("A tag?") + sgl.assistant(sgl.gen("tag", structural_tag=structural_tag))


def test_a_structural_tag_holds_everywhere(backends: dict[str, Any], openai_backend: OpenAI) -> None:
    for backend in (*backends.values(), openai_backend):
        for written in ({"format": TAG}, json.dumps({"type": "structural_tag", "format": TAG})):
            state = tagged.run(written, backend=backend, temperature=1.0, sampling_seed=1)
            assert re.fullmatch("<f>[ab]{2}</f>", state["tag"])


@sgl.function
def spaced(s: Any, **how: Any) -> None:
    s += sgl.user("A truth?") + sgl.assistant(sgl.gen("truth", 32, whitespace_pattern="[ ]", **how))


@pytest.mark.parametrize("argument", ["json_schema", "schema", "type"])
def test_white_space_is_what_its_pattern_says_everywhere(
    argument: str, backends: dict[str, Any], openai_backend: OpenAI
) -> None:
    how: dict[str, Any] = {argument: {"is_so": {"const": True}} if argument == "json_schema" else Truth}
    for backend in (*backends.values(), openai_backend):
        assert spaced.run(**how, backend=backend, **GREEDY).text().count('{ "is_so" : true }') == 1


@sgl.function
def pairs(s: Any) -> None:
    s += sgl.user("Pairs?") + sgl.assistant(sgl.gen("pairs", max_tokens=6, regex="(ab)+", ignore_eos=True))


def test_an_answer_whose_tokens_run_out_is_whole_and_says_so(backends: dict[str, Any], openai_backend: OpenAI) -> None:
    for backend in (*backends.values(), openai_backend):
        for stream in (False, True):
            state = pairs.run(backend=backend, stream=stream)
            assert state["pairs"] == "ababab"
            assert state.get_meta_info("pairs")["finish_reason"]["closed"] is True
            state.sync()
            (asked,) = state.trace().requests
            assert asked.at_limit == "closed"
            assert "closed at its limit" in str(state.trace())


@sgl.function
def forced(s: Any, **options: Any) -> None:
    s += sgl.user("Say a.") + sgl.assistant(sgl.gen("a", regex="a", return_logprob=True, **options))


def test_log_probabilities_before_the_constraint_and_after(backends: dict[str, Any], openai_backend: OpenAI) -> None:
    """Of the only token that may come, which is certain after it."""
    for backend in (*backends.values(), openai_backend):
        means = {}
        for mode in (None, "raw_logprobs", "processed_logprobs"):
            meta_info = forced.run(logprobs_mode=mode, backend=backend, **GREEDY).get_meta_info("a")
            means[mode] = meta_info["output_token_logprobs"][0][0]
        assert means[None] == means["raw_logprobs"] < -1.0
        assert means["processed_logprobs"] == 0.0


@sgl.function
def exact_conversation(s: Any, question: str) -> None:
    s += sgl.user(question)
    s += sgl.assistant("Well, " + sgl.gen("first") + " so ")
    s += sgl.user("Yes or no?")
    s += sgl.assistant(sgl.select("answer", ["yes", "no", "no way"], choices_method=sgl.exact))
    s += sgl.user("Really?")
    s += sgl.assistant(sgl.select("drawn", ["yes", "no"], temperature=5.0, choices_method=sgl.exact))


def test_exact_in_roles_and_after_generated_text_is_the_same_everywhere(backends: dict[str, Any]) -> None:
    drawn = set()
    for seed in range(5):
        options = {**GREEDY, "sampling_seed": seed}
        states = [exact_conversation.run("Who?", backend=backend, **options) for backend in backends.values()]
        assert len({state.text() for state in states}) == 1
        for state in states:
            assert sum(state.get_meta_info("answer")["choice_probabilities"]) == pytest.approx(1.0)
            assert state.get_meta_info("drawn")["sampling_seed"] == seed
        drawn.add(states[0]["drawn"])
    assert drawn == {"yes", "no"}


@pytest.mark.parametrize("name", BACKENDS)
def test_streams_are_the_whole(name: str, backends: dict[str, Any]) -> None:
    whole = conversation.run("Go on", backend=backends[name], **GREEDY)
    state = conversation.run("Go on", backend=backends[name], stream=True, **GREEDY)
    assert "".join(state.text_iter("second")) == whole["second"]
    assert "".join(state.text_iter()) == whole.text()


@pytest.mark.parametrize("name", BACKENDS)
def test_a_second_gen_computes_only_what_is_new(name: str, backends: dict[str, Any], tiny_engine: sgl.Engine) -> None:
    sgl.flush_cache(backends[name])
    state = conversation.run("What is new?", backend=backends[name], **GREEDY)
    first, second = (state.get_meta_info(variable) for variable in ("first", "second"))
    between = tiny_engine.role_text(["system", "user", "assistant"]).suffix
    between += tiny_engine.role_text(["system", "user", "assistant", "user"]).prefix + "And then?"
    between += tiny_engine.role_text(["system", "user", "assistant", "user"]).suffix
    between += tiny_engine.role_text(["system", "user", "assistant", "user", "assistant"]).prefix
    assert first["cached_tokens"] == 0
    assert second["prompt_tokens"] == first["prompt_tokens"] + 12 + len(between)
    assert second["cached_tokens"] == first["prompt_tokens"] + 12 - 1  # the last token was drawn, but never computed


@pytest.mark.parametrize("name", BACKENDS)
def test_batches(name: str, backends: dict[str, Any]) -> None:
    questions = [f"What is {number}?" for number in range(40)]
    states = conversation.run_batch(
        [{"question": question} for question in questions], backend=backends[name], **GREEDY
    )
    for state, question in list(zip(states, questions, strict=True))[::13]:
        assert state.text() == conversation.run(question, backend=backends[name], **GREEDY).text()


def test_constraints_hold(backends: dict[str, Any], openai_backend: OpenAI) -> None:
    @sgl.function
    def year(s: Any) -> None:
        s += sgl.user("When?")
        s += sgl.assistant(sgl.gen("year", regex="(1|2)[0-9]{3}"))

    for backend in (*backends.values(), openai_backend):
        assert 1000 <= int(year.run(backend=backend)["year"]) < 3000


def test_a_conversation_over_the_openai_api(tiny_engine: sgl.Engine, openai_backend: OpenAI) -> None:
    expected = conversation.run("Who are you?", backend=tiny_engine, **GREEDY)
    state = conversation.run("Who are you?", backend=openai_backend, **GREEDY)
    assert state["first"] == expected["first"]
    roles = [message["role"] for message in state.messages()]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    warm = conversation.run("Who are you?", backend=openai_backend, **{**GREEDY, "temperature": 0.1})
    assert warm["second"]
    streamed = conversation.run("Who are you?", backend=openai_backend, stream=True, **GREEDY)
    assert "".join(streamed.text_iter("second")) == state["second"]


def test_a_runtime_is_the_default_where_there_is_none(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sgl.global_config, "default_backend", None)
    register_if_no_default(runtime)
    assert conversation.run("Anyone?", **GREEDY)["second"]


# --- failing ----------------------------------------------------------------------------------------------------------


def num_requests(backend: Any) -> int:
    (state,) = sgl.get_server_info(backend)["internal_states"]
    return int(state["num_running"]) + int(state["num_waiting"])


@pytest.mark.parametrize("name", BACKENDS)
def test_an_error_in_the_program_frees_its_requests(name: str, backends: dict[str, Any]) -> None:
    backend = backends[name]

    @sgl.function
    def broken(s: Any) -> None:
        s += "Sing for ever:" + sgl.gen("song", max_tokens=90_000, ignore_eos=True)
        eventually(lambda: num_requests(backend) == 1, "the request runs")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        broken.run(backend=backend)
    eventually(lambda: num_requests(backend) == 0, "the request has ended")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(DROPPED, BackendError), (Answer({"error": {"message": "no", "type": "engine_dead"}}, 503), EngineDeadError)],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_dies_under_a_program(answer: Answer, kind: type[Exception], stream: bool) -> None:
    meta = {"finish_reason": {"type": "stop"}}

    def only_first(path: str, body: Any) -> Answer:
        if "And then?" in body["text"]:
            return answer
        line = {"text": "I am fine.", "meta_info": meta}
        return Answer(b"data: " + Answer(line).data + b"\n\ndata: [DONE]\n\n") if body.get("stream") else Answer(line)

    with FakeServer(only_first) as fake:
        endpoint = RuntimeEndpoint(fake.url)
        state = conversation.run("How are you?", backend=endpoint, stream=stream)
        assert state["first"] == "I am fine."
        reads: list[Callable[[], Any]] = [lambda: state["second"], state.text, lambda: list(state.text_iter("second"))]
        for read in reads:
            with pytest.raises(ProgramError, match="second") as raised:
                read()
            assert type(raised.value.__cause__) is kind
            assert "I am fine." in raised.value.text
        loop.run(endpoint.aclose())
