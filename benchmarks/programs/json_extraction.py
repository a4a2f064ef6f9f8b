"""The facts of short texts as JSON by a schema."""

from __future__ import annotations

import sglang as sgl
from benchmarks.extraction import SCHEMA, prompts
from benchmarks.programs.client import Client
from benchmarks.programs.material import Material
from benchmarks.programs.program import Item, Program

MAX_TOKENS = 200


def items(material: Material, name: str, count: int) -> list[Item]:
    """These texts are always made up."""
    system = f"You take the facts of set {name} out of a text and answer with JSON."
    return [{"system": system, "text": text} for text in prompts(count, name)]


@sgl.function
def ours(s: sgl.ProgramState, system: str, text: str) -> None:
    s += sgl.system(system) + sgl.user(text)
    s += sgl.assistant(sgl.gen("facts", MAX_TOKENS, json_schema=SCHEMA, temperature=0.0))


async def theirs(client: Client, system: str, text: str) -> None:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    await client.chat(messages, MAX_TOKENS, SCHEMA)


PROGRAM = Program("JSON extraction", items, ours, theirs)
