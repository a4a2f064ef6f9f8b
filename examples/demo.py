"""Five programs on a real model: ``make demo``.

A streamed chat, a few-shot classification with `select`, a date by a regular expression, a person by a JSON Schema, and
a fork of four joined into one text. Beside each stands how many prompt tokens came from the cache.
"""

from __future__ import annotations

import argparse
import re
import time
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

DATES = """Text: The war ended on May 8, 1945, and everyone danced.
Date: May 8, 1945

Text: On October 3, 2011 we met for the first time.
Date: October 3, 2011

"""

MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"

PEOPLE = """Text: John Smith, 35, bakes bread in Leeds.
JSON: {"name":"John Smith","age":35,"job":"baker"}

Text: Anna Berg is a teacher of 52 from Oslo.
JSON: {"name":"Anna Berg","age":52,"job":"teacher"}

"""

SEASONS = ("Spring", "Summer", "Autumn", "Winter")

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
    s += EXAMPLES + f"Review: {review}\nSentiment:"
    s += sgl.select("sentiment", choices=[" positive", " negative"])


@sgl.function
def find_date(s: sgl.ProgramState, text: str) -> None:
    s += DATES + f"Text: {text}\nDate: "
    s += sgl.gen("date", regex=rf"({MONTH}) \d{{1,2}}, \d{{4}}", temperature=0)


@sgl.function
def find_person(s: sgl.ProgramState, text: str) -> None:
    s += PEOPLE + f"Text: {text}\nJSON: "
    s += sgl.gen("person", json_schema=Person, temperature=0)


@sgl.function
def write_poem(s: sgl.ProgramState) -> None:
    s += "A short poem about the year.\n"
    forks = s.fork(len(SEASONS))
    for fork, season in zip(forks, SEASONS, strict=True):
        fork += f"{season} is the season of" + sgl.gen(season, max_tokens=16, temperature=0, stop=["\n", ".", ","])
    s += forks.join()
    for season in SEASONS:
        s += f"{season} is the season of{s[season]}.\n"


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
        sentiment = state["sentiment"].strip()
        table.add_row(review, f"[{'green' if sentiment == 'positive' else 'red'}]{sentiment}")
    console.print(table)
    report(started, [state.get_meta_info("sentiment") for state in states])


def show_date() -> None:
    title("3. A date, by a regular expression")
    text = "The library opened its doors on June 5, 1987."
    started = time.perf_counter()
    state = find_date.run(text)
    console.print(f"[dim]{text}[/dim]\n{state['date']}", markup=True)
    report(started, [state.get_meta_info("date")])


def show_person() -> None:
    title("4. A person, by the JSON Schema of a pydantic class")
    text = "Maria Lopez, 41, repairs old clocks in a small shop in Lisbon."
    started = time.perf_counter()
    state = find_person.run(text)
    console.print(f"[dim]{text}[/dim]\n{Person.model_validate_json(state['person'])!r}")
    report(started, [state.get_meta_info("person")])


def show_fork() -> None:
    title("5. A fork of four, joined into one text")
    started = time.perf_counter()
    state = write_poem.run()
    console.print(state.text().rstrip(), markup=False)
    report(started, [state.get_meta_info(season) for season in SEASONS])


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
