"""EBNF: what is understood, what is said of what is not, and that the lexemes it is cut into change no meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar import pattern, recursive
from sglang.srt.grammar.ebnf import parse_ebnf
from sglang.srt.grammar.limits import MAX_POSITIONS, MAX_RULES
from sglang.srt.grammar.pattern import Chars, Concat, Pattern, Ref, Repeat, Union
from tests.grammar.texts import accepts, grammar_of

JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws     ::= | " " | "\n" [ \t]{0,20}
"""
ARITHMETIC = r"""
root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
"""
XML = r"""
root    ::= element
element ::= "<" name ">" content* "</" name ">"   # names are not compared
content ::= element | [^<&]+ | "&amp;"
name    ::= [a-z] [a-z0-9-]*
"""

TABLE: list[tuple[str, list[str], list[str]]] = [
    # grammar, accepted, rejected
    ('root ::= "a"', ["a"], ["", "aa"]),
    (
        'root ::= city " is the capital of " country\ncity ::= "London" | "Paris"\ncountry ::= "England" | "France"\n',
        ["Paris is the capital of France", "London is the capital of France"],
        ["Paris", "Rome is the capital of France"],
    ),
    ("root ::= 'x' \"y\" # comment\n# another\n", ["xy"], ["x"]),
    ('root ::= "a"\n  | "b"\n  | ("c"\n | "d")\nother ::= "e"', ["a", "b", "c", "d"], ["e"]),
    ('root::="a"|a-b\na-b::="c" A_1\nA_1 ::= "d"', ["a", "cd"], ["c"]),
    ('root ::= "a"* "b"+ "c"?', ["b", "aabbc"], ["a", "ac"]),
    ('root ::= "a"{2} "b"{1,} "c"{,2} "d"{ 1 , 3 }', ["aabd", "aabbccddd"], ["abd", "aabcccd", "aabdddd"]),
    ('root ::= ("a" | ) "b" (| "c")', ["b", "ab", "abc"], ["", "ac"]),
    (r'root ::= "\x41\u00e9\U0001F600\n\r\t\\\"\/"', ['Aé😀\n\r\t\\"/'], ["A"]),
    (r"root ::= [a\-z] [^\]\\] [x-z0-9_] [-a] [a-]", ["-bx--", "aé_aa"], ["b]x--", "-]x--"]),
    ("root ::= [^\\n]* .", ["\n", "ab\n", "é"], ["\n\n", ""]),
    ("root ::= .", ["\n", "é"], ["", "ab"]),
    ('root ::= "a" root "b" | "ab"', ["ab", "aabb", "aaabbb"], ["aab", "ba", ""]),
    ('root ::= root "a" | "b"', ["b", "baaa"], ["a", ""]),
    ('root ::= root? "a" | ""', ["aaa", "a", ""], ["b"]),
    ('root ::= root | "a"', ["a"], ["", "aa"]),
    ('root ::= "a" | dead\ndead ::= "b" dead', ["a"], ["b"]),
    (
        'root ::= [a-z]* "b" x\nx ::= "(" x ")" | ("b" | "bc") "cd"',
        ["bbcd", "xbb(bccd)", "b(bcd)", "bb(bcd)"],
        ["bb", "b(bcd"],
    ),
    ("root ::= [é] x? [ê]\nx ::= [ü] x? [é-ë]", ["éê", "éüéê", "éüüéëê"], ["éüê"]),
    (
        JSON,
        ["{}", '{"a":1}', '{"a": [1, 2.5e3,true , {"b":null}]}\n\t', '{"a":"x\\"y\\u00e9"}', '{"a":[],"b":{}}'],
        ['{"a":01}', '{"a"}', "[]", '{"a":1,}', '{"a":"\n"}', '{"a":"'],
    ),
    (ARITHMETIC, ["1+2=3\n", "a*(b_1 +12)\n = c\nx=y\n", "((1))=1\n\n"], ["1+=2\n", "1=2", "a1 b=c\n"]),
    (XML, ["<a></a>", "<a>x<b-1>y &amp; z</b-1></a>"], ["<a>", "<a>&</a>", "<A></A>"]),
    ('start: "a" b\nb: /[0-9]+/', ["a12"], ["a"]),
    ('// Lark\n?start: x\nx: "a"', ["a"], ["b"]),
    ('%llguidance {}\nstart: "a"', ["a"], ["b"]),
    ('root ::= start\nstart ::= "a"', ["a"], ["b"]),
]


@pytest.mark.parametrize(("grammar", "accepted", "rejected"), TABLE, ids=[row[0].strip()[:24] for row in TABLE])
def test_table(grammar: str, accepted: list[str], rejected: list[str]) -> None:
    lowered = grammar_of("ebnf", grammar)
    assert [text for text in accepted if not accepts(lowered, text)] == []
    assert [text for text in rejected if accepts(lowered, text)] == []


