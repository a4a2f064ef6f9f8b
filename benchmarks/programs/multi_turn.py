"""Conversations of four turns after a common system message."""

from __future__ import annotations

import sglang as sgl
from benchmarks.programs.client import Client, Message
from benchmarks.programs.material import Material
from benchmarks.programs.program import LENGTH, Item, Program

NUM_TURNS = 4
ANSWER_TOKENS = 32


def items(material: Material, name: str, count: int) -> list[Item]:
    turns = material.some_turns(name, NUM_TURNS * count)
    system = f"You answer the questions of set {name} in plain words, as briefly as you can."
    return [
        {"system": system, "turns": turns[number * NUM_TURNS : (number + 1) * NUM_TURNS]} for number in range(count)
    ]


@sgl.function
def ours(s: sgl.ProgramState, system: str, turns: list[str]) -> None:
    s += sgl.system(system)
    for turn in turns:
        s += sgl.user(turn) + sgl.assistant(sgl.gen("answer", ANSWER_TOKENS, **LENGTH))


async def theirs(client: Client, system: str, turns: list[str]) -> None:
    messages: list[Message] = [{"role": "system", "content": system}]
    for turn in turns:
        messages.append({"role": "user", "content": turn})
        answer = await client.chat(messages, ANSWER_TOKENS)
        messages.append({"role": "assistant", "content": answer})


PROGRAM = Program("multi-turn", items, ours, theirs)
