"""What ends an output: against the library's own matcher, and against trying everything."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np
import pytest

from sglang.srt.grammar.limits import PARSER_LIMITS
from sglang.srt.grammar.witness.expressions import Expressions, NotFoundError
from sglang.srt.grammar.witness.lark_reader import UnreadableError
from sglang.srt.grammar.witness.nodes import Expression
from sglang.srt.grammar.witness.outputs import Outputs
from tests.grammar.test_ebnf import ARITHMETIC, JSON, XML
from tests.grammar.test_json_schema import PERSON, TREE
from tests.grammar.texts import Kind, accepts, grammar_of

SCHEMAS: list[Any] = [
    PERSON,
    TREE,
    {},
    {"type": "integer", "minimum": -5, "maximum": 1200},
    {"type": "number", "exclusiveMinimum": 0.125},
    {"type": "number", "multipleOf": 0.25, "minimum": 3, "maximum": 9},
    {"type": "array", "items": {"type": "number", "multipleOf": 0.01}, "minItems": 1},
    {"type": "array", "items": {"type": "integer", "multipleOf": 7, "minimum": 30}, "minItems": 2},
    {"type": "string", "pattern": "^a[b-d]+$", "minLength": 4},
    {"type": "string", "pattern": "[A-Z]{3}-[0-9]{2,4}", "maxLength": 20},
    {"type": "string", "minLength": 2, "not": {"enum": ["ab", "aa"]}},
    {"type": "string", "pattern": r"^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)(?!.*\s)[\w ]{8,}$"},
    {"type": "string", "pattern": r"^[\p{L}\p{Nd}]+$"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "idn-email"},
    {"type": "string", "format": "email", "minLength": 30},
    {"type": "string", "format": "uri", "pattern": r"example\.com", "minLength": 60},
    {"type": "string", "pattern": "foo|bar", "minLength": 100},
    {"type": "string", "allOf": [{"pattern": one} for one in ("[A-Z]", "[a-z]", "[0-9]", "[!@#$]")], "minLength": 12},
    {"type": "number", "minimum": 2, "multipleOf": 1000.0},
    {"anyOf": [{"type": "string", "format": "hostname"}, {"type": "string", "format": "time"}]},
    {"enum": ["one", 2, None, {"three": [3]}]},
    {"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 1},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "minItems": 1, "maxItems": 3},
    {"type": "object", "properties": {"a": {"type": "string"}, "é": {"type": "string"}}, "required": ["é"]},
    {
        "anyOf": [
            {"type": "object", "properties": {"long": {"const": "x" * 50}}, "required": ["long"]},
            {"type": "null"},
        ]
    },
]
LARK_JSON = r"""
?value: object | array | ESCAPED_STRING | SIGNED_NUMBER -> number | "true" -> yes | "false" | "null"
array: "[" [value ("," value)*] "]"
object: "{" [pair ("," pair)*] "}"
pair: ESCAPED_STRING ":" value
start: value
%import common (ESCAPED_STRING, SIGNED_NUMBER)
%import common.WS
%ignore WS
"""
LARK_QUERY = r"""
start: "select" columns "from" NAME condition? // nothing may stand before it
columns: "*" | NAME ("," NAME)*
condition: "where" NAME "=" (INT | NAME)
%import common.CNAME -> NAME
%import common.INT
%ignore / +/ | COMMENT
%ignore "\t"
COMMENT: "(*" /[a-z ]*/ "*)"
"""
GRAMMARS: list[tuple[Kind, Any]] = [
    *(("json_schema", schema) for schema in SCHEMAS),
    ("regex", r"(\w+ ){3,5}end\."),
    ("regex", r"[a-z]{5,2000}"),
    ("regex", r"日本(語|人)😀{2}|[а-я]+ё"),
    ("choices", ["yes", "no", "maybe not"]),
    ("ebnf", JSON),
    ("ebnf", ARITHMETIC),
    ("ebnf", XML),
    ("ebnf", 'root ::= expr\nexpr ::= expr "+" term | term\nterm ::= [0-9]+ | "(" expr ")"'),
    ("ebnf", 'start: "a" thing+\nthing: /[0-9]{2}/ ("," WORD)?\nWORD: /\\w+/'),
    ("ebnf", LARK_JSON),
    ("ebnf", LARK_QUERY),
    ("ebnf", 'start: "a" NUM\nNUM: /[0-9]+/\n%ignore /[ \\n]+/'),
    ("ebnf", 'start: ["on" | "off"] lazy? item ~ 2..3 -> all\nlazy: "Ab"i\n!item: "0".."9" | /x+y/i'),
    ("ebnf", 'start: [lazy] "\\x41\\\\x"\n?lazy: "é".."ü" "z" ~ 2\n  | /[k-m]/is -> k'),
    ("ebnf", 'start: thought ANSWER\nthought[lazy]: /(.|\\n)*/ "</think>"\nANSWER: /[0-9]+/'),
]


def walk(grammar: str, seed: int, length: int) -> bytes:
    """The beginning of an output: bytes drawn from those that may come next, so characters may be cut."""
    rng = random.Random(seed)
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), grammar, log_level=0, limits=PARSER_LIMITS)
    mask = llguidance.numpy.allocate_token_bitmask(1, 257)
    text = b""
    while len(text) < length:
        llguidance.numpy.fill_next_token_bitmask(matcher, mask)
        allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")[:256]).tolist()
        if not allowed:
            break
        text += bytes([rng.choice(allowed)])
        matcher.consume_token(text[-1])
    return text


@pytest.mark.parametrize(("kind", "source"), GRAMMARS, ids=[str(source)[:40] for _, source in GRAMMARS])
def test_what_ends_an_output_ends_it(kind: Kind, source: Any) -> None:
    grammar = grammar_of(kind, source)
    outputs = Outputs(grammar)
    for seed in range(12):
        text = walk(grammar, seed, seed * 3)
        position = outputs.follow(outputs.start, text)
        end = outputs.shortest_end(position)
        assert accepts_bytes(grammar, text + end), (text, end)
        assert outputs.num_bytes_to_end(position) == len(end) <= outputs.most_bytes
        stepwise = outputs.start
        for byte in text:
            stepwise = outputs.follow(stepwise, bytes([byte]))
        assert outputs.shortest_end(stepwise) == end


def accepts_bytes(grammar: str, text: bytes) -> bool:
    return accepts(grammar, text.decode())


def shortest_by_trying(grammar: str, text: str, alphabet: str, limit: int) -> int | None:
    for length in range(limit + 1):
        for letters in itertools.product(alphabet, repeat=length):
            if accepts(grammar, text + "".join(letters)):
                return length
    return None


@pytest.mark.parametrize("seed", range(30))
def test_nothing_shorter_ends_it(seed: int) -> None:
    """Random regular expressions and grammars of a's and b's, and random beginnings of their outputs."""
    rng = random.Random(seed)
    source = (
        f"root ::= {_random_body(rng, 3, ['r1', 'r2'])}\n"
        f'r1 ::= {_random_body(rng, 2, ["r2"])} "a"\nr2 ::= "b" | "a" root "b"'
    )
    grammar = grammar_of("ebnf", source)
    outputs = Outputs(grammar)
    for length in range(6):
        text = walk(grammar, seed * 10 + length, length)
        expected = shortest_by_trying(grammar, text.decode(), "ab", 7)
        found = outputs.num_bytes_to_end(outputs.follow(outputs.start, text))
        assert found == expected or (expected is None and found > 7), (source, text)


def _random_body(rng: random.Random, depth: int, rules: list[str]) -> str:
    kind = rng.randrange(6) if depth else 0
    if kind < 2:
        return rng.choice(['"a"', '"b"', '"ab"', "[ab]", *rules])
    one = _random_body(rng, depth - 1, rules)
    if kind == 2:
        return f"({one} | {_random_body(rng, depth - 1, rules)})"
    if kind == 3:
        return f"({one}){rng.choice(['*', '+', '?', '{2,3}', '{2}'])}"
    return f"{one} {_random_body(rng, depth - 1, rules)}"


def test_what_no_end_is_found_of_hides_no_other() -> None:
    """Texts that six patterns hold of: the shortest is not found within the bound."""
    hard = {"type": "string", "allOf": [{"pattern": f"{one}.*{one.upper()}"} for one in "abcdef"]}
    alone = grammar_of("json_schema", hard)
    with pytest.raises(UnreadableError):
        Outputs(alone)
    beside = {"type": "object", "properties": {"a": {"type": "boolean"}, "b": hard}, "required": ["a"]}
    outputs = Outputs(grammar_of("json_schema", beside))
    assert outputs.shortest_end(outputs.follow(outputs.start, b'{"a":')) == b"true}"
    assert outputs.num_bytes_to_end(outputs.follow(outputs.start, b'{"a":true,"b":')) == float("inf")
    either = Outputs(grammar_of("json_schema", {"anyOf": [hard, {"type": "null"}]}))
    assert either.shortest_end(either.start) == b"null"


def test_text_that_is_no_beginning_cannot_be_ended() -> None:
    outputs = Outputs(grammar_of("regex", "[ab]+c"))
    nowhere = outputs.follow(outputs.start, b"abx")
    assert outputs.num_bytes_to_end(nowhere) == float("inf")
    with pytest.raises(NotFoundError):
        outputs.shortest_end(nowhere)


@pytest.mark.parametrize("multiple", [0.01, 0.04, 0.05, 0.25, 0.125, 0.012, 1.25, 7, 0.5])
def test_multiples_are_followed_as_the_library_writes_them(multiple: float) -> None:
    """With all the digits behind the point that the multiple has, or with fewer."""
    grammar = grammar_of("json_schema", {"type": "number", "multipleOf": multiple})
    outputs = Outputs(grammar)
    parts = [str(number) for number in (*range(12), "00", "25", "50", "75", "125", "250", "012", "024")]
    for text in [*parts, *(f"{sign}{whole}.{part}" for sign in ("", "-") for whole in (0, 1, 5, 10) for part in parts)]:
        is_whole = outputs.num_bytes_to_end(outputs.follow(outputs.start, text.encode())) == 0
        assert is_whole == accepts(grammar, text), text


def test_many_properties_that_may_be_there_beside_others() -> None:
    """A name that begins like many of them may be any of these, or another."""
    names = {f"property_{i}": {"type": "string"} for i in range(150)}
    grammar = grammar_of("json_schema", {"type": "object", "properties": names, "additionalProperties": {}})
    outputs = Outputs(grammar)
    for text in ('{"', '{"property_', '{"property_7":"x","prop', '{"property_7":"x","other":1'):
        end = outputs.shortest_end(outputs.follow(outputs.start, text.encode()))
        assert accepts(grammar, text + end.decode())


def test_the_work_grows_with_the_grammar_and_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand properties took six seconds, because each was put before all that follow it part by part."""
    work = 0
    make = Expressions._make

    def counted(self: Expressions, kind: Callable[..., Expression], *parts: Any) -> Expression:
        nonlocal work
        work += 1
        return make(self, kind, *parts)

    monkeypatch.setattr(Expressions, "_make", counted)
    needed = []
    for count in (50, 100):
        names = [f"p{number:03}" for number in range(count)]
        schema = {"type": "object", "properties": {name: {"type": "null"} for name in names}, "required": names}
        work = 0
        outputs = Outputs(grammar_of("json_schema", schema))
        outputs.follow(outputs.start, json.dumps(dict.fromkeys(names), separators=(",", ":")).encode())
        needed.append(work)
    assert needed[1] < 2.2 * needed[0]


