"""One output followed through a grammar: which tokens may come, and that jumping over forced ones changes nothing."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import Future

import llguidance
import numpy as np
import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar import compiler
from sglang.srt.grammar.compiler import GrammarCompiler
from sglang.srt.grammar.frame import Frame, ThoughtMarks
from sglang.srt.grammar.lowering import lower
from sglang.srt.grammar.matcher import Constrained
from sglang.srt.grammar.shared_matcher import SharedMatcher
from sglang.srt.grammar.text_matcher import TextMatcher, shared_text_matcher
from sglang.srt.grammar.vocab_tokenizer import TextCutter
from sglang.srt.sampling_params import Constraint
from sglang.srt.vocab import Vocab
from tests.grammar.test_ebnf import ARITHMETIC, JSON, XML
from tests.grammar.test_json_schema import PERSON, TREE
from tests.grammar.texts import Kind, accepts, grammar_of
from tests.grammar.vocabs import TEXTS, byte_level_vocab, sentencepiece_vocab, without_tokenizer
from tests.helpers.scheduling import InlineExecutor

ROOM = 1000

VOCABS: dict[str, Callable[[], Vocab]] = {
    "byte-level": byte_level_vocab,
    "sentencepiece": sentencepiece_vocab,
    "no tokenizer": lambda: without_tokenizer(byte_level_vocab()),
}
GRAMMARS: list[tuple[Kind, object]] = [
    ("regex", r"The capital of France is (Paris|London)\."),
    ("regex", r"\d{4}-\d{2}-\d{2}"),
    ("regex", r"(yes|no|maybe)(, (yes|no|maybe)){0,3}"),
    ("regex", r"[a-z]{3,8}ing the Über café"),
    ("regex", r"日本(語|人)😀?"),
    ("regex", r"(true|false|null|tru\w)"),
    ("regex", r"<end>x|<end>y"),
    ("choices", ["The answer is yes", "The answer is no", "The"]),
    ("json_schema", PERSON),
    ("json_schema", TREE),
    ("json_schema", {"type": "array", "items": {"enum": ["New York", "New Delhi"]}, "minItems": 2, "maxItems": 4}),
    ("ebnf", JSON),
    ("ebnf", ARITHMETIC),
    ("ebnf", XML),
    ("ebnf", 'start: "The answer is " /[a-z]+/ "."'),
]


def constrained(vocab: Vocab, grammar: str, jumps: bool = True, end_ids: frozenset[int] | None = None) -> Constrained:
    ends = vocab.eos if end_ids is None else end_ids
    return GrammarCompiler(vocab, InlineExecutor()).compile(grammar).result().constrain(ends, jumps)


def allowed(matcher: Constrained, vocab: Vocab) -> list[int]:
    ids: list[int] = np.flatnonzero(
        np.unpackbits(matcher.allowed_mask.view(np.uint8), count=vocab.size, bitorder="little")
    ).tolist()
    return ids


def generate(matcher: Constrained, vocab: Vocab, seed: int, limit: int) -> tuple[list[int], str]:
    """Draw from what is allowed, by seed and position alone. Returns the tokens and how it ended."""
    try:
        ids = list(matcher.begin(limit))
    except InvalidRequestError as error:
        return [], str(error)
    while not matcher.is_at_end and len(ids) < limit:
        assert matcher.error is None
        choices = allowed(matcher, vocab)
        token_id = choices[zlib.crc32(f"{seed} {len(ids)}".encode()) % len(choices)]
        if token_id in vocab.eos:
            return ids, "end token"
        ids += matcher.accept(token_id, limit - len(ids))
    return ids, "end" if matcher.is_at_end and not matcher.is_ended_early else "limit"


@pytest.mark.parametrize("name", VOCABS)
@pytest.mark.parametrize(("kind", "source"), GRAMMARS, ids=[str(source)[:30] for _, source in GRAMMARS])
def test_jumping_equals_stepping_and_every_output_is_whole(name: str, kind: Kind, source: object) -> None:
    vocab, grammar = VOCABS[name](), grammar_of(kind, source)
    compiled = GrammarCompiler(vocab, InlineExecutor()).compile(grammar).result()
    num_answered = 0
    for limit in (40, 20, 10, 5, 1):
        for seed in range(8):
            ids, ending = generate(compiled.constrain(vocab.eos, True), vocab, seed, limit)
            assert (ids, ending) == generate(compiled.constrain(vocab.eos, False), vocab, seed, limit)
            if ids:
                num_answered += 1
                assert len(ids) <= limit
                assert accepts(grammar, b"".join(vocab.token_bytes[i] for i in ids).decode())
            else:
                assert f"but at most {limit} may be generated" in ending
    assert num_answered >= 8


@pytest.mark.parametrize("name", ["byte-level", "sentencepiece"])
def test_forced_text_is_cut_as_the_tokenizer_cuts_it(name: str) -> None:
    vocab = VOCABS[name]()
    for text in TEXTS:
        matcher = constrained(vocab, grammar_of("choices", [text]))
        forced = matcher.begin(ROOM)
        assert list(forced) == TextCutter(vocab)._encode(text.encode())
        assert matcher.is_at_end and len(forced) < len(text.encode()) * 2 / 3


def test_a_token_that_may_go_on_is_not_forced() -> None:
    vocab = byte_level_vocab()
    matcher = constrained(vocab, grammar_of("regex", "said (Bob|Alice)"))
    assert b"".join(vocab.token_bytes[i] for i in matcher.begin(ROOM)) == b"said", "the space may begin ' Bob'"
    assert {vocab.token_bytes[i] for i in allowed(matcher, vocab)} >= {b" ", b" Bob", b" Alice"}


def test_masks_admit_exactly_what_the_grammar_goes_on_with() -> None:
    """Against asking about every token of a vocabulary of bytes."""
    vocab = Vocab(token_bytes=[bytes([i]) for i in range(256)] + [b"<end>"], special_ids=[256], eos_ids=[256])
    grammar = grammar_of("regex", "a[bc]*d?é")
    matcher = constrained(vocab, grammar, jumps=False)
    for text, following in [("", b"a"), ("a", b"bcd\xc3"), ("ab", b"bcd\xc3"), ("abd", b"\xc3")]:
        if text:
            matcher.accept(ord(text[-1]), ROOM)
        else:
            matcher.begin(ROOM)
        assert allowed(matcher, vocab) == sorted(following)


def test_end_tokens_are_allowed_only_where_the_grammar_may_end() -> None:
    vocab = Vocab(token_bytes=[b"a", b"b", b"<end>", b"<stop>", b"<pad>"], special_ids=[2, 3, 4], eos_ids=[2])
    grammar = grammar_of("regex", "aa?b?")
    for end_ids, ends in [({2}, [2]), ({2, 3}, [2, 3]), (set(), []), ({2, 1}, [2])]:
        matcher = constrained(vocab, grammar, jumps=False, end_ids=frozenset(end_ids))
        matcher.begin(ROOM)
        assert allowed(matcher, vocab) == [0]
        matcher.accept(0, ROOM)
        assert allowed(matcher, vocab) == sorted([0, 1, *ends])
        matcher.accept(0, ROOM)
        ended = [matcher.is_at_end]
        matcher.accept(1, ROOM)
        assert [*ended, matcher.is_at_end] == [False, True] and matcher.error is None


def test_where_the_output_may_stop() -> None:
    vocab = Vocab(token_bytes=[b"12", b" \n", b"3"], special_ids=[], eos_ids=[])
    matcher = constrained(vocab, grammar_of("regex", r"[0-9]{2,}[ \n]*"), jumps=False, end_ids=frozenset({1, 2}))
    matcher.begin(ROOM)
    matcher.accept(2, ROOM)
    assert not matcher.may_end_with(2, 1)
    matcher.accept(0, ROOM)
    matcher.accept(1, ROOM)
    assert [matcher.is_satisfied_at(length) for length in (1, 2, 3, 4, 5)] == [False, True, True, True, True]


def test_a_vocabulary_that_lacks_a_character() -> None:
    vocab = Vocab(token_bytes=[b"a", b"b", b"<end>"], special_ids=[2], eos_ids=[2])
    with pytest.raises(
        InvalidRequestError, match=r"^the constraint cannot be used with this model: nothing matches it"
    ):
        constrained(vocab, grammar_of("regex", "é"))
    later = constrained(vocab, grammar_of("regex", "(a|b)cd"))
    later.begin(ROOM)
    errors = [later.error]
    later.accept(0, ROOM)
    errors.append(later.error)
    assert errors[0] is None and "cannot be followed any further" in str(errors[1])
    optional = constrained(vocab, grammar_of("regex", "é?"))
    assert not optional.begin(ROOM) and optional.is_at_end and optional.error is None


def test_without_any_end_token() -> None:
    vocab = Vocab(token_bytes=[b"a", b"b"] * 40, special_ids=[], eos_ids=[])
    matcher = constrained(vocab, grammar_of("regex", "a*b"))
    matcher.begin(ROOM)
    assert len(allowed(matcher, vocab)) == 80
    matcher.accept(1, ROOM)
    assert matcher.is_at_end


@pytest.mark.parametrize("jumps", [True, False])
def test_an_output_that_hits_a_limit_on_the_way_is_ended_there(jumps: bool) -> None:
    vocab = Vocab(token_bytes=[b"a", b"b", b"<end>"], special_ids=[2], eos_ids=[2])
    matcher = constrained(vocab, grammar_of("regex", "(?:a?){500}a{500}"), jumps)
    ids, room = list(matcher.begin(ROOM)), ROOM
    while not matcher.is_at_end:
        assert matcher.error is None
        ids += matcher.accept(0, room - len(ids))
    assert matcher.is_ended_early and set(ids) == {0} and 500 <= len(ids) <= ROOM
    assert matcher.closed_at(len(ids)) is True


@pytest.mark.parametrize(
    "grammar",
    [
        'start: "year " /[[:digit:]]{4}/ ";"\n',
        'start: WORD ("b" | "; end of it")\nWORD: /[a-z]+/\n',
        'start: WORD "," NUM\nWORD: /[a-z,]+;?/\nNUM: /[0-9]+/\n',
        'start: "say " "yes"i i\ni: "xx" | "y"\n',
        'start: ("A" x{0,100000} "b")* "d"\nx: "a"? | "a" x "b"\n',
    ],
)
def test_a_grammar_that_means_something_else_to_the_library_is_never_said_to_be_satisfied(grammar: str) -> None:
    """Lexemes of such grammars are greedy, and their regular expressions are Rust's."""
    vocab = byte_level_vocab()
    compiled = GrammarCompiler(vocab, InlineExecutor()).compile(grammar).result()
    for limit in range(2, 14):
        for seed in range(6):
            matcher = compiled.constrain(vocab.eos, True)
            ids, ending = generate(matcher, vocab, seed, limit)
            text = b"".join(vocab.token_bytes[i] for i in ids)
            if ids:
                assert matcher.closed_at(len(text)) is TextMatcher(grammar).is_satisfied_by(text)
            else:
                assert "but at most" in ending


