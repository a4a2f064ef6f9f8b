"""Records out of text: one typed object a line of input, many lines at a time.

    python -m examples.apps.extraction                                  # the orders below, on a model of its own
    python -m examples.apps.extraction --input mails.txt --output orders.jsonl --base-url http://localhost:30000

A record that is not grounded in its text, or is no valid order, is tried again with some randomness; what cannot be
extracted is reported with its reason and stops nothing. Results are written as they end.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TextIO

from pydantic import BaseModel, ConfigDict, Field

import sglang as sgl

ATTEMPTS = 5
RETRY_TEMPERATURE = 0.6

MAILS = """\
Hello, this is Karla Winter. Please send 3 desk lamps to my office in Hamburg. Thanks!
I am Peter Novak and would like to order 12 coffee mugs, delivered to Prague.
Good morning! Two weeks ago I bought a chair from you. Now I need 4 more chairs in Lyon. Best, Marie Dubois
Could you ship 1 espresso machine to Turin? My name is Luca Rossi.
Ingrid Olsen here: 25 notebooks to Bergen, please, and no hurry.
We need 6 whiteboards for the school in Leeds. Regards, John Carter
Hi, 2 bicycle pumps to Utrecht for Jan de Vries, please.
This is Sofia Papadaki from Athens. I need 40 paper boxes for my shop in Athens.
"""

PROMPT = """Every mail is an order. Copy who orders, how many of what, and to which city.

Mail: Dear shop, my name is Anna Berg. I want 5 blue umbrellas for my hotel in Oslo.
Order: {"customer":"Anna Berg","quantity":5,"item":"blue umbrellas","city":"Oslo"}

Mail: We need 8 rulers for the office in Turku. Greetings, Mika Aalto
Order: {"customer":"Mika Aalto","quantity":8,"item":"rulers","city":"Turku"}

Mail: Please deliver 10 garden chairs to Seville. Yours, Pablo Ruiz
Order: {"customer":"Pablo Ruiz","quantity":10,"item":"garden chairs","city":"Seville"}

"""


class Order(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)

    customer: Annotated[str, Field(min_length=3, max_length=40)]
    quantity: Annotated[int, Field(ge=1, le=999)]
    item: Annotated[str, Field(min_length=2, max_length=40)]
    city: Annotated[str, Field(min_length=2, max_length=30)]


def ungrounded(order: Order, mail: str) -> list[str]:
    """The values that do not stand in the mail, as whole words."""
    values = map(str, order.model_dump().values())
    return [value for value in values if not re.search(rf"(?<!\w){re.escape(value)}(?!\w)", mail)]


@sgl.function
def extract(s: sgl.ProgramState, mail: str) -> Order:
    """Raises ValueError, with the last reason, if no attempt gives a grounded order."""
    s += PROMPT + f"Mail: {mail}\nOrder: "
    reason = ""
    for attempt in range(ATTEMPTS):
        order = sgl.gen(
            "order", schema=Order, max_tokens=96, temperature=RETRY_TEMPERATURE * min(attempt, 1), sampling_seed=attempt
        )
        fork = s.fork()[0]
        fork += order
        try:
            found = fork.get(order)
        except sgl.ProgramError as error:
            reason = str(error)
            continue
        missing = ungrounded(found, mail)
        if not missing:
            return found
        reason = f"not in the mail: {', '.join(map(repr, missing))}"
    raise ValueError(f"no order in {mail!r} after {ATTEMPTS} attempts; {reason}")


@dataclass
class Report:
    """What a batch did. Tokens are those of the records that were extracted."""

    started: float = field(default_factory=time.perf_counter)
    extracted: int = 0
    failed: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0

    def count(self, state: sgl.ProgramState) -> None:
        trace = state.trace()
        self.extracted += 1
        self.retries += len([node for node in trace.requests if node.kind == "gen"]) - 1
        self.prompt_tokens += trace.usage.prompt or 0
        self.cached_tokens += trace.usage.cached or 0
        self.new_tokens += trace.usage.new or 0

    def __str__(self) -> str:
        seconds = time.perf_counter() - self.started
        records = self.extracted + self.failed
        return (
            f"{records} records in {seconds:.1f} s ({records / seconds:.1f} a second): {self.extracted} extracted, "
            f"{self.retries} retries, {self.failed} failed; {self.cached_tokens} of {self.prompt_tokens} prompt tokens "
            f"from the cache, {self.new_tokens} new"
        )


def run(mails: Sequence[str], output: TextIO, errors: TextIO) -> Report:
    """Write a line of JSON for every order, with the number of its mail, and a line for every failure."""
    report = Report()
    results = extract.run_batch(
        [{"mail": mail} for mail in mails], generator_style=True, ordered=False, return_exceptions=True
    )
    for index, result in results:
        if isinstance(result, Exception):
            report.failed += 1
            print(f"mail {index}: {result}", file=errors)
        else:
            report.count(result)
            print(f'{{"mail":{index},"order":{result.ret_value.model_dump_json()}}}', file=output)
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", metavar="URL", help="a server, instead of a model of its own")
    parser.add_argument("--input", type=Path, metavar="FILE", help="one mail a line, instead of the examples")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the orders go, instead of the terminal")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N mails")
    given = parser.parse_args(arguments)
    text = given.input.read_text(encoding="utf-8") if given.input else MAILS
    mails = [line for line in text.splitlines() if line.strip()][: given.limit]
    sgl.set_default_backend(sgl.RuntimeEndpoint(given.base_url) if given.base_url else sgl.Engine("smollm2"))
    if given.output is None:
        report = run(mails, sys.stdout, sys.stderr)
    else:
        with given.output.open("w", encoding="utf-8") as output:
            report = run(mails, output, sys.stderr)
    print(report, file=sys.stderr)


if __name__ == "__main__":
    main()