REFUSED: list[tuple[str, str]] = [
    ("", "ebnf has no rule 'root' to begin with; the rules are []"),
    ('foo ::= "a"', "ebnf has no rule 'root' to begin with; the rules are ['foo']"),
    ("Just some text.", "ebnf, line 1: expected a rule, 'name ::= ...', not 'Just'"),
    ('root ::= "a"\n\n  b c', "ebnf, line 3: there is no rule 'b'; the rules are ['root']"),
    ('root ::= "a"\nroot ::= "b"', "ebnf, line 2: rule 'root' is defined twice"),
    ('root ::= "a', "ebnf, line 1: not understood: '\"a'"),
    ('root ::= "a\nb"', "ebnf, line 1: not understood: '\"a'"),
    ("root ::= [a\n]", "ebnf, line 1: not understood: '[a'"),
    ("root ::= []", "ebnf, line 1: '[]' is an empty set"),
    ("root ::= [z-a]", "ebnf, line 1: '[z-a]' has a range whose end comes before its beginning"),
    (r"root ::= [\d]", r"ebnf, line 1: unknown escape '\d'; known are "),
    (r'root ::= "\ud800"', r"ebnf, line 1: '\ud800' is no character"),
    (r'root ::= "\U00110000"', r"ebnf, line 1: '\U00110000' is no character"),
    ('root ::= ("a"\n', "ebnf, line 1: expected ')' for the '(' of line 1, not 'the end'"),
    ('root ::= "a")', "ebnf, line 1: expected a rule, 'name ::= ...', not ')'"),
    ("root ::= * ", "ebnf, line 1: expected a rule, 'name ::= ...', not '*'"),
    ('root ::= "a"{3,1}', "ebnf, line 1: '{3,1}' is no repetition: at most "),
    ('root ::= "a"{}', "ebnf, line 1: {} has no number"),
    ('root ::= "a"{1000000}', "ebnf, line 1: '{1000000}' is no repetition: at most "),
    ('root ::= "a" root', "ebnf matches no text at all: its rules refer to each other without end"),
    ('root ::= a "x"\na ::= b\nb ::= a', "ebnf matches no text at all: its rules refer to each other without end"),
    ('root ::= ""', "ebnf matches only the empty text"),
    ("root ::= " + "(" * 25 + '"a"' + ")" * 25, "ebnf, line 1: groups are nested more than 24 levels deep"),
    ("root ::= " + "(" * 100_000, "ebnf, line 1: groups are nested more than 24 levels deep"),
    (
        "root ::= r0 root | r0\n" + "".join(f"r{i} ::= r{i + 1} r{i + 1}\n" for i in range(40)) + 'r40 ::= "z"',
        "ebnf has 32821 characters with its repetitions written out; at most 20000 are supported",
    ),
    (
        'root ::= "a" root | "b"{100000}',
        f"ebnf has 100002 characters with its repetitions written out; at most {MAX_POSITIONS}",
    ),
    (
        "".join(f'r{i} ::= "a"\n' for i in range(2001)) + "root ::= r1",
        f"ebnf has 2002 rules; at most {MAX_RULES} are supported",
    ),
    (
        'root ::= "(" root ")" | ' + '"a"? "b"? ' * 1000,
        "ebnf has too many rules that begin alike and cannot be told apart",
    ),
    ("start: nothing", "ebnf cannot be used: "),
    ("start: T\nT: (/.*a.{20}/ & /.*b.{19}/)+", "ebnf, line 2: '&' between terminals is not supported"),
    ("start: T\nT: ~/a/", "ebnf, line 2: '~' between terminals is not supported"),
    ('start: "a"\n <|end|> "b"', "ebnf, line 2: '<|end|>' names a token, but a constraint is of text"),
    ('start: "(" a__unique_item_1 ")"', "ebnf, line 1: 'a__unique_item_1' is a name for items that must differ"),
    ('start: "a" <[^257]> "b"', "ebnf, line 1: '<[^257]>' names a token, but a constraint is of text"),
    ('start: "a"\n  %json {"nul": {}}', "ebnf, line 2: json_schema has 'nul' at #, which is no keyword"),
    ('start: %json {"a"', "ebnf, line 1: what follows %json is not JSON: "),
    ("start: %json " + "[" * 100_000, "ebnf, line 1: the schema after %json is nested too deep"),
    ("start: start", "ebnf cannot be used: "),
    ("#" * 300_000, "ebnf has 300000 bytes; a constraint has at most 262144"),
]


def test_operators_within_texts_of_a_lark_grammar_are_text() -> None:
    grammar = 'start: "&~" /[&~]x/ // & ~ %json <a>\n'
    assert grammar_of("ebnf", grammar) == grammar
    assert accepts(grammar_of("ebnf", 'start: "&~" /[&~]x/ %json {"type": "boolean"} // & ~'), "&~&xtrue")
    assert accepts(grammar_of("ebnf", 'start: "<a>" /<b>/ %json {"const": "<c>"}'), '<a><b>"<c>"')