def test_an_output_may_be_within_a_character_when_its_tokens_run_out() -> None:
    vocab = byte_level_vocab()
    grammar = lower(Constraint("regex", "[a-z]{2,5}!"), Frame(ThoughtMarks("<think>", "</think>", is_begun=True)))
    compiled = GrammarCompiler(vocab, InlineExecutor()).compile(grammar).result()
    for limit in (14, 15, 16, 18):
        for seed in range(20):
            for jumps in (True, False):
                ids, _ = generate(compiled.constrain(vocab.eos, jumps), vocab, seed, limit)
                assert len(ids) <= limit
                assert accepts(grammar, b"".join(vocab.token_bytes[i] for i in ids).decode())


def test_a_limit_that_is_hit_is_an_error_where_nobody_knows_an_end() -> None:
    vocab = Vocab(token_bytes=[b"a", b"b", b"<end>"], special_ids=[2], eos_ids=[2])
    matcher = constrained(vocab, 'start: a "b"\na: c | TEXT\nc: a "b"\nTEXT: /(a?){500}a{500}/\n', jumps=False)
    matcher.begin(ROOM)
    for _ in range(400):
        if matcher.error is not None:
            break
        matcher.accept(0, ROOM)
    assert matcher.error is not None and "too many expressions" in matcher.error and not matcher.is_at_end


