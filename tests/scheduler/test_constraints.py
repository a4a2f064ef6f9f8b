"""Constrained requests among others, on the checksum model: same answers in any traffic, and nothing left behind."""

from __future__ import annotations

import gc
import json
import random
import re
import threading
import weakref
from typing import Any

import pytest

from sglang.srt.executor.sampler import SamplingRow
from sglang.srt.grammar.matcher import Constrained
from sglang.srt.grammar.pace import Pace
from sglang.srt.grammar.workers import grammar_threads
from sglang.srt.messages import GenerateRequest, RequestOutput
from sglang.srt.vocab import Vocab
from tests.grammar.texts import accepts, grammar_of
from tests.helpers import memory_executor
from tests.helpers.scheduling import VOCAB_SIZE, Bench, PatientExecutor, expected_tokens, request

WORDS = [bytes([i]) for i in range(256)] + [b"Hello", b" world", b"the ", b'{"', b'":', b"10", b"<end>", b"<stop>"]
WORDS += [b""] * (VOCAB_SIZE - len(WORDS))
END, STOP = WORDS.index(b"<end>"), WORDS.index(b"<stop>")
VOCAB = Vocab(token_bytes=WORDS, special_ids=[END, STOP], eos_ids=[END])

GREETING = r"Hello world, this is (a|the long) fixed text: [0-9]{2,4}!"
PATTERNS = [GREETING, "(a|b)*c", "[0-9]+", "x{3}", r"the (Hello|hell) \d\d?", "(Hello| world)+"]


def constrained(rid: str, pattern: str, prompt: Any = range(10), **fields: Any) -> GenerateRequest:
    return request(rid, prompt, grammar=grammar_of("regex", pattern), **{"max_new_tokens": 60, **fields})


def bench(**options: Any) -> Bench:
    return Bench(**{"total": 2000, "vocab": VOCAB, **options})


def answer(message: GenerateRequest, **options: Any) -> RequestOutput:
    alone = bench(**options)
    alone.add(message)
    alone.run()
    alone.assert_baseline()
    return alone.finished[message.rid]


def timeless(output: RequestOutput) -> RequestOutput:
    output.first_token_latency = None
    return output


def assert_holds(output: RequestOutput, pattern: str) -> None:
    """Every answer is whole; what would not be is refused."""
    assert output.finish is not None
    if output.finish.type == "abort":
        assert output.finish.status_code == 400 and "shortest output" in str(output.finish.message)
    else:
        assert re.fullmatch(pattern, output.text.decode()), output.text
        assert output.finish.closed is (True if output.finish.type == "length" else None)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("seed", range(4))
def test_the_answer_satisfies_the_constraint_with_and_without_jumps(pattern: str, seed: int) -> None:
    message = constrained("a", pattern, seed=seed)
    jumped, stepped = answer(message), answer(message, jump_forward=False)
    assert (jumped.token_ids, jumped.text, jumped.finish) == (stepped.token_ids, stepped.text, stepped.finish)
    assert_holds(jumped, pattern)


def test_forced_tokens_cost_no_draw_and_are_computed_together() -> None:
    jumping, stepping = bench(), bench(jump_forward=False)
    for one in (jumping, stepping):
        one.add(constrained("a", "Hello world, (a|b) and so on and so on"))
        one.run()
    ids = jumping.finished["a"].token_ids
    assert ids == stepping.finished["a"].token_ids
    assert len(stepping.executor.steps) == len(ids) and len(jumping.executor.steps) == 1
    assert jumping.scheduler.counters.generated_tokens == len(ids)
    assert jumping.executor.steps[0].samples[0].position == 10 + len(b", ") + 2
    assert len(jumping.executor.steps[0].token_ids) == 10 + len(b", ") + 2


def test_a_text_that_is_forced_as_a_whole_needs_no_step() -> None:
    one = bench()
    one.add(constrained("a", "Hello world"))
    one.run()
    output = one.finished["a"]
    assert output.text == b"Hello world" and not one.executor.steps
    assert output.finish is not None and (output.finish.type, output.finish.matched) == ("stop", WORDS.index(b" world"))


def test_with_logprobs_every_token_is_drawn() -> None:
    one = bench()
    one.add(constrained("a", "x{3}", return_logprob=True))
    one.run()
    assert one.finished["a"].text == b"xxx" and len(one.executor.steps) == 3


