"""Masks that are remembered are those that the library computes, for every grammar of which they are."""

from __future__ import annotations

import itertools
import json
import random
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar import compiler, mask_cache
from sglang.srt.grammar.compiler import CompiledGrammar, GrammarCompiler
from sglang.srt.grammar.json_schema import open_json_schema_grammar
from sglang.srt.grammar.lowering import lower
from sglang.srt.grammar.mask_cache import Choice, Mask, MaskCache, MaskMemory
from sglang.srt.grammar.matcher import Constrained
from sglang.srt.grammar.pace import Pace
from sglang.srt.grammar.witness.lexing import is_told_by_position
from sglang.srt.grammar.witness.outputs import Outputs
from sglang.srt.grammar.witness.stack import Position
from sglang.srt.sampling_params import Constraint
from sglang.srt.vocab import Vocab
from tests.grammar import test_matcher, test_users_schemas
from tests.grammar.test_ebnf import ARITHMETIC, JSON, XML
from tests.grammar.test_frame import BEGUN, NOT_BEGUN, TWELVE
from tests.grammar.test_json_schema import PERSON, TREE
from tests.grammar.test_json_schema_random import Generator
from tests.grammar.texts import Kind, grammar_of
from tests.grammar.vocabs import byte_level_vocab
from tests.grammar.witness import test_outputs
from tests.helpers.scheduling import InlineExecutor

LETTERS = "abcéè"
TOKENS = ["".join(letters).encode() for size in (1, 2, 3) for letters in itertools.product(LETTERS, repeat=size)]
LETTER_BY_LETTER = Vocab(token_bytes=[*map(str.encode, LETTERS), b"<end>"], special_ids=[5], eos_ids=[5])
PARTS = [b"\xc3", b"\xa9", b"\xa8", b"a\xc3", b"\xa9b"]
SMALL = Vocab(token_bytes=[*TOKENS, *PARTS, b"<end>"], special_ids=[160], eos_ids=[160])

GREEDY = [
    'start: (B | "a")* | "ab"*\nB: /b/\n',
    'start: (B | "é")* | "éb"*\nB: /[b]/\n',
    'start: ab* | AB*\nab: "a" | "b"\nAB: /a/ /b/\n',
]


def of_tables() -> Iterator[tuple[str, str]]:
    for kind, source in [*test_matcher.GRAMMARS, *test_outputs.GRAMMARS]:
        yield str(source)[:40], grammar_of(kind, source)
    for name, schema in test_users_schemas.SCHEMAS.items():
        yield name, grammar_of("json_schema", schema)
    for kind, source in TWELVE:
        yield f"thought {source}", grammar_of(kind, source, BEGUN)
        yield f"perhaps a thought {source}", grammar_of(kind, source, NOT_BEGUN)
    spaced = Constraint("json_schema", json.dumps(PERSON), r"[ \n]{0,3}")
    yield "with white space", lower(spaced)


def of_random_schemas() -> Iterator[str]:
    generator = Generator(8)
    for _ in range(25):
        try:
            yield open_json_schema_grammar(json.dumps(generator.document()))
        except InvalidRequestError:  # nothing satisfies it
            continue


def random_grammar(rng: random.Random) -> str:
    terminals = [f"T{number}" for number in range(rng.randint(1, 4))]
    atoms = [*terminals, *rng.sample(['"a"', '"b"', '"c"', '"é"', '"ab"'], 2)]
    lines = [f"start: {random_rule(rng, 3, [*atoms, 'again'])}", f'again: {random_rule(rng, 2, atoms)} | "c" again "b"']
    return "\n".join([*lines, *(f"{name}: {random_lexeme(rng, 3)}" for name in terminals)]) + "\n"


def random_rule(rng: random.Random, depth: int, atoms: list[str]) -> str:
    if not depth or rng.random() < 0.3:
        return rng.choice(atoms)
    one, other = (random_rule(rng, depth - 1, atoms) for _ in range(2))
    return rng.choice([f"({one} | {other})", f"{one} {other}", f"{one} {other}", f"{one} {rng.choice(atoms)}?"])


def random_lexeme(rng: random.Random, depth: int) -> str:
    if not depth or rng.random() < 0.3:
        return rng.choice([r"/a/", r"/b/", r"/ab/", r"/[ab]/", r"/[bc]/", r"/\x{e9}/", r"/[b\x{e8}]/", r"/[a-c]/"])
    one, other = (random_lexeme(rng, depth - 1) for _ in range(2))
    return rng.choice([f"({one} | {other})", f"({one}){rng.choice(['+', '{2,3}', '{2}'])}", f"{one} {other}"])


def compiled(vocab: Vocab, grammar: str) -> CompiledGrammar:
    """One that is asked for again: then it is found out whether its masks can be remembered."""
    grammars = GrammarCompiler(vocab, InlineExecutor())
    grammars.compile(grammar)
    return grammars.compile(grammar).result()