def test_a_grammar_is_compiled_once_and_forgotten_when_others_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "MAX_CACHED_GRAMMARS", 2)
    submitted = []

    class CountingExecutor(InlineExecutor):
        def submit(self, work, /, *args, **kwargs) -> Future:  # type: ignore[no-untyped-def, type-arg]
            submitted.append(args[0] if args else "whether masks can be remembered")
            return super().submit(work, *args, **kwargs)

    cache = GrammarCompiler(byte_level_vocab(), CountingExecutor())
    grammars = [grammar_of("choices", [text]) for text in "abc"]
    for number in (0, 0, 1, 0, 2, 0, 1):
        assert cache.compile(grammars[number]).result()
    again = "whether masks can be remembered"
    assert submitted == [grammars[0], again, grammars[1], grammars[2], grammars[1]]
    with pytest.raises(InvalidRequestError, match=r"^the constraint cannot be used with this model: "):
        cache.compile("start: nothing").result()


def test_an_end_without_tokens_left_takes_no_reading_of_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done in the thread that computes for everybody."""
    vocab = byte_level_vocab()
    compiled = GrammarCompiler(vocab, InlineExecutor()).compile(grammar_of("json_schema", PERSON)).result()
    monkeypatch.setattr("sglang.srt.grammar.text_matcher.llguidance.LLMatcher", None)
    for seed in range(5):
        matcher = compiled.constrain(vocab.eos, jumps=True)
        ids, _ = generate(matcher, vocab, seed, 20)
        length = len(b"".join(vocab.token_bytes[i] for i in ids))
        assert matcher.is_ended_early and matcher.closed_at(length) and not matcher.closed_at(length - 1)


def test_texts_may_be_asked_about_in_any_order() -> None:
    matcher = TextMatcher(grammar_of("regex", "ab|abc|abcde"))
    expected = [False, False, True, True, False, True]
    for length in (5, 2, 3, 0, 4, 1, 5, 5, 3, 2):
        assert matcher.is_satisfied_by(b"abcde"[:length]) == expected[length]


@pytest.mark.parametrize("jumps", [True, False])
def test_an_output_that_breaks_the_lexer_breaks_no_other(jumps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of a matcher share a lexer; a limit that one comes to is reported by all of them."""
    limits = llguidance.LLParserLimits(verbose_errors=False, step_lexer_fuel=100_000)
    monkeypatch.setattr(compiler, "PARSER_LIMITS", limits)
    vocab = byte_level_vocab()
    multiple = {"type": "integer", "multipleOf": 12345, "minimum": 0, "maximum": 10**9}
    grammar = grammar_of("json_schema", {"anyOf": [{"enum": ["safe", "sole"]}, multiple]})
    grammars = GrammarCompiler(vocab, InlineExecutor())
    compiled = grammars.compile(grammar).result()

    def begun() -> Constrained:
        matcher = compiled.constrain(vocab.eos, jumps)
        matcher.begin(ROOM)
        return matcher

    first_mask = begun().allowed_mask.copy()
    beside, breaking = begun(), begun()
    draw_text(beside, vocab, '"s')
    for digit in "29":
        if breaking.error is None and not breaking.is_ended_early:
            breaking.accept(vocab.token_bytes.index(digit.encode()), ROOM)
    assert breaking.error or breaking.is_ended_early
    draw_text(beside, vocab, 'afe"')
    assert beside.error is None
    assert beside.is_at_end
    assert beside.is_satisfied_at(len('"safe"'))
    assert np.array_equal(begun().allowed_mask, first_mask)