@pytest.mark.parametrize("limit", range(1, 9))
@pytest.mark.parametrize("jump", [True, False])
def test_a_budget_that_is_too_small_for_any_output_is_refused_with_what_is_needed(limit: int, jump: bool) -> None:
    output = answer(constrained("a", "Hello world (1|2)xyz", max_new_tokens=limit), jump_forward=jump)
    assert output.finish is not None
    if limit < 7:
        assert (output.finish.type, output.finish.status_code, output.token_ids) == ("abort", 400, [])
        assert f"has 7 tokens, but at most {limit} may be generated" in str(output.finish.message)
    else:
        assert output.finish.type == "stop" and len(output.token_ids) == 7


@pytest.mark.parametrize("pattern", [r"\{[a-z]{2,30}(,[0-9]+){0,9}\}", r'"([a-z]|\\["n])*"', r"(<b>)*x(</b>){3}"])
@pytest.mark.parametrize("fields", [{}, {"return_logprob": True}, {"params": {"stop": (",",)}}])
def test_an_output_whose_tokens_run_out_is_whole(pattern: str, fields: dict[str, Any]) -> None:
    num_closed = 0
    for limit in (14, 15, 16, 20):
        for seed in range(6):
            message = constrained("a", pattern, seed=seed, max_new_tokens=limit, **fields)
            output, stepped = answer(message), answer(message, jump_forward=False)
            assert output.finish is not None and output.finish.type in ("stop", "length")
            assert len(output.token_ids) <= limit
            if "params" not in fields:
                assert re.fullmatch(pattern, output.text.decode()), output.text
            assert (output.token_ids, output.finish) == (stepped.token_ids, stepped.finish)
            num_closed += output.finish.closed is True
    assert num_closed > 0


def test_where_outputs_cannot_be_followed_the_answer_says_that_it_is_not_whole() -> None:
    grammar = 'start: a "!"\na: b | "x"\nb: a "y" | "z"\n'  # rules that begin with each other
    output = answer(request("a", range(10), grammar=grammar, max_new_tokens=2, params={"ignore_eos": True}))
    assert output.finish is not None
    assert (output.finish.type, output.finish.closed) in (("length", False), ("stop", None))


@pytest.mark.parametrize("jump", [True, False])
@pytest.mark.parametrize(
    ("pattern", "params", "text", "matched"),
    [
        (r"[0-9]{2}[ \n]*", {"stop": (" ", "\n"), "ignore_eos": True}, r"\d\d", r"[ \n]"),
        (r"ab( cd)?", {"stop": (" ",)}, "ab", None),
        (r"a b c(d|e)", {"stop": (" ",)}, "a b c[de]", None),
        (r"Hello world, yes", {"stop": ("o", "wor")}, "Hello world, yes", None),
        (r"Hello( world){0,3}!", {"stop": ("!", "world!")}, "Hello( world){0,3}!", None),
        (r"(a|b)+\.x*", {"stop_regex": (r"x{2,3}",), "ignore_eos": True}, r"[ab]+\.x?", "x{2,3}"),
        (r"abc,def", {"stop_regex": (r"[,;]",)}, "abc,def", None),
        (
            r"(abc(,def){3})+",
            {"stop_regex": (r",\w+,",), "no_stop_trim": True, "max_new_tokens": 30},
            r"(abc(,def){3})+.*",
            None,
        ),
        (r"(a|b){4}", {"stop_token_ids": (ord("b"),), "min_new_tokens": 2}, "[ab]{4}", None),
        (r"(a|b)+", {"stop_token_ids": (ord("b"),), "ignore_eos": False}, "[ab]*", None),
        (r"(a|b)+", {"stop_token_ids": (STOP,), "min_new_tokens": 3}, "[ab]{3,}", None),
        (r"x{2,4}y?", {"min_new_tokens": 50}, "x{2,4}y?", None),
        (r"x{2,4}", {"ignore_eos": True}, "xxxx", str(ord("x"))),
    ],
)
def test_stopping_within_a_constraint(
    jump: bool, pattern: str, params: dict[str, Any], text: str, matched: str | None
) -> None:
    """A stop counts only where what is left satisfies the constraint; the end of the grammar always counts."""
    limit = params.pop("max_new_tokens", 60) if "max_new_tokens" in params else 60
    for seed in range(8):
        message = constrained("a", pattern, seed=seed, params=dict(params), max_new_tokens=limit)
        output = answer(message, jump_forward=jump)
        assert output.finish is not None
        assert re.fullmatch(text, output.text.decode()), output.text
        if output.finish.type == "stop":
            assert re.fullmatch(pattern, output.text.decode())
            assert (
                matched is None or re.fullmatch(matched, str(output.finish.matched)) or matched == output.finish.matched
            )


