"""Structural tags, against a reader of them that tries everything."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from sglang.srt.errors import InvalidRequestError
from tests.grammar.structural_formats import COUNT, INTEGER, TOOLS, separated, tag, triggered, xml_tag
from tests.grammar.texts import acceptor, accepts, grammar_of


def ends_of_tag(one: dict[str, Any], text: str, start: int) -> Iterator[int]:
    """Where one that begins there is over: at the first place where it can be, if it has an end."""
    if not text.startswith(one["begin"], start):
        return
    ends = one["end"] if isinstance(one["end"], list) else [one["end"]]
    whole = re.compile(f"(?:{one['content']['pattern']})(?:{'|'.join(map(re.escape, ends))})", re.DOTALL)
    start += len(one["begin"])
    places = [place for place in range(start, len(text) + 1) if whole.fullmatch(text, start, place)]
    yield from places if ends == [""] else places[:1]


def is_triggered(wanted: dict[str, Any], text: str, start: int = 0, num_tags: int = 0) -> bool:
    places = [(text.find(one, start) + len(one), one) for one in wanted["triggers"] if text.find(one, start) >= 0]
    if num_tags and wanted.get("stop_after_first"):
        return start == len(text)
    if num_tags == 0 and wanted.get("at_least_one"):
        after = [place for one in wanted["tags"] for place in ends_of_tag(one, text, start)]
        return any(is_triggered(wanted, text, place, 1) for place in after)
    end, trigger = min(places, default=(len(text), ""))
    if any(excluded in text[start:end] for excluded in wanted.get("excludes", [])):
        return False
    if not places:
        return True
    tags = [one for one in wanted["tags"] if one["begin"].startswith(trigger)]
    after = [place for one in tags for place in ends_of_tag(one, text, end - len(trigger))]
    return any(is_triggered(wanted, text, place, num_tags + 1) for place in after)


def is_separated(wanted: dict[str, Any], text: str, start: int = 0, num_tags: int = 0) -> bool:
    if start == len(text) and (num_tags or not wanted.get("at_least_one")):
        return True
    if num_tags:
        if wanted.get("stop_after_first") or not text.startswith(wanted["separator"], start):
            return False
        start += len(wanted["separator"])
    after = [place for one in wanted["tags"] for place in ends_of_tag(one, text, start)]
    return any(is_separated(wanted, text, place, num_tags + 1) for place in after)


FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("<a>1", triggered(["<a"], tag("<a>", "1*", "<"))),
    ("<a>1", triggered(["<a"], tag("<a>", "1*", "<"), at_least_one=True)),
    ("<a>1", triggered(["<a"], tag("<a>", "1*", "<"), at_least_one=True, stop_after_first=True)),
    ("<a>1", triggered(["<a"], tag("<a>", ".*", "1"), stop_after_first=True)),
    ("<ab1", triggered(["<a", "<b"], tag("<a", "1", ""), tag("<b", "[ab]*", "1"))),
    ("<ab1", triggered(["ab", "b<"], tag("ab", "1", ""), tag("b<1", "a*", "b"))),
    ("<ab1", triggered(["<", "<a"], tag("<a", "1", "1"), tag("<", "1b*", "1"), tag("<ab", "a", ""))),
    ("<<a1", triggered(["<<"], tag("<<", "a?", "1"))),
    ("aab1", triggered(["aab"], tag("aab", "1|11a", "b"), tag("aabb", "1", "b"))),
    ("<ab1", triggered(["a"], tag("a", "1*", ""), tag("ab", "<", "<"), stop_after_first=True)),
    ("<ab1", triggered(["a"], tag("a", "1*", "b"), excludes=["<b", "1<"])),
    ("<ab1", triggered(["a<"], tag("a<", "1*", "b"), excludes=["aa", "<a"], stop_after_first=True)),
    ("<ab1", triggered(["a"], tag("a", "1*", ["b", "<<"]), at_least_one=True, excludes=["<1"])),
    ("ab1,", separated(",", tag("a", "1*", ","), tag("ab", ",", ""))),
    ("ab1,", separated(",", tag("a", "[1,]*", ["bb", "b1"]))),
    ("ab1,", separated(",b", tag("a", "1*", ""), tag("b", ",1*", ""))),
    ("ab1,", separated("", tag("a", "[1,]*", "b"), at_least_one=True)),
    ("ab1,", separated(",a", tag("a", "1", ""), tag("b", "", "b"), stop_after_first=True)),
]


@pytest.mark.parametrize(("alphabet", "wanted"), FORMATS, ids=[json.dumps(wanted) for _, wanted in FORMATS])
def test_every_short_text_against_the_reader(alphabet: str, wanted: dict[str, Any]) -> None:
    is_right = is_triggered if wanted["type"] == "triggered_tags" else is_separated
    try:
        accepts_text = acceptor(grammar_of("structural_tag", {"format": wanted}))
    except InvalidRequestError as error:
        pytest.fail(str(error))
    texts = ["".join(text) for length in range(6) for text in itertools.product(alphabet, repeat=length)]
    wrong = [text for text in texts if accepts_text(text) is not is_right(wanted, text)]
    assert wrong[:5] == []
    assert {is_right(wanted, text) for text in texts} == {True, False}


@pytest.mark.parametrize(("alphabet", "wanted"), FORMATS, ids=[json.dumps(wanted) for _, wanted in FORMATS])
def test_random_long_texts_against_the_reader(alphabet: str, wanted: dict[str, Any]) -> None:
    is_right = is_triggered if wanted["type"] == "triggered_tags" else is_separated
    accepts_text = acceptor(grammar_of("structural_tag", {"format": wanted}))
    rng = random.Random(2)
    pieces = [
        *alphabet,
        *(text for one in wanted["tags"] for text in (one["begin"], *one["end"])),
        wanted.get("separator", ""),
    ]
    texts = ["".join(rng.choices(pieces, k=rng.randint(3, 9))) for _ in range(150)]
    assert [text for text in texts if accepts_text(text) is not is_right(wanted, text)][:5] == []


def test_random_formats_against_the_reader() -> None:
    """What is not refused means what the reader says."""
    rng = random.Random(1)
    num_used = 0
    for _ in range(60):
        words = ["".join(rng.choices("<ab", k=rng.randint(1, 2))) for _ in range(2)]
        begins = [word + "".join(rng.choices("<ab1", k=rng.randint(0, 2))) for word in words]
        contents = rng.choices(["1*", "[ab]*", "", "a|b1", ".*", "1+", "(ab)*"], k=2)
        ends = ["1", "<", "b", "</", ""]
        tags = [tag(begin, content, rng.choice(ends)) for begin, content in zip(begins, contents, strict=True)]
        options = {option: rng.random() < 0.3 for option in ("at_least_one", "stop_after_first")}
        excludes = [["".join(rng.choices("ab1/", k=2))], []][rng.random() < 0.5]
        wanted = triggered(words, *tags, **options, excludes=excludes)
        try:
            accepts_text = acceptor(grammar_of("structural_tag", {"format": wanted}))
        except InvalidRequestError:
            continue
        num_used += 1
        texts = ["".join(rng.choices("<ab1/", k=rng.randint(0, 9))) for _ in range(40)]
        texts += [
            "".join(rng.choices([*begins, "1", "a", "b", *(one["end"] for one in tags)], k=5)) for _ in range(150)
        ]
        wrong = [text for text in texts if accepts_text(text) is not is_triggered(wanted, text)]
        assert wrong[:5] == [], wanted
    assert num_used > 20


TABLE: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (
        TOOLS,
        ["", "Hello <f", '<f=count>{"n":1}</f>', 'é <f=code>12</f> and <f=count>{"n":-3}</f>.'],
        ["<f=", "<f=x>", "<f=count>{}</f>", '<f=count>{"n":1}</f', "<f=code>1.5</f>", "a <f=code>1</f> <f=code>"],
    ),
    (
        {"format": {"type": "json_schema", "json_schema": COUNT}},
        ['{"n":1}'],
        ["{}", ' {"n":1}', ""],
    ),
    (
        {"format": {"type": "sequence", "elements": [
            {"type": "tag", "begin": "<think>", "content": {"type": "any_text"}, "end": "</think>"},
            triggered(["<t"], tag("<t>", "[0-9]+", "</t>")),
        ]}},
        ["<think></think>", "<think>a<t\n</think> <t>12</t>b", "<think>a</think>\nb"],
        ["", "<think>a", "<think></think><t>"],
    ),
    (
        {"format": {"type": "or", "elements": [
            {"type": "const_string", "value": "none"},
            {"type": "const_string", "value": "no"},
            {"type": "json_schema", "json_schema": {"type": "array", "items": {"type": "integer"}}},
            tag("<x>", "a+", "</x>"),
            tag("<y>", "a+", "</y>"),
        ]}},
        ["none", "no", "[]", "[1,2]", "<x>a</x>", "<y>aa</y>"],
        ["", "non", "[a]", "<x>a</y>"],
    ),
    (
        {"format": {"type": "tag", "begin": "<x>", "content": {
            "type": "grammar", "grammar": 'root ::= "<a>" root "</a>" | [a-z]*',
        }, "end": "</x>"}},
        ["<x></x>", "<x><a>q</a></x>", "<x><a><a></a></a></x>"],
        ["<x><a></x>", "<x><a></a>", "<x></a></x>", "<x></x>a"],
    ),
    (
        {"format": triggered(["<"], {"begin": "<x>", "content": {
            "type": "grammar", "grammar": 'root ::= "(" root ")" | "a"',
        }, "end": "!"})},
        ["a", "b<x>((a))! and <x>a!"],
        ["<x>(a!", "<x>a", "<"],
    ),
    (
        {"structures": [{"begin": "<f>", "schema": {"type": ["integer", "null"]}, "end": "</f>"}], "triggers": ["<f>"]},
        ["<f>1</f>", "a<f>null</f>"],
        ["<f>[]</f>", "<f></f>"],
    ),
    (
        {"format": {"type": "tag", "begin": "", "content": {"type": "sequence", "elements": [
            {"type": "const_string", "value": "n="},
            {"type": "json_schema", "json_schema": {"type": "integer"}},
            {"type": "regex", "pattern": ";?"},
        ]}, "end": "\n"}},
        ["n=1\n", "n=-12;\n"],
        ["n=1", "n=\n", "n=1\n\n"],
    ),
    (
        {"format": {"type": "sequence", "elements": [
            {"type": "any_text", "excludes": ["<a>", "<b"], "max_tokens": None, "max_chars": None},
            {"type": "const_string", "value": ""},
        ]}},
        ["", "<", "x<a<c>", "a>b"],
        ["<a>", "x<<a>", "a<b", "<a<b"],
    ),
    (
        {"format": {"type": "tag", "begin": "<a>", "content": {"type": "any_text", "excludes": ["no"]}, "end": "</a>"}},
        ["<a></a>", "<a>n o</a>"],
        ["<a>no</a>", "<a>nn</a>n", "<a>"],
    ),
    ({"format": {"type": "any_text", "max_chars": 2}}, ["", "é", "漢字"], ["abc"]),
    (
        {"format": {"type": "tag", "begin": "<s>", "end": "</s>", "content": separated("", tag("<c:", "a+", "/>"))}},
        ["<s></s>", "<s><c:a/></s>", "<s><c:a/><c:aa/></s>"],
        ["<s>", "<s><c:/></s>", "<s></s><c:a/>", "<s><c:a/></s></s>"],
    ),
    ({"format": {"type": "tag", "begin": "a", "content": INTEGER, "end": ""}}, ["a1", "a-12"], ["a", "1", "a1a"]),
    ({"format": xml_tag([], "")}, ["<f>", "<f><parameter=n>\n1\n</parameter>"], ["", "<f></f>"]),
    ({"format": {"type": "star", "content": tag("<", "a+", ">")}}, ["", "<a>", "<a><aa>"], ["<>", "<a", "<a>a"]),
    ({"format": {"type": "plus", "content": tag("<", "a+", ">")}}, ["<a>", "<a><aa>"], ["", "<a><"]),
    ({"format": {"type": "optional", "content": tag("<", "a+", ">")}}, ["", "<a>"], ["<a><aa>"]),
    (
        {"format": {"type": "repeat", "min": 2, "max": 3, "content": {"type": "sequence", "elements": [
            {"type": "json_schema", "json_schema": {"type": "boolean"}}, {"type": "const_string", "value": ";"},
        ]}}},
        ["true;true;", "true;false;true;"],
        ["", "true;", "true;true;true;true;", "truetrue;"],
    ),
    ({"format": {"type": "repeat", "min": 1, "max": -1, "content": {"type": "regex", "pattern": "a|b"}}}, ["ab"], [""]),
    (
        {"format": {"type": "sequence", "elements": [
            {"type": "repeat", "min": 0, "max": 0, "content": tag("<", "a", ">")},
            {"type": "const_string", "value": "."},
        ]}},
        ["."],
        ["", "<a>."],
    ),
    (
        {"format": {"type": "sequence", "elements": [
            {"type": "star", "content": {"type": "json_schema", "json_schema": {"type": "array", "const": [1]}}},
            {"type": "const_string", "value": "."},
        ]}},
        [".", "[1].", "[1][1]."],
        ["", "[1]", "[2]."],
    ),
    (
        {"format": {"type": "dispatch", "excludes": ["!"], "rules": [
            ["<f>", {"type": "regex", "pattern": "a*b"}], ["<g>", {"type": "json_schema", "json_schema": COUNT}],
        ]}},
        ["", "a<f", "<f>aab", 'x<f>b y<g>{"n":1}z', "<f>b<f>b"],
        ["!", "<f>", "<f>a", "<f>b!", "<g>{}"],
    ),
    (
        {"format": {"type": "dispatch", "loop": False, "rules": [["<f>", {"type": "regex", "pattern": "a*b"}]]}},
        ["", "a", "a<f>ab"],
        ["<f>b.", "<f>b<f>b"],
    ),
    (
        {"format": {"type": "tag", "begin": "<f>", "end": ["</f>", "</g>"], "content": {
            "type": "json_schema", "style": "qwen_xml", "any_order": False, "max_whitespace_cnt": None, "excludes": [],
            "json_schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False},
        }}},
        ["<f></f>", "<f><parameter=n>\n1\n</parameter></g>"],
        ["<f>", "<f><parameter=n>\nx\n</parameter></f>"],
    ),
]  # fmt: skip


XML_VALUES = {"text": ["", "a\n</par\n", "漢"], "unit": ["F"], "n": ["12"], "name": ['"x"']}


@pytest.mark.parametrize("end", ["</f>", "\n</f>"])
@pytest.mark.parametrize("required", [[], ["text"], ["unit"], ["unit", "name"], list(XML_VALUES)])
def test_arguments_stand_between_tags_in_order_those_that_are_required_always(required: list[str], end: str) -> None:
    accepts_text = acceptor(grammar_of("structural_tag", {"format": xml_tag(required, end)}))
    for keys in itertools.chain.from_iterable(itertools.permutations(XML_VALUES, k) for k in range(5)):
        is_right = set(required) <= set(keys) and list(keys) == [key for key in XML_VALUES if key in keys]
        for values in itertools.product(*(XML_VALUES[key] for key in keys)):
            pairs = zip(keys, values, strict=True)
            inner = "\n".join(f"<parameter={key}>\n{value}\n</parameter>" for key, value in pairs)
            assert accepts_text(f"<f>{inner}{end}") is is_right, inner


@pytest.mark.parametrize(
    ("key", "value"),
    [("n", "0"), ("n", '"1"'), ("unit", "K"), ("unit", '"C"'), ("name", "x"), ("name", '"xy"'), ("other", "1")],
)
def test_values_between_tags_obey_their_schemas(key: str, value: str) -> None:
    grammar = grammar_of("structural_tag", {"format": xml_tag([], "</f>")})
    assert not accepts(grammar, f"<f><parameter={key}>\n{value}\n</parameter></f>")


def test_arguments_between_tags_may_stand_anywhere() -> None:
    arguments = xml_tag(["n"], "", properties={"n": {"type": "integer"}})["content"]
    series = {"type": "sequence", "elements": [arguments, {"type": "const_string", "value": "\n!"}]}
    choice = {"type": "or", "elements": [arguments, {"type": "const_string", "value": "none"}]}
    grammar, other = (grammar_of("structural_tag", {"format": one}) for one in (series, choice))
    one = "<parameter=n>\n1\n</parameter>"
    assert accepts(grammar, f"{one}\n!")
    assert not accepts(grammar, f"{one}\n{one}\n!")
    assert accepts(other, one)
    assert accepts(other, "none")
    assert not accepts(other, "")


@pytest.mark.parametrize(("wanted", "right", "wrong"), TABLE)
def test_table(wanted: dict[str, Any], right: list[str], wrong: list[str]) -> None:
    grammar = grammar_of("structural_tag", wanted)
    assert [text for text in right if not accepts(grammar, text)] == []
    assert [text for text in wrong if accepts(grammar, text)] == []


def test_formats_may_lie_24_deep_within_each_other() -> None:
    def nested(depth: int) -> dict[str, Any]:
        inner: dict[str, Any] = {"type": "const_string", "value": "a"}
        for _ in range(depth - 1):
            inner = {"type": "sequence", "elements": [inner]}
        return {"format": inner}

    assert accepts(grammar_of("structural_tag", nested(24)), "a")
    with pytest.raises(InvalidRequestError, match="is nested more than 24 levels deep"):
        grammar_of("structural_tag", nested(25))