def test_a_text_that_breaks_the_shared_lexer_is_read_again_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """All texts satisfy the grammar, and need states of the lexer until there are too many."""
    shared = shared_text_matcher(grammar_of("regex", "(.*a.{14}b|[ab]*)"))
    num_alone = 0
    alone = SharedMatcher.alone

    def counted(self: SharedMatcher) -> llguidance.LLMatcher:
        nonlocal num_alone
        num_alone += 1
        return alone(self)

    monkeypatch.setattr(SharedMatcher, "alone", counted)
    rng = np.random.default_rng(1)
    beside = TextMatcher(shared)
    assert beside.is_satisfied_by(b"abba")
    while not num_alone:
        text = rng.choice([*b"ab"], size=3000).astype(np.uint8).tobytes()
        assert TextMatcher(shared).is_satisfied_by(text)
    assert beside.is_satisfied_by(b"abba" + text)
    assert beside.is_satisfied_by(b"abb")
    assert TextMatcher(shared).is_satisfied_by(text)


def draw_text(matcher: Constrained, vocab: Vocab, text: str) -> None:
    """Byte by byte, but for what is appended without being drawn."""
    while text and not matcher.is_at_end:
        token_id = vocab.token_bytes.index(text[:1].encode())
        assert token_id in allowed(matcher, vocab)
        for appended in matcher.accept(token_id, ROOM):
            text = text[len(vocab.token_bytes[appended]) :]