def test_a_grammar_that_does_not_compile_ends_its_request_only() -> None:
    one = bench()
    healthy = request("healthy", range(30), max_new_tokens=40, params={"ignore_eos": True})
    one.add(healthy, request("broken", range(5), grammar="start: nothing"))
    one.run()
    assert one.finished["healthy"].token_ids == expected_tokens(healthy)
    broken = one.finished["broken"].finish
    assert broken is not None and (broken.type, broken.status_code) == ("abort", 400)
    assert "the constraint cannot be used with this model" in str(broken.message)
    one.assert_baseline()


def test_whatever_a_compile_raises_ends_its_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    one = bench()
    monkeypatch.setattr("sglang.srt.grammar.compiler.GrammarCompiler._compile", fail)
    healthy = request("healthy", range(30), max_new_tokens=4, params={"ignore_eos": True})
    one.add(healthy, constrained("broken", "a+", range(5)))
    one.run()
    assert one.finished["healthy"].token_ids == expected_tokens(healthy)
    broken = one.finished["broken"].finish
    assert broken is not None and "could not be compiled: MemoryError: no room" in str(broken.message)
    one.assert_baseline()


@pytest.mark.parametrize("streams", [False, True])
def test_a_constraint_that_breaks_ends_its_request_only(monkeypatch: pytest.MonkeyPatch, streams: bool) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("lost its place")

    one = bench()
    healthy = request("healthy", range(30), max_new_tokens=40, params={"ignore_eos": True})
    one.add(healthy, constrained("broken", r"[a-z]{30}", stream=streams))
    for _ in range(3):
        one.step()
    monkeypatch.setattr(Constrained, "accept", fail)
    one.run()
    assert one.finished["healthy"].token_ids == expected_tokens(healthy)
    broken = one.finished["broken"].finish
    assert broken is not None and (broken.type, broken.status_code) == ("abort", 500)
    assert "RuntimeError: lost its place" in str(broken.message)
    one.assert_baseline()


def test_a_dead_end_is_an_error_and_costs_the_cache_nothing() -> None:
    words = [b"a", b"b", b"<end>"] + [b""] * (VOCAB_SIZE - 3)
    one = bench(vocab=Vocab(token_bytes=words, special_ids=[2], eos_ids=[2]))
    one.add(constrained("dead", "(a|b)c", range(40)))
    one.run()
    finish = one.finished["dead"].finish
    assert finish is not None and (finish.type, finish.status_code) == ("abort", 400)
    assert "cannot be followed any further" in str(finish.message)
    one.add(request("next", range(40), max_new_tokens=1))
    one.run()
    assert one.finished["next"].cached_tokens == 39
    one.assert_baseline()


def test_a_request_waits_for_its_own_grammar_only() -> None:
    compiling = PatientExecutor()
    one = bench(grammars=compiling)
    late = constrained("late", "(a|b)c")
    one.add(late)
    assert not one.scheduler.has_work
    assert one.scheduler.stats().num_waiting == 1
    other = request("other", range(20), max_new_tokens=10)
    one.add(other)
    one.run()
    assert one.finished["other"].token_ids == expected_tokens(other) and "late" not in one.finished
    one.add(constrained("gone", "x{3}"), constrained("same", "(a|b)c"))
    one.abort("gone")
    gone = one.finished["gone"].finish
    assert gone is not None and gone.type == "abort"
    compiling.work()
    one.run()
    assert one.finished["late"].text == answer(late).text == one.finished["same"].text
    compiling.work()
    one.run()
    one.assert_baseline()


def test_nothing_keeps_what_followed_a_grammar_once_its_request_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even until Python's collector comes, which in a busy engine takes minutes."""
    followers: list[weakref.ref[Constrained]] = []
    begin_to_follow = Constrained.begin

    def begin(self: Constrained, room: int) -> Any:
        followers.append(weakref.ref(self))
        return begin_to_follow(self, room)

    monkeypatch.setattr(Constrained, "begin", begin)
    compiling = PatientExecutor()
    one = bench(grammars=compiling)
    gc.disable()
    try:
        for pattern in PATTERNS:
            one.add(constrained(pattern, pattern, params={"stop": ("!",)}))
        while compiling.num_left:
            compiling.work()
        one.run()
        assert [follower() for follower in followers] == [None] * len(PATTERNS)
    finally:
        gc.enable()