def without_memory(compiled_grammar: CompiledGrammar, vocab: Vocab, jumps: bool) -> Constrained:
    known = compiled_grammar
    return Constrained(known._matchers, known._text_matchers, vocab, vocab.eos, jumps, Pace(), known._ending())


def walk_beside(known: CompiledGrammar, vocab: Vocab, seed: int, limit: int) -> None:
    """One output with masks remembered, and the same with all masks computed."""
    jumps = bool(seed % 2)
    one, other = known.constrain(vocab.eos, jumps), without_memory(known, vocab, jumps)
    try:
        appended = one.begin(limit)
    except InvalidRequestError:  # there is no output of so few tokens
        return
    assert appended == other.begin(limit)
    num_tokens = len(appended)
    while not one.is_at_end and one.error is None and num_tokens < limit:
        assert np.array_equal(one.allowed_mask, other.allowed_mask), bytes(one._text)
        assert one.is_satisfied_at(len(one._text)) == other.is_satisfied_at(len(one._text))
        choices = allowed(one.allowed_mask)
        token_id = choices[zlib.crc32(f"{seed // 4} {num_tokens}".encode()) % len(choices)]
        if token_id in vocab.eos:
            return
        appended = one.accept(token_id, limit - num_tokens)
        assert appended == other.accept(token_id, limit - num_tokens)
        num_tokens += len(appended)
    assert (one.is_at_end, one.is_ended_early, one.error) == (other.is_at_end, other.is_ended_early, other.error)


