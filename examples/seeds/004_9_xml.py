"""Seed 004.9: structured formats beyond JSON, by grammar.

Needs a running server: sglang serve
"""

import re
from xml.etree import ElementTree

import openai

client = openai.Client(base_url="http://127.0.0.1:30000/v1", api_key="EMPTY")


def ask(question: str, **constraint: object) -> str:
    response = client.chat.completions.create(
        model="smollm2", messages=[{"role": "user", "content": question}], max_tokens=120, extra_body=constraint
    )
    return response.choices[0].message.content or ""


# --- seed 004.9: XML, whose elements may lie within each other
menu = """
root ::= "<menu>" dish dish? "</menu>"
dish ::= "<dish><name>" text "</name><price>" [1-9] [0-9]? "</price>" contains? "</dish>"
contains ::= "<contains>" dish "</contains>"
text ::= [A-Z] [a-z ]{2,20}
"""
xml = ask("Write a small menu in XML.", ebnf=menu)
for dish in ElementTree.fromstring(xml).iter("dish"):
    print(dish.findtext("name"), "costs", dish.findtext("price"))

# --- a table of comma-separated values
table = ask(
    "Name two cities, their countries and years.",
    regex=r"city,country,year(\n[A-Z][a-z]{2,9},[A-Z][a-z]{2,9},\d{4}){2}",
)
for row in table.splitlines()[1:]:
    print(row.split(","))

# --- text with tags in it: what is within the tags is bound
tag = {"type": "tag", "begin": "<year>", "content": {"type": "regex", "pattern": "(1|2)[0-9]{3}"}, "end": "</year>"}
dated = ask(
    "When did people first walk on the moon?",
    structural_tag={"format": {"type": "sequence", "elements": [{"type": "const_string", "value": "In "}, tag]}},
)
print(re.findall("<year>(.*?)</year>", dated))