def test_a_name_that_is_used_again_while_its_first_grammar_is_made() -> None:
    compiling = PatientExecutor()
    one = bench(grammars=compiling)
    one.add(constrained("a", "x{3}"))
    one.abort("a")
    del one.finished["a"]
    one.add(constrained("a", "y{3}"))
    compiling.work()
    one.run()
    assert not one.finished
    compiling.work()
    one.run()
    assert one.finished["a"].text == b"yyy"


def test_nothing_is_compiled_for_a_prompt_alone() -> None:
    one = bench(grammars=PatientExecutor())
    one.add(constrained("prefill", "a", max_new_tokens=0))
    one.run()
    assert one.finished["prefill"].token_ids == []


def test_retraction_and_failed_steps_change_no_constrained_answer() -> None:
    one = bench(total=150, budget=32, max_running=8, decode_reserve=4)
    messages = [constrained(f"r{i}", GREETING if i % 2 else "(a|b){40}", [i] * 10, seed=i) for i in range(8)]
    one.add(*messages)
    for _ in range(2):
        one.step()
    one.executor.fail_next = RuntimeError("no more memory")
    one.run()
    assert one.scheduler.counters.retractions > 0
    for message in messages:
        assert one.finished[message.rid].token_ids == answer(message).token_ids
    one.assert_baseline()


def _traffic(
    one: Bench, rng: random.Random, executors: list[PatientExecutor]
) -> tuple[dict[str, tuple[GenerateRequest, str | None]], set[str]]:
    """Every request with the pattern that it has, and the names of those that were aborted."""
    messages: dict[str, tuple[GenerateRequest, str | None]] = {}
    aborted: set[str] = set()
    for number in range(40):
        pattern = rng.choice([*PATTERNS, None])
        fields: dict[str, Any] = {"seed": rng.randrange(5), "max_new_tokens": rng.randrange(1, 45)}
        fields["params"] = {"stop": (" ",)} if rng.random() < 0.3 else {}
        prompt = [rng.randrange(2)] * rng.randrange(1, 30)
        rid = f"r{number}"
        message = constrained(rid, pattern, prompt, **fields) if pattern else request(rid, prompt, **fields)
        messages[rid] = (message, pattern)
        one.add(message)
        for _ in range(rng.randrange(4)):
            for executor in executors:
                if executor.num_left and rng.random() < 0.5:
                    executor.work()
            if one.scheduler.has_work:
                one.step()
        if rng.random() < 0.15:
            victim = rng.choice(sorted(messages))
            if victim not in one.finished:
                aborted.add(victim)
                one.abort(victim)
    return messages, aborted


@pytest.mark.parametrize("slow", [-1.0, 1e-4, 100.0])
@pytest.mark.parametrize("seed", range(8))
def test_random_traffic(monkeypatch: pytest.MonkeyPatch, seed: int, slow: float) -> None:
    """Constrained or not, arriving, aborted and retracted at random: everyone gets the answer it gets alone. So does
    who has to wait for a slow constraint after each token, or from some token on.
    """
    rng = random.Random(seed)
    compiling, beside = PatientExecutor(), PatientExecutor()
    monkeypatch.setattr("sglang.srt.grammar.pace.SLOW_SECONDS", slow)
    one = bench(
        total=rng.choice([150, 400]),
        budget=rng.choice([3, 17, 64]),
        max_running=6,
        decode_reserve=8,
        grammars=compiling,
        beside=beside,
    )
    messages, aborted = _traffic(one, rng, [compiling, beside])
    while one.scheduler.has_work or compiling.num_left or beside.num_left:
        for executor in (compiling, beside):
            if executor.num_left:
                executor.work()
        one.run()
    one.assert_baseline()
    monkeypatch.undo()
    for rid, (message, pattern) in messages.items():
        if rid not in aborted:
            output = one.finished[rid]
            assert output.token_ids == answer(message).token_ids
            if pattern:
                assert_holds(output, pattern)


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"return_logprob": True}, {"params": {"stop": ("l",)}}])
def test_a_slow_constraint_changes_no_answer(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]) -> None:
    items = {"type": "array", "uniqueItems": True, "items": {"enum": ["a", "b", 1, 10]}, "minItems": 3}
    for seed in range(5):
        message = constrained("a", GREETING, seed=seed, **fields)
        listed = request(
            "b", range(9), grammar=grammar_of("json_schema", items), max_new_tokens=30, seed=seed, **fields
        )
        for one in (message, listed):
            fast = timeless(answer(one))
            with monkeypatch.context() as patch:
                patch.setattr("sglang.srt.grammar.pace.SLOW_SECONDS", -1.0)
                assert timeless(answer(one)) == fast