def allowed(mask: Mask) -> list[int]:
    ids: list[int] = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist()
    return ids


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each mask that was looked for was known."""
    found: list[bool] = []
    find = MaskCache.find

    def noted(self: MaskCache, grammar: str, position: Position) -> Choice | None:
        choice = find(self, grammar, position)
        found.append(choice is not None)
        return choice

    monkeypatch.setattr(MaskCache, "find", noted)
    return found


@pytest.mark.parametrize(("name", "grammar"), list(of_tables()), ids=[name for name, _ in of_tables()])
def test_a_mask_that_is_known_is_the_one_computed(name: str, grammar: str) -> None:
    known = compiled(byte_level_vocab(), grammar)
    for seed in range(10):
        walk_beside(known, byte_level_vocab(), seed, (60, 25, 12)[seed % 3])


def test_random_schemas(finds: list[bool]) -> None:
    for grammar in of_random_schemas():
        known = compiled(byte_level_vocab(), grammar)
        for seed in range(8):
            walk_beside(known, byte_level_vocab(), seed, 30)
    assert sum(finds) > len(finds) / 2


def test_random_grammars_of_lexemes_that_overlap(finds: list[bool]) -> None:
    num_told = 0
    for seed in range(250):
        grammar = random_grammar(random.Random(seed))
        if is_told_by_position(grammar):
            num_told += 1
            known = compiled(SMALL, grammar)
            for walk in range(8):
                walk_beside(known, SMALL, walk, 14)
    assert 20 < num_told < 200 and sum(finds) > 500


@pytest.mark.parametrize("grammar", GREEDY)
def test_where_lexemes_are_greedy_a_position_does_not_tell(grammar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_told_by_position(grammar)
    monkeypatch.setattr(compiler, "is_told_by_position", lambda grammar: True)
    known = compiled(LETTER_BY_LETTER, grammar)
    with pytest.raises(AssertionError):
        walk_often_beside(known)


def walk_often_beside(known: CompiledGrammar) -> None:
    for seed in range(200):
        walk_beside(known, LETTER_BY_LETTER, seed, 14)


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("regex", r"(\w+ ){1,50}\w+\."),
        ("choices", ["yes", "yes, but no", "no"]),
        ("json_schema", {}),
        ("json_schema", {"type": "array", "items": {"type": "string", "maxLength": 2000}}),
        ("json_schema", {"type": "array", "items": {"type": "number", "minimum": 0.5, "maximum": 3}}),
        ("json_schema", {"type": "object", "additionalProperties": {"enum": ["a", "ab", 1, 12]}}),
        ("ebnf", JSON),
        ("json_schema", TREE),
    ],
)
def test_what_is_told_by_position(kind: Kind, source: Any) -> None:
    assert is_told_by_position(grammar_of(kind, source))


@pytest.mark.parametrize(
    "grammar",
    [
        grammar_of("ebnf", XML),
        grammar_of("ebnf", ARITHMETIC),
        grammar_of("ebnf", 'root ::= "a" root "b"? | "c"'),
        'start: l\nl: l "a" | "b"\n',
        'start: "a"* "b"? "a"\n',
        "start: /\\w+/ | /\\W/ \"a\"\n",
        'start: /[a]/ "\\u0062"\n',
        'start: A "b"\nA: /a/?\n',
        'start: dead | "b"\ndead: "a" dead\n',
        'start: A "b" | "c"\nA: /a/ & /b/\n',
        'start: %json {"type": "number", "multipleOf": 0.5}\n',
        'start: a "b"\na[lazy]: /a/+\n',
        'start: WORD ("b" | "c")\nWORD: /[a-c]/+\n',
        'start: ("a" | "ab") ("b" | "c" "b")+\n',
        'start: A "è"\nA: /a/ (/\\x{e9}/)?\n',
        "start: " + " | ".join(f"T{number} T{number}" for number in range(5000)) + "\n",
    ],
)  # fmt: skip
def test_what_is_not_or_is_not_found_out(grammar: str) -> None:
    assert not is_told_by_position(grammar)


def test_what_was_not_used_for_longest_goes_first() -> None:
    outputs = Outputs(grammar_of("regex", "a*b"))
    places = [outputs.follow(outputs.start, text) for text in (b"", b"a", b"ab")]
    mask = np.ones(8, dtype=np.uint32)
    cache = MaskCache(max_bytes=2 * (mask.nbytes + mask_cache.ENTRY_BYTES))
    cache.keep("one", places[0], Choice(mask, False))
    cache.keep("two", places[0], Choice(mask, True))
    assert cache.find("one", places[0]) == Choice(mask, False)
    cache.keep("one", places[2], Choice(mask, True))
    assert cache.find("two", places[0]) is None and cache.find("one", places[0]) is not None
    cache.forget("one")
    assert cache.find("one", places[0]) is None and cache.find("one", places[2]) is None
    cache.keep("two", places[0], Choice(mask, True))
    cache.keep("two", places[2], Choice(mask, True))
    assert cache.find("two", places[0]) is not None, "what was forgotten takes no room"


def test_a_grammar_takes_its_masks_with_it(monkeypatch: pytest.MonkeyPatch, finds: list[bool]) -> None:
    monkeypatch.setattr(compiler, "MAX_CACHED_GRAMMARS", 1)
    grammars = GrammarCompiler(SMALL, InlineExecutor())
    for letters in ("[ab]*c", "[ab]*c", "[ab]*c", "[bc]*a", "[bc]*a"):
        grammars.compile(grammar_of("regex", letters)).result().constrain((), True).begin(10)
    assert len(grammars._masks._choices) == 1 and any(finds)


def test_masks_are_remembered_from_when_a_grammar_is_asked_for_again(finds: list[bool]) -> None:
    grammars = GrammarCompiler(byte_level_vocab(), InlineExecutor())
    grammar = grammar_of("json_schema", PERSON)
    first = grammars.compile(grammar).result()
    one, other = (first.constrain((), True) for _ in range(2))
    for output in (one, other):
        output.begin(60)
        output.accept(allowed(output.allowed_mask)[0], 50)
    assert not finds
    grammars.compile(grammar)
    for output in (one, other):
        finds.clear()
        for room in range(40, 0, -1):
            output.accept(allowed(output.allowed_mask)[0], room)
    assert sum(finds) > len(finds) / 2, "an output begun before knows them, too"
    assert one._text == other._text


def test_a_mask_that_was_not_looked_for_is_not_kept() -> None:
    outputs = Outputs(grammar_of("regex", "a*b"))
    is_usable = False
    memory = MaskMemory(MaskCache(), "grammar", outputs, lambda: is_usable)
    mask = np.ones(8, dtype=np.uint32)
    assert memory.find(b"ab") is None
    is_usable = True
    memory.keep(mask, True)  # of "ab", and not of the beginning, where it was before
    assert MaskMemory(memory._cache, "grammar", outputs, lambda: True).find(b"") is None


def test_nothing_is_known_of_an_output_that_cannot_be_followed() -> None:
    outputs = Outputs(grammar_of("regex", "[ab]*"))
    memory = MaskMemory(MaskCache(), "grammar", outputs, lambda: True)
    mask = np.ones(8, dtype=np.uint32)
    for text, is_known in ((b"", False), (b"", True), (b"a\xff", False), (b"a\xffb", False)):
        assert (memory.find(text) is not None) is is_known
        if not is_known:
            memory.keep(mask, True)


def test_a_mask_that_is_kept_is_not_changed_with_the_one_in_use() -> None:
    outputs = Outputs(grammar_of("regex", "[ab]*"))
    memory = MaskMemory(MaskCache(), "grammar", outputs, lambda: True)
    mask = np.ones(8, dtype=np.uint32)
    assert memory.find(b"") is None
    memory.keep(mask, True)
    mask[:] = 0
    choice = memory.find(b"")
    assert choice is not None and choice.mask.all()
    with pytest.raises(ValueError, match="read-only"):
        choice.mask[0] = 0
