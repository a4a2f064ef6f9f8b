"""JSON Schema: what is enforced is enforced exactly, what cannot be is refused by place and keyword.

The schema is turned into the shapes of the values that meet it (`schema.solver`), each of one type, with the schemas of
what lies inside; states that nothing can meet are dropped (`schema.plan`), and the rest is written down
(`schema.notation`).
"""

from __future__ import annotations

from sglang.srt.grammar.limits import check_size
from sglang.srt.grammar.schema.document import Document
from sglang.srt.grammar.schema.notation import grammar_of
from sglang.srt.grammar.schema.plan import Plan
from sglang.srt.grammar.schema.whitespace import read_whitespace


def json_schema_grammar(text: str) -> str:
    """The grammar of the JSON texts without white space that are valid, properties in the order of the schema, and no
    other properties than it names.

    JSON Schema lets an object have any properties beside those in ``properties``. Nobody who asks a model for a name
    and an age wants them, and a small model never stops inventing some. What is generated is valid all the same. A
    schema that wants more says so: with ``additionalProperties``, or whatever else speaks of properties without names.

    Raises InvalidRequestError for what is no JSON Schema, and for what cannot be enforced.
    """
    return json_schema_rules(text, "start")


def json_schema_rules(text: str, name: str, whitespace: str = "") -> str:
    """The same, as the rule `name` of a larger grammar; the names of its other rules begin with this one. whitespace: a
    regular expression of what stands between any two tokens.
    """
    check_size("json_schema", text)
    return grammar_of(Plan(Document(text), closes=True), name, read_whitespace(whitespace))


def open_json_schema_grammar(text: str) -> str:
    """The same as `json_schema_grammar`, with all properties that are valid, and texts that are valid but of no use."""
    check_size("json_schema", text)
    return grammar_of(Plan(Document(text), closes=False), "start")