def test_nobody_waits_for_a_slow_constraint_but_its_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sglang.srt.grammar.pace.SLOW_SECONDS", -1.0)
    beside = PatientExecutor()
    one = bench(beside=beside)
    one.add(constrained("slow", "(a|b){3}"), constrained("gone", "(a|b){3}"))
    assert one.scheduler.stats().num_waiting == 2
    other = request("other", range(20), max_new_tokens=10)
    one.add(other)
    one.run()
    assert one.finished["other"].token_ids == expected_tokens(other) and beside.num_left == 2
    one.abort("gone")
    one.run()
    for num_drawn in range(4):
        assert "slow" not in one.finished and not one.scheduler.has_work
        assert one.scheduler.counters.generated_tokens == 10 + max(0, num_drawn - 1)
        while beside.num_left:
            beside.work()
        one.run()
    assert re.fullmatch("(a|b){3}", one.finished["slow"].text.decode())
    one.assert_baseline()


def test_what_nobody_waits_for_any_more_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process would not end before it is done."""
    monkeypatch.setattr("sglang.srt.grammar.pace.SLOW_SECONDS", -1.0)
    go_on, begun = threading.Event(), threading.Event()
    calls = []

    def wait(self: Constrained, room: int) -> list[int]:
        calls.append(room)
        begun.set()
        go_on.wait()
        return []

    monkeypatch.setattr(Constrained, "begin", wait)
    with grammar_threads(1, "beside") as beside:
        one = bench(beside=beside)
        one.add(*(constrained(f"r{i}", "(a|b){3}") for i in range(5)))
        one.step()
        assert begun.wait(60)
        one.scheduler.close()
        go_on.set()
    assert len(calls) == 1


def test_a_grammar_is_slow_after_one_token_of_20_ms_or_several_of_5() -> None:
    at_once, soon, never = Pace(), Pace(), Pace()
    at_once.note(0.0201)
    for _ in range(8):
        soon.note(0.005)
    for seconds in (0.015, *[0.0005] * 50, 0.015):
        never.note(seconds)
    assert (at_once.is_slow, soon.is_slow, never.is_slow) == (True, True, False)


def test_streamed_text_is_the_whole_text() -> None:
    for seed in range(6):
        message = constrained("a", GREETING, seed=seed, stream=True)
        one = bench()
        one.add(message)
        pieces = []
        while one.scheduler.has_work:
            pieces += [output.text for output in one.scheduler.step()]
        assert b"".join(pieces) == answer(constrained("a", GREETING, seed=seed)).text and len(pieces) > 2
        assert accepts(grammar_of("regex", GREETING), b"".join(pieces).decode())


@pytest.mark.parametrize("jump_forward", [True, False])
def test_a_stop_token_that_is_text_may_be_text_before_min_new_tokens(jump_forward: bool) -> None:
    """Held off, as free text has it, it would leave nothing to draw where the grammar wants it."""
    params = {"stop_token_ids": (ord("b"),), "min_new_tokens": 4}
    output = answer(constrained("a", "[ab]bc[xyz]{3}", params=params), jump_forward=jump_forward)
    assert output.finish is not None and output.finish.type == "stop"
    assert re.fullmatch("[ab]bc[xyz]{3}", output.text.decode()), output


def test_what_is_drawn_again_is_another_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what is left would not be as likely as it is without what was refused."""
    draws: list[tuple[int, int]] = []
    draw = memory_executor.next_token

    def noted(context: Any, row: SamplingRow, vocab_size: int) -> int:
        draws.append((row.position, row.sample_index))
        return draw(context, row, vocab_size)

    monkeypatch.setattr(memory_executor, "next_token", noted)
    schema = {"type": "array", "uniqueItems": True, "items": {"type": "string", "pattern": "^[a-e]$"}, "minItems": 3}
    num_redrawn = 0
    for seed in range(30):
        draws.clear()
        output = answer(
            request("a", range(10), grammar=grammar_of("json_schema", schema), seed=seed, max_new_tokens=60)
        )
        items = json.loads(output.text)
        assert len(set(items)) == len(items) >= 3
        assert len(set(draws)) == len(draws)
        num_redrawn += len(draws) - len({position for position, _ in draws})
    assert num_redrawn > 20