def test_a_long_chain_of_rules_takes_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(body: Pattern, rules: Mapping[str, Pattern]) -> Pattern:
        calls.append(body)
        return pattern.substitute(body, rules)

    monkeypatch.setattr(recursive, "substitute", counted)
    chain = {f"r{i}": Ref(f"r{i - 1}") for i in range(1, 1000)}
    assert len(recursive.without_dead_ends({"r0": pattern.literal("a"), **chain})) == 1000
    assert len(calls) == 2000, "once to see that each can be finished, once to write it"


@pytest.mark.parametrize(("grammar", "message"), REFUSED, ids=[grammar[:20] for grammar, _ in REFUSED])
def test_refused(grammar: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        grammar_of("ebnf", grammar)
    assert str(caught.value).startswith(message) and len(str(caught.value)) < 400


def test_long_chains_and_many_literals_are_no_problem() -> None:
    chain = (
        'root ::= r0 | "(" root ")"\n' + "".join(f'r{i} ::= "x" | r{i + 1} "y"\n' for i in range(400)) + 'r400 ::= "z"'
    )
    assert accepts(grammar_of("ebnf", chain), "(xyy)")
    names = " | ".join(f'"\\"name{i}\\":" root' for i in range(500))
    assert accepts(grammar_of("ebnf", f'root ::= "(" root ")" | {names} | "x"'), '"name7":("name499":x)')


# --- random grammars against a recogniser that follows the rules literally ------------------------------------------


class Recogniser:
    """All ends of what a rule may match from a place on, found by trying everything until nothing new is found."""

    def __init__(self, rules: dict[str, Pattern], text: str) -> None:
        self._text = text
        self._found: dict[tuple[str, int], frozenset[int]] = {}
        while self._round(rules):
            pass

    def accepts(self) -> bool:
        return len(self._text) in self._found[("root", 0)]

    def _round(self, rules: dict[str, Pattern]) -> bool:
        before = dict(self._found)
        for name, body in rules.items():
            for start in range(len(self._text) + 1):
                self._found[(name, start)] = frozenset(self._ends(body, start))
        return before != self._found

    def _ends(self, body: Pattern, start: int) -> Iterator[int]:
        match body:
            case Chars(chars):
                if start < len(self._text) and cs.overlap(chars, cs.single(self._text[start])):
                    yield start + 1
            case Ref(name):
                yield from self._found.get((name, start), frozenset())
            case Concat(parts):
                ends = {start}
                for part in parts:
                    ends = {after for end in ends for after in self._ends(part, end)}
                yield from ends
            case Union(options):
                for option in options:
                    yield from self._ends(option, start)
            case Repeat(inner, low, high):
                ends, seen = {start}, {start} if low == 0 else set()
                for count in range(1, (low + len(self._text) + 1 if high is None else high) + 1):
                    ends = {after for end in ends for after in self._ends(inner, end)}
                    seen |= ends if count >= low else set()
                yield from seen


ITEMS = st.sampled_from(['"a"', '"b"', '"ab"', '"ba"', '"bb"', "[ab]", "[^a]", '"é"', "[é-ü]", "[a-c]", '""', '"c"'])
NAMES = st.sampled_from(["root", "x", "y"])
SUFFIXES = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,2}"])


def expressions(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    sequence = st.lists(st.tuples(items, SUFFIXES).map("".join), min_size=1, max_size=3).map(" ".join)
    return st.lists(sequence, min_size=1, max_size=3).map(" | ".join)


BODIES = expressions(ITEMS | NAMES | ITEMS | expressions(ITEMS | NAMES).map(lambda inner: f"({inner})"))
GRAMMARS = st.builds(lambda root, x, y: f"root ::= {root}\nx ::= {x}\ny ::= {y}", BODIES, BODIES, BODIES)


@settings(max_examples=70, deadline=None)
@given(grammar=GRAMMARS, texts=st.lists(st.text("abcéü", max_size=6), min_size=5, max_size=12))
@example(grammar='root ::= "a" root | y\nx ::= "b"\ny ::= ("b" | "bc") "c" y?', texts=["bcc", "bc", "abccbc", "bcbcc"])
def test_random_grammars_mean_what_their_rules_say(grammar: str, texts: list[str]) -> None:
    rules = parse_ebnf(grammar)
    try:
        lowered = grammar_of("ebnf", grammar)
    except InvalidRequestError:  # it matches nothing, or only the empty text
        assert not any(Recogniser(rules, text).accepts() for text in texts if text)
        return
    for text in texts:
        assert accepts(lowered, text) == Recogniser(rules, text).accepts(), text