def test_a_chain_of_rules_is_not_looked_at_in_whole_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,500 rules took fifteen seconds, because what needs no other is written first there."""
    work = 0
    cost = Outputs._cost_by_rules

    def counted(self: Outputs, expression: Expression) -> float:
        nonlocal work
        work += 1
        return cost(self, expression)

    monkeypatch.setattr(Outputs, "_cost_by_rules", counted)
    needed = []
    for count in (100, 200):
        chain = "".join(f'r{i} ::= "x" r{i + 1} | "(" r{i} ")"\n' for i in range(count))
        work = 0
        outputs = Outputs(grammar_of("ebnf", f'root ::= r0\n{chain}r{count} ::= "end"'))
        assert outputs.num_bytes_to_end(outputs.start) == count + 3
        needed.append(work)
    assert needed[1] < 2.2 * needed[0]


def test_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = json.dumps({"type": "array", "items": {"type": "number", "multipleOf": 0.25, "minimum": 3, "maximum": 99}})
    grammar = grammar_of("json_schema", json.loads(schema))
    whole = Outputs(grammar)
    for name in ("expressions", "outputs"):
        monkeypatch.setattr(f"sglang.srt.grammar.witness.{name}.MAX_REMEMBERED", 20)
    forgetful = Outputs(grammar)
    for seed in range(10):
        text = walk(grammar, seed, 15)
        ends = [one.shortest_end(one.follow(one.start, text)) for one in (whole, forgetful)]
        assert ends[0] == ends[1]


@pytest.mark.parametrize(
    "grammar",
    [
        'start: a "!"\na: b | "x"\nb: a "y" | "z"\n',
        'start: "a" other\n',
        'start: /a b/x\n',
        '%llguidance {"allow_initial_skip": true}\nstart: "a"\n%ignore " "\n',
        'start[max_tokens=3]: "a"\n',
        "start: %json {}\n",
        "start: " + "(" * 200 + '"a"' + ")" * 200 + "\n",
        # A hundred times 90,000 characters would be kept.
        f"start: {' | '.join(f'a{i}' for i in range(100))}\n"
        + "".join(f'a{i}: "{i}" long\n' for i in range(100))
        + f'long: b{{300}}\nb: "{"x" * 300}" | "y" b "z"{{0,3}}\n',
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_said_to_be(grammar: str) -> None:
    with pytest.raises(UnreadableError):
        Outputs(grammar)
