"""Arrays in which no two items may be equal, where only comparing them tells: what is drawn, refused and made up."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.compiler import CompiledGrammar, GrammarCompiler
from sglang.srt.grammar.lowering import lower
from sglang.srt.grammar.matcher import Constrained
from sglang.srt.grammar.witness import completer, expressions, outputs
from sglang.srt.grammar.witness.completer import WORK_ONCE, Completer
from sglang.srt.grammar.witness.outputs import Outputs
from sglang.srt.grammar.witness.unique_items import UniqueItems
from sglang.srt.sampling_params import Constraint
from sglang.srt.vocab import Vocab
from tests.grammar.texts import accepts, grammar_of
from tests.grammar.vocabs import byte_level_vocab
from tests.helpers.scheduling import InlineExecutor

ROOM = 200


def unique(items: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "array", "uniqueItems": True, "items": items, **fields}


STRING, NUMBER = {"type": "string"}, {"type": "number"}
SHORT_LISTS = {"type": "array", "items": {"const": 1}, "maxItems": 1}
SCHEMAS: dict[str, dict[str, Any]] = {
    "strings": unique(STRING),
    "a set in an object": {
        "type": "object",
        "properties": {"tags": unique(STRING), "numbers": {"type": "array", "items": {"type": "integer"}}},
        "required": ["tags", "numbers"],
    },
    "whole numbers": unique({"type": "integer"}, minItems=4),
    "numbers": unique(NUMBER),
    "up to 20": unique({"type": "integer", "minimum": 0, "maximum": 20}, minItems=3),
    "digits": unique({"type": "integer", "minimum": 0, "maximum": 9}),
    "letters": unique({"type": "string", "maxLength": 1}, minItems=3),
    "objects": unique(
        {"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"enum": [1, 2, "x"]}}, "required": ["a"]},
        minItems=2,
    ),
    "anything": {"type": "array", "uniqueItems": True},
    "sets of sets": unique(unique({"type": "integer", "minimum": 0, "maximum": 300}, minItems=1)),
    "most of an enum": unique({"enum": [f"v{number}" for number in range(20)]}, minItems=15),
    "a set or a list": {"anyOf": [unique(STRING), {"type": "array", "items": NUMBER}]},
    "first a number": unique({"type": "string", "pattern": "^[ab]{1,3}$"}, prefixItems=[STRING, NUMBER]),
    "six there are": unique({"type": "string", "pattern": "^[ab]{1,2}$"}, minItems=5),
    "dates": unique({"type": "string", "format": "date"}, maxItems=5),
    "lists of sets, or a set of lists": {
        "anyOf": [
            {"type": "array", "items": unique({"type": "integer", "maximum": 3}, maxItems=2), "maxItems": 4},
            unique({"type": "array", "items": {"type": "integer", "maximum": 3}}, maxItems=3),
        ]
    },
    "each takes one of the next": unique(False, prefixItems=[STRING, {"enum": ["a", 5]}, {"const": 5}], minItems=3),
    "more than there are, or a text": {
        "type": "object",
        "properties": {
            "a": {"anyOf": [unique({"type": "array", "items": {"const": 1}, "maxItems": 1}, minItems=4), STRING]}
        },
    },
    "objects with sets": unique(
        {
            "type": "object",
            "properties": {"id": {"type": "integer"}, "tags": unique(STRING, minItems=2)},
            "required": ["id", "tags"],
        },
        minItems=2,
    ),
}


def compiled(vocab: Vocab, schema: Any) -> CompiledGrammar:
    grammars = GrammarCompiler(vocab, InlineExecutor())
    grammars.compile(grammar_of("json_schema", schema))
    return grammars.compile(grammar_of("json_schema", schema)).result()


def allowed(output: Constrained) -> list[int]:
    ids: list[int] = np.flatnonzero(np.unpackbits(output.allowed_mask.view(np.uint8), bitorder="little")).tolist()
    return ids


def drawn(known: CompiledGrammar, vocab: Vocab, seed: int, limit: int) -> bytes:
    """Of tokens of which most were there before."""
    rng = random.Random(seed)
    output = known.constrain(vocab.eos, bool(seed % 2))
    ids = list(output.begin(limit))
    num_redrawn = 0
    while not output.is_at_end and len(ids) < limit:
        choices = allowed(output)
        known_ones = set(ids) & set(choices)
        token_id = rng.choice(sorted(known_ones) if known_ones and rng.random() < 0.8 else choices)
        if token_id in vocab.eos:
            break
        appended = output.accept(token_id, limit - len(ids))
        num_redrawn = 0 if appended else num_redrawn + 1
        assert output.error is None and num_redrawn < len(choices) + 100
        ids += appended
    assert len(ids) <= limit and output.closed_at(len(output._text))
    return bytes(output._text)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_output_is_valid_and_whole(name: str) -> None:
    vocab = byte_level_vocab()
    known = compiled(vocab, SCHEMAS[name])
    num_whole = 0
    for seed in range(30):
        try:
            text = drawn(known, vocab, seed, (12, 30, 60, 150)[seed % 4])
        except InvalidRequestError:  # the shortest has more tokens
            continue
        num_whole += 1
        jsonschema.validate(json.loads(text), SCHEMAS[name])
    assert num_whole >= 7


@pytest.mark.parametrize(
    "name", ["sets of sets", "objects with sets", "most of an enum", "a set in an object", "numbers"]
)
def test_what_others_wrote_changes_nothing(name: str) -> None:
    vocab = byte_level_vocab()
    known = compiled(vocab, SCHEMAS[name])
    for seed in range(20):
        drawn(known, vocab, seed, 250)
    for seed in range(4):
        assert drawn(known, vocab, seed, 210) == drawn(compiled(vocab, SCHEMAS[name]), vocab, seed, 210)


@pytest.mark.parametrize("name", ["sets of sets", "objects with sets", "a set or a list", "most of an enum"])
def test_what_is_forgotten_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vocab = byte_level_vocab()
    known = compiled(vocab, SCHEMAS[name])
    expected = [drawn(known, vocab, seed, 210) for seed in range(4)]
    for module in (completer, expressions, outputs):
        monkeypatch.setattr(module, "MAX_REMEMBERED", 20)
    known = compiled(vocab, SCHEMAS[name])
    assert [drawn(known, vocab, seed, 210) for seed in range(4)] == expected


PIECES = [
    "[",
    "]",
    '"',
    ",",
    "a",
    "b",
    '"a',
    '",',
    '","',
    '"a"',
    '"b","',
    '"]',
    '""',
    '["',
    "[]",
    'a","b"',
    ',"b"]',
    "ab",
]
PIECEWISE = Vocab(token_bytes=[*map(str.encode, PIECES), b"<end>"], special_ids=[len(PIECES)], eos_ids=[len(PIECES)])
FEW = unique({"type": "string", "pattern": "^[ab]?$"}, minItems=2)


def all_texts(schema: dict[str, Any], values: list[str]) -> list[str]:
    counts = range(schema.get("minItems", 0), len(values) + 1)
    return [json.dumps(one, separators=(",", ":")) for n in counts for one in itertools.permutations(values, n)]


def stays(known: CompiledGrammar, read: tuple[int, ...], token_id: int) -> bool:
    output = known.constrain(PIECEWISE.eos, False)
    assert not output.begin(ROOM)
    for one in read:
        assert output.accept(one, ROOM) == (one,)
    return token_id in allowed(output) and output.accept(token_id, ROOM) == (token_id,)


def test_a_token_stays_exactly_if_an_output_begins_so() -> None:
    """However the text was cut into tokens; without a machine that lists the three values."""
    known = compiled(PIECEWISE, FEW)
    texts = all_texts(FEW, ["", "a", "b"])
    beginnings = {text[:size] for text in texts for size in range(len(text) + 1)}
    rng = random.Random(5)
    num_stayed = 0
    left: list[tuple[int, ...]] = [()]
    for _ in range(250):
        read = left.pop(rng.randrange(len(left)))
        text = "".join(PIECES[token_id] for token_id in read)
        for token_id, piece in enumerate(PIECES):
            expected = text + piece in beginnings
            assert stays(known, read, token_id) is expected, (text, piece)
            if expected and text + piece not in texts:
                left.append((*read, token_id))
                num_stayed += 1
    assert num_stayed > 250


@pytest.mark.parametrize("count", [1, 5, 40])
def test_items_are_made_up_that_differ(count: int) -> None:
    for items in (STRING, NUMBER, {"type": "integer"}, {"type": "string", "minLength": 2}, {}):
        rules = Outputs(grammar_of("json_schema", unique(items, minItems=count)))
        followed = UniqueItems(rules)
        made = Completer(followed, rules, work=WORK_ONCE)
        end = made.end(followed.start[0])
        assert end is not None
        found = json.loads(made.text(end))
        assert len({json.dumps(one) for one in found}) == len(found) == count


def test_a_budget_below_the_shortest_is_refused_with_what_is_needed() -> None:
    vocab = byte_level_vocab()
    known = compiled(vocab, unique({"type": "integer", "minimum": 0, "maximum": 99}, minItems=12))
    with pytest.raises(InvalidRequestError, match=r"has (\d+) tokens") as caught:
        known.constrain(vocab.eos, True).begin(5)
    needed = int(str(caught.value).split(" has ")[1].split()[0])
    text = drawn(known, vocab, 1, needed)
    assert len(set(json.loads(text))) == 12


ADDRESS = {
    "type": "object",
    "properties": {
        name: {"type": "string"} for name in ("first_name", "last_name", "street", "postal_code", "country")
    },
    "required": ["first_name", "last_name", "street", "postal_code", "country"],
}


@pytest.mark.parametrize(
    "schema",
    [
        unique({"anyOf": [{"type": "null"}, ADDRESS]}, minItems=4),
        unique({"type": "string", "pattern": "^(abc){1,40}$"}, minItems=15),
        unique({"enum": [f"{number} value {number}" for number in range(700)]}, minItems=30),
    ],
    ids=["null or an address", "longer and longer", "a large enum"],
)
@pytest.mark.parametrize("room", [0, 1, 7, 40, 400])
def test_ends_far_longer_than_the_grammar_needs(schema: dict[str, Any], room: int) -> None:
    vocab = byte_level_vocab()
    known = compiled(vocab, schema)
    with pytest.raises(InvalidRequestError, match=r"has (\d+) tokens") as caught:
        known.constrain(vocab.eos, True).begin(5)
    needed = int(str(caught.value).split(" has ")[1].split()[0])
    for seed in range(3):
        jsonschema.validate(json.loads(drawn(known, vocab, seed, needed + room)), schema)


def test_what_the_grammar_allows_otherwise_may_end_only_where_it_does() -> None:
    """Two ways to read an output, of which only the one whose items may be equal goes on."""
    one_or_list = '{"type":"array","uniqueItems":true,"items":{"enum":[1,[1]]}}'
    ones = '{"type":"array","items":{"const":1},"minItems":2,"maxItems":3}'
    vocab = byte_level_vocab()
    grammar = grammar_of("ebnf", f'start: a | b "!"\na: %json {one_or_list}\nb: %json {ones}\n')
    known = GrammarCompiler(vocab, InlineExecutor()).compile(grammar).result()
    output = known.constrain(vocab.eos, False)
    output.begin(20)
    for character in "[1,1]":
        output.accept(vocab.token_bytes.index(character.encode()), 20)
    assert not output.is_satisfied_at(5)
    assert [vocab.token_bytes[token_id] for token_id in allowed(output)] == [b"!"]
    output.accept(vocab.token_bytes.index(b"!"), 20)
    assert output.is_satisfied_at(6) and not output.is_satisfied_at(5) and not output.is_satisfied_at(3)


@pytest.mark.parametrize(
    ("text", "is_repeated"),
    [
        ('["é","\\u00e9"]', True), ("[1,1.0]", True), ("[1,true]", False), ("[0,false]", False), ("[100,1e2]", True),
        ("[0,-0]", True), ('[{"a":1,"b":2},{"b":2,"a":1}]', True), ("[[1,2],[2,1]]", False), ('["1",1]', False),
        ("[[1,1]]", False), ("[[],[]]", True), ('[{"a":[1,1]},1]', False), ("[null,null]", True), ('["a]","a]"]', True),
        ('["a,","a"]', False), ("[12,1,2]", False), ("[12,1,12]", True), ('[1,[1],[[1]]]', False),
    ],
)  # fmt: skip
def test_what_is_equal(text: str, is_repeated: bool) -> None:
    assert accepts(grammar_of("json_schema", {"type": "array", "uniqueItems": True}), text) is not is_repeated


def with_bytes(schema: Any) -> tuple[Constrained, dict[bytes, int]]:
    vocab = byte_level_vocab()
    output = compiled(vocab, schema).constrain(vocab.eos, False)
    output.begin(20_000)
    return output, {data: token_id for token_id, data in enumerate(vocab.token_bytes) if len(data) == 1}


def is_written(schema: Any, text: bytes) -> bool:
    """Byte by byte, without a failure before the end."""
    output, ids = with_bytes(schema)
    room = 20_000
    for place in range(len(text)):
        token_id = ids[text[place : place + 1]]
        if token_id not in allowed(output):
            return False
        room -= 1
        if output.accept(token_id, room) != (token_id,):
            return False
    return output.error is None


def test_an_item_of_thousands_of_digits_is_compared() -> None:
    schema, long = unique({"type": "integer", "multipleOf": 1001}), b"1001" * 1200
    assert is_written(schema, b"[1001,%s,2002]" % long)
    assert not is_written(schema, b"[1001,%s,1001]" % long)
    assert not is_written(schema, b"[%s,%s]" % (long, long))


def test_no_item_is_nested_too_deep_to_be_compared() -> None:
    """Neither is it allowed unseen, nor what was before it forgotten."""
    output, ids = with_bytes({"type": "array", "uniqueItems": True})
    output.accept(ids[b"["], 20_000)
    num_open = 0
    while ids[b"["] in allowed(output) and output.accept(ids[b"["], 20_000):
        num_open += 1
    assert 100 < num_open < 2_000
    assert output.error is None
    for token in (*[b"]"] * num_open, b",", b"1", b",", b"2", b"]"):
        assert output.accept(ids[token], 20_000), token
    jsonschema.validate(json.loads(output._text), {"uniqueItems": True})


@pytest.mark.parametrize("rest", [False, STRING])
@pytest.mark.parametrize("jumps", [False, True])
def test_what_leaves_only_an_item_that_is_there_is_not_begun(rest: Any, jumps: bool) -> None:
    """The second item is certain."""
    vocab = byte_level_vocab()
    schema = unique(rest, prefixItems=[STRING, {"const": "a"}], minItems=2)
    output = compiled(vocab, schema).constrain(vocab.eos, jumps)
    text = b"".join(vocab.token_bytes[token_id] for token_id in output.begin(300))
    while not output.is_at_end:
        next_byte = b'["a","a"]'[len(text) :][:1]
        choices = allowed(output)
        wanted = vocab.token_bytes.index(next_byte) if next_byte else -1
        appended = output.accept(wanted if wanted in choices else choices[0], 200 - len(text))
        text += b"".join(vocab.token_bytes[token_id] for token_id in appended)
    assert output.error is None
    assert text.startswith(b'["a') and not text.startswith(b'["a"')
    jsonschema.validate(json.loads(text), schema)


def test_what_cannot_be_completed_is_refused_with_all_that_begins_so() -> None:
    """Properties that are not declared would be sets of four of two values."""
    vocab = byte_level_vocab()
    schema = {"type": "object", "properties": {"name": STRING}, "additionalProperties": unique(SHORT_LISTS, minItems=4)}
    output = compiled(vocab, schema).constrain(vocab.eos, False)
    output.begin(300)
    num_refused = 0
    for byte in b'{"name"':
        for token_id in allowed(output):
            longer = output._text + vocab.token_bytes[token_id]
            if not (b'{"name":"'.startswith(longer) or longer == b"{}") and token_id in allowed(output):
                num_refused += 1
                assert not output.accept(token_id, 200), bytes(longer)
        assert output.accept(vocab.token_bytes.index(bytes([byte])), 200)
    assert 0 < num_refused < 1000
    assert output.error is None


@pytest.mark.parametrize(
    ("text", "is_written_so"),
    [(b"[[1,1]]", True), (b"[[1,1],[2]]", False), (b"[[1],[1]]", True), (b"[[1],[1,1]]", False)],
)
def test_each_way_to_read_it_is_followed_by_itself(text: bytes, is_written_so: bool) -> None:
    """Not one array of the first and another one of the second."""
    lists = {"type": "array", "items": {"type": "integer"}}
    schema = {"anyOf": [{"type": "array", "items": unique({"type": "integer"})}, unique(lists, maxItems=1)]}
    assert jsonschema.Draft202012Validator(schema).is_valid(json.loads(text)) is is_written_so
    assert is_written(schema, text) is is_written_so


def spaced(text: str) -> Iterator[str]:
    yield text
    yield text.replace(",", ", ")
    yield text.replace(",", " ,").replace("]", " ]").replace("[", "[ ")


@pytest.mark.parametrize("text", ["[1,2,1]", '{"a":["x","y","x"]}', "[1,2,3]", '{"a":["x","y"]}', "[10,1,0]"])
def test_with_white_space_between_items(text: str) -> None:
    schema = {"anyOf": [unique(NUMBER), {"type": "object", "properties": {"a": unique(STRING)}}]}
    grammar = lower(Constraint("json_schema", json.dumps(schema), "[ ]?"))
    is_valid = jsonschema.Draft202012Validator(schema).is_valid(json.loads(text))
    assert [accepts(grammar, one) for one in spaced(text)] == [is_valid] * 3


def test_more_items_than_there_are_values_cannot_be() -> None:
    with pytest.raises(InvalidRequestError, match="cannot be satisfied"):
        grammar_of("json_schema", unique({"enum": list(range(30))}, minItems=31))


def test_many_items() -> None:
    vocab = byte_level_vocab()
    known = compiled(vocab, unique(STRING))
    output = known.constrain(vocab.eos, True)
    output.begin(5000)
    for token_id in map(vocab.token_bytes.index, itertools.islice(_different(), 900)):
        assert output.accept(token_id, 3000), bytes(output._text)
    assert output.error is None


def _different() -> Iterator[bytes]:
    for number in itertools.count():
        yield from (b'"', *(bytes([digit]) for digit in str(number).encode()), b'"', b",")
