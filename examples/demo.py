"""Five programs on a real model: ``make demo``.

A streamed chat, a few-shot classification with `select`, a date by a regular expression, a person by a JSON Schema, and
a fork of four joined into one text. Beside each stands how many prompt tokens came from the cache.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.table import Table

import sglang as sgl

EXAMPLES = """Review: The soup was cold and the waiter ignored us.
Sentiment: negative

Review: What a lovely evening, we will be back!
Sentiment: positive

Review: My phone died after two days.
Sentiment: negative

Review: The best present I have ever received.
Sentiment: positive

Review: Terrible service and rude people.
Sentiment: negative

Review: A beautiful book that made me smile.
Sentiment: positive

"""

REVIEWS = (
    "I loved every minute of this film.",
    "The room was dirty and it smelled bad.",
    "Fast delivery, great quality, thank you!",
    "A complete waste of money.",
    "The staff were kind and helpful.",
    "It broke on the first day.",
    "Delicious food and wonderful music.",
    "I would never buy this again.",
)

TOPICS = ("sleeping", "eating", "moving", "friends")

SELF_CONTAINED_SVG = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""Without the fonts that rich would have a browser fetch."""

console = Console(highlight=False)


class Person(BaseModel):
    name: str
    age: int
    job: str


@sgl.function
def chat(s: sgl.ProgramState, question: str) -> None:
    s += sgl.user(question)
    s += sgl.assistant(sgl.gen("answer", max_tokens=80, temperature=0))


@sgl.function
def classify(s: sgl.ProgramState, review: str) -> None:
    s += EXAMPLES + f"Review: {review}\nSentiment: "
    s += sgl.select("sentiment", choices=["positive", "negative"])


@sgl.function
def find_date(s: sgl.ProgramState, text: str) -> None:
    s += f"Text: The party is on the 3rd of May 2021.\nDate: 2021-05-03\n\nText: {text}\nDate: "
    s += sgl.gen("date", regex=r"\d{4}-\d{2}-\d{2}", temperature=0)


@sgl.function
def find_person(s: sgl.ProgramState, text: str) -> None:
    s += sgl.user(f"Who is this about? Answer in JSON with name, age and job.\n{text}")
    s += sgl.assistant(sgl.gen("person", json_schema=Person, max_tokens=60, temperature=0))


@sgl.function
def write_tips(s: sgl.ProgramState, topics: Iterable[str]) -> None:
    s += sgl.system("You write one short, friendly sentence.")
    forks = s.fork(len(TOPICS))
    for fork, topic in zip(forks, topics, strict=True):
        fork += sgl.user(f"Give me one tip about {topic} for a healthy life.")
        fork += sgl.assistant(sgl.gen(f"about {topic}", max_tokens=32, temperature=0, stop="\n"))
    s += forks.join()
    s += sgl.user("Here are the tips:\n" + "\n".join(f"- {s[f'about {topic}']}" for topic in topics))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svg", metavar="FILE", help="also save what was shown as a picture")
    picture = parser.parse_args().svg
    console.record = picture is not None
    with console.status("Loading SmolLM2-135M ..."):
        started = time.perf_counter()
        engine = sgl.Engine(model_path="smollm2")
    console.print(f"[bold]SmolLM2-135M[/bold] is ready after {time.perf_counter() - started:.1f} s\n")
    with engine:
        sgl.set_default_backend(engine)
        for show in (show_chat, show_classification, show_date, show_person, show_fork):
            show()
    if picture:
        console.save_svg(picture, title="make demo", code_format=SELF_CONTAINED_SVG)


def show_chat() -> None:
    title("1. A streamed chat")
    question = "Name three things that make a good library, in one sentence."
    console.print(f"[dim]{question}[/dim]")
    started = time.perf_counter()
    state = chat.run(question, stream=True)
    for piece in state.text_iter("answer"):
        console.print(piece, end="", markup=False)
    console.print()
    report(started, [state.get_meta_info("answer")])


def show_classification() -> None:
    title("2. select: eight reviews, one set of examples")
    started = time.perf_counter()
    states = classify.run_batch([{"review": review} for review in REVIEWS])
    table = Table(box=None, show_header=False)
    for review, state in zip(REVIEWS, states, strict=True):
        sentiment = state["sentiment"]
        table.add_row(review, f"[{'green' if sentiment == 'positive' else 'red'}]{sentiment}")
    console.print(table)
    report(started, [state.get_meta_info("sentiment") for state in states])


def show_date() -> None:
    title(r"3. A regular expression: \d{4}-\d{2}-\d{2}")
    text = "My sister was born on the 12th of March 1998."
    started = time.perf_counter()
    state = find_date.run(text)
    console.print(f"[dim]{text}[/dim] {state['date']}")
    report(started, [state.get_meta_info("date")])


def show_person() -> None:
    title("4. A JSON Schema, from a pydantic class")
    text = "Maria Lopez, 41, repairs old clocks in a small shop in Lisbon."
    started = time.perf_counter()
    state = find_person.run(text)
    console.print(f"[dim]{text}[/dim]")
    console.print(repr(Person.model_validate(json.loads(state["person"]))))
    report(started, [state.get_meta_info("person")])


def show_fork() -> None:
    title("5. A fork of four, joined into one text")
    started = time.perf_counter()
    state = write_tips.run(TOPICS)
    console.print(state.messages()[-1]["content"], markup=False)
    report(started, [state.get_meta_info(f"about {topic}") for topic in TOPICS])


def title(text: str) -> None:
    console.rule(f"[bold cyan]{text}", align="left")


def report(started: float, metas: list[dict[str, Any]]) -> None:
    seconds = time.perf_counter() - started
    prompt, cached, new = (
        sum(meta[key] for meta in metas) for key in ("prompt_tokens", "cached_tokens", "completion_tokens")
    )
    console.print(
        f"[yellow]{cached} of {prompt} prompt tokens from the cache[/yellow], {new} new tokens, {seconds:.1f} s\n"
    )


if __name__ == "__main__":
    main()
