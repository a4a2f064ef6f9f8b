"""An outline, then all of its points at once, then a summary of what they say."""

from __future__ import annotations

import asyncio

import sglang as sgl
from benchmarks.programs.client import Client
from benchmarks.programs.material import Material
from benchmarks.programs.program import LENGTH, Item, Program

NUM_POINTS = 5
OUTLINE_TOKENS = 48
POINT_TOKENS = 40
SUMMARY_TOKENS = 24


def items(material: Material, name: str, count: int) -> list[Item]:
    return [
        {"start": f"Set {name}.\nAnswer the request with an outline of {NUM_POINTS} points first.\nRequest: {turn}\n"}
        for turn in material.some_turns(name, count)
    ]


OUTLINE_TEXT = "Outline:"
SUMMARY_TEXT = "\nIn short:"


def point_text(index: int) -> str:
    return f"\nPoint {index + 1} in full:"


@sgl.function
def ours(s: sgl.ProgramState, start: str) -> None:
    s += start + OUTLINE_TEXT + sgl.gen("outline", OUTLINE_TOKENS, **LENGTH)
    points = s.fork(NUM_POINTS)
    points += lambda index: point_text(index) + sgl.gen("point", POINT_TOKENS, **LENGTH)
    s += points.join("concate_and_append")
    s += SUMMARY_TEXT + sgl.gen("summary", SUMMARY_TOKENS, **LENGTH)


async def theirs(client: Client, start: str) -> None:
    async def point(index: int) -> str:
        text = point_text(index)
        return text + await client.complete(outlined + text, POINT_TOKENS)

    prompt = start + OUTLINE_TEXT
    outlined = prompt + await client.complete(prompt, OUTLINE_TOKENS)
    points = await asyncio.gather(*(point(index) for index in range(NUM_POINTS)))
    await client.complete(outlined + "".join(points) + SUMMARY_TEXT, SUMMARY_TOKENS)


PROGRAM = Program("skeleton of thought", items, ours, theirs)
