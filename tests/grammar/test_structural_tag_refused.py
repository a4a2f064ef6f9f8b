"""Structural tags that are refused, and what is said of them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sglang.srt.errors import InvalidRequestError
from tests.grammar.structural_formats import DIGITS, INTEGER, TOOLS, separated, tag, triggered, xml_tag
from tests.grammar.texts import grammar_of

DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"n": {"type": "integer"}}}
REFERENCE = {"type": "json_schema", "json_schema": {**DRAFT_7, "$ref": "#/definitions/n", "type": "string"}}
REFUSED: list[tuple[Any, str]] = [
    ("{", "structural_tag is not JSON"),
    ([], "structural_tag must be an object, not []"),
    ({}, "structural_tag needs format, or structures and triggers"),
    ({"type": "tag", "format": DIGITS}, "structural_tag.type must be 'structural_tag', not 'tag'"),
    ({"format": "regex"}, "structural_tag.format must be an object, not 'regex'"),
    ({"format": {}}, "structural_tag.format needs type: one of any_text, const_string"),
    ({"format": {"type": "regexp"}}, "structural_tag.format.type has 'regexp', which is not supported; did you mean"),
    ({"format": {"type": "regex"}}, "structural_tag.format needs pattern: a string"),
    ({"format": {**DIGITS, "flags": 1}}, "structural_tag.format.flags is unknown"),
    ({"format": {"type": "regex", "pattern": "("}}, "structural_tag.format.pattern"),
    ({"format": {"type": "const_string", "value": 1}}, "structural_tag.format.value must be a string, not 1"),
    ({"format": {"type": "or", "elements": []}}, "structural_tag.format.elements must be a list of formats, and"),
    ({"format": {"type": "grammar", "grammar": "root ::= a"}}, "format.grammar cannot be used: ebnf, line 1"),
    ({"format": {"type": "grammar", "grammar": 'start: "a"'}}, "structural_tag.format.grammar is Lark"),
    ({"format": {"type": "tags_with_separator", "separator": ",", "tags": [DIGITS]}}, "tags[0].type must be 'tag'"),
    ({**TOOLS, "triggers": ["<g"]}, "a tag that begins with none of the triggers ['<g']: '<f=count>'"),
    ({**TOOLS, "triggers": ["<f=", "<g"]}, "structural_tag.triggers[1] is '<g', with which no tag begins"),
    ({**TOOLS, "triggers": [""]}, "structural_tag.triggers[0] must be a non-empty string, not ''"),
    ({**TOOLS, "triggers": []}, "structural_tag.triggers must be a list of strings, and is empty"),
    ({"structures": TOOLS["structures"]}, "structural_tag needs triggers: a list of strings"),
    (
        {"format": triggered(["a", "ba"], tag("a", "1", ""), tag("ba", "1", ""))},
        "triggers[1] is 'ba', which holds another trigger, 'a'",
    ),
    (
        {"structures": [{"begin": "<", "schema": {"minLength": "a"}, "end": ""}], "triggers": ["<"]},
        "structural_tag.structures[0].schema cannot be enforced: json_schema has minLength 'a' at #",
    ),
    (
        {"format": {"type": "sequence", "elements": [{"type": "json_schema", "json_schema": {"items": {"foo": 1}}}]}},
        "structural_tag.format.elements[0].json_schema cannot be enforced: json_schema has 'foo' at #/items",
    ),
    ({"format": {"type": "sequence", "elements": [DIGITS, INTEGER]}}, "a format that may go on with '0' where"),
    ({"format": {"type": "sequence", "elements": [REFERENCE, DIGITS]}}, "a format that may go on with '0' where"),
    ({"format": {"type": "or", "elements": [DIGITS, INTEGER]}}, "for the same place that may both begin with '0'"),
    ({"format": {"type": "sequence", "elements": [{"type": "any_text"}, INTEGER]}}, "may go on with"),
    ({"format": triggered(["a"], tag("a", "1*", ""))}, "a tag without an end, the one that begins with 'a', that may"),
    ({"format": separated("1", tag("a", "[0-9]+", ""))}, "may go on with '1' where the next one may begin with it"),
    ({"format": xml_tag(["n"], "\n")}, "whose end '\\n' cannot be told from '\\n<parameter=name>\\n', with which an"),
    ({"format": xml_tag([], "</f>", minProperties=1)}, "content.json_schema has to be an object whose properties are"),
    ({"format": xml_tag([[]], "</f>")}, "content.json_schema has to be an object whose properties are"),  # type: ignore[list-item]
    ({"format": xml_tag([], "</f>", additionalProperties=True)}, "since nothing else can be said between tags; it is"),
    (
        {"format": xml_tag([], "</f>", properties={"a": {"foo": 1}})},
        "content.json_schema.properties.a cannot be enforced: json_schema has 'foo' at #",
    ),
    ({"format": xml_tag([], ["</f>", "<para"])}, "whose end '<para' cannot be told from '<parameter=name>"),
    ({"format": tag("a", "b", [])}, "structural_tag.format.end must be a list of strings, and is empty"),
    ({"format": tag("a", "b", ["c", 1])}, "structural_tag.format.end[1] must be a string, not 1"),  # type: ignore[list-item]
    ({"format": tag("a", "b*", ["c", ""])}, "a tag whose end ['c', ''] cannot be told from its content"),
    ({"format": {"type": "any_text", "max_tokens": 5}}, "format.max_tokens is 5, which is not supported; max_chars"),
    ({"format": {"type": "any_text", "max_chars": -1}}, "format.max_chars must be an integer from 0 on, not -1"),
    ({"format": {"type": "any_text", "max_chars": 30_000}}, "format.max_chars has 30000 characters with its repet"),
    ({"format": {"type": "any_text", "max_chars": 1, "excludes": ["a"]}}, "has both excludes and max_chars"),
    ({"format": {"type": "any_text", "excludes": [""]}}, "format.excludes must be non-empty strings, not ['']"),
    ({"format": {"type": "any_text", "excludes": ["a" * 101]}}, "format.excludes has a text of more than 100"),
    ({"format": {**triggered(["ab"], tag("ab", "c", "")), "excludes": ["b"]}}, "'b', so that 'ab' could never be"),
    ({"format": {**INTEGER, "style": "glm_xml"}}, "format.style must be 'json' or 'qwen_xml', not 'glm_xml'"),
    ({"format": {**INTEGER, "any_order": True}}, "format.any_order is True, which is not supported; properties come"),
    ({"format": {"type": "repeat", "min": 2, "max": 1, "content": DIGITS}}, "format.max must be -1 for no limit or at"),
    ({"format": {"type": "repeat", "min": 1, "content": DIGITS}}, "format needs max: an integer from -1 on"),
    ({"format": {"type": "repeat", "min": 9999, "max": 9999, "content": {"type": "regex", "pattern": "abc"}}}, "29997"),
    ({"format": {"type": "star", "content": INTEGER}}, "may go on with '-' where the next one may begin with it"),
    ({"format": {"type": "dispatch", "rules": [["a"]]}}, "rules[0] must be a pair of a non-empty text and a format"),
    ({"format": {"type": "dispatch", "rules": [["a", DIGITS]]}}, "a tag without an end, the one that begins with 'a'"),
    (
        {"format": {"type": "dispatch", "rules": [["a", {"type": "const_string", "value": ""}], ["ba", DIGITS]]}},
        "format.rules[1][0] is 'ba', which holds another trigger, 'a'",
    ),
    (
        {"format": {"type": "tag", "begin": "a", "end": "a", "content": {
            "type": "grammar", "grammar": 'root ::= "(" root ")" | [ab]+',
        }}},
        "a tag whose end 'a' cannot be told from its content",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "message"), REFUSED)
def test_refused(wanted: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        grammar_of("structural_tag", wanted)


def test_formats_that_are_too_many_to_be_told_apart_are_refused() -> None:
    options = [
        {"type": "sequence", "elements": [{"type": "const_string", "value": f"{number:04}"}, INTEGER]}
        for number in range(1000)
    ]
    with pytest.raises(InvalidRequestError, match="too many formats, or too large ones, to tell them apart"):
        grammar_of("structural_tag", {"format": {"type": "or", "elements": options}})
