"""How much of the official JSON Schema test suite holds for what is generated, beside plain llguidance.

    python -m benchmarks.json_schema_suite DIRECTORY [--list wrongly-accepted | wrongly-rejected | refused]

DIRECTORY is a checkout of json-schema-org/JSON-Schema-Test-Suite. A test is an instance that a schema accepts or not;
it passes if the grammar agrees. Instances are written as a model has to write them: compact, numbers in one of their
spellings, properties in the order in which the schema mentions them and others behind, or in any order where they are
few: the grammar has one, and none may be accepted of what is not valid. Objects are left open here: that they are
closed otherwise is a choice, not a matter of what is valid.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import llguidance

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.json_schema import open_json_schema_grammar
from sglang.srt.grammar.text_matcher import TextMatcher
from sglang.srt.grammar.witness.unique_items import repeats_items

DRAFTS = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
}
MAX_PERMUTED = 4
"""Properties of an instance that are tried in every order."""

OUTCOMES = ("passed", "refused", "wrongly accepted", "wrongly rejected")


class Result(NamedTuple):
    """`file` is relative to the directory of tests."""

    file: str
    schema: str
    test: str
    outcome: str
    reason: str


def our_grammar(schema: str) -> str:
    return open_json_schema_grammar(schema)


def plain_grammar(schema: str) -> str:
    """Of llguidance, strict and compact."""
    options: Any = {
        "item_separator": ",",
        "key_separator": ":",
        "whitespace_flexible": False,
        "coerce_one_of": False,
        "lenient": False,
    }
    return llguidance.LLMatcher.grammar_from_json_schema(schema, overrides=options)


def run_suite(tests: Path, lower: Callable[[str], str]) -> Iterator[Result]:
    for draft, dialect in DRAFTS.items():
        for path in sorted((tests / draft).rglob("*.json")):
            for group in json.loads(path.read_text(), parse_float=Decimal):
                if isinstance(group["schema"], dict):
                    group["schema"].setdefault("$schema", dialect)
                yield from _run_group(str(path.relative_to(tests)), group, lower)


def _run_group(file: str, group: dict[str, Any], lower: Callable[[str], str]) -> Iterator[Result]:
    grammar, reason = _lowered(group["schema"], lower)
    order = {name: place for place, name in enumerate(dict.fromkeys(_names(group["schema"])))}
    for test in group["tests"]:
        outcome = "refused" if grammar is None else "passed"
        if grammar is not None:
            accepted = any(_accepts(grammar, text) for text in _spellings(test["data"], order))
            if accepted != test["valid"]:
                outcome = "wrongly accepted" if accepted else "wrongly rejected"
        yield Result(file, group["description"], test["description"], outcome, reason)


def _lowered(schema: Any, lower: Callable[[str], str]) -> tuple[str | None, str]:
    """A grammar, or why there is none."""
    try:
        grammar = lower(_as_json(schema))
    except (InvalidRequestError, ValueError) as error:
        return None, str(error)
    problem = TextMatcher(grammar).problem
    return (None, problem) if problem else (grammar, "")


def _accepts(grammar: str, text: bytes) -> bool:
    return TextMatcher(grammar).is_satisfied_by(text) and not repeats_items(grammar, text)


def _names(schema: Any) -> Iterator[str]:
    """Of properties, those in ``properties`` first."""
    yield from _declared(schema)
    yield from _mentioned(schema)


def _declared(schema: Any) -> Iterator[str]:
    for inner in _inside(schema):
        if isinstance(inner, dict) and isinstance(inner.get("properties"), dict):
            yield from inner["properties"]


def _mentioned(schema: Any) -> Iterator[str]:
    for inner in _inside(schema):
        if isinstance(inner, dict):
            yield from inner
        elif isinstance(inner, list):
            yield from (name for name in inner if isinstance(name, str))


def _inside(value: Any) -> Iterator[Any]:
    """Everything in a schema, itself first, definitions last."""
    yield value
    if isinstance(value, dict):
        value = [value[name] for name in sorted(value, key=lambda name: name in ("$defs", "definitions"))]
    if isinstance(value, list):
        for inner in value:
            yield from _inside(inner)


def _spellings(value: Any, order: dict[str, int]) -> Iterator[bytes]:
    written = _ordered(value, order)
    yield _as_json(written).encode(errors="surrogatepass")
    if isinstance(written, dict) and len(written) <= MAX_PERMUTED:
        for names in permutations(written):
            yield _as_json({name: written[name] for name in names}).encode(errors="surrogatepass")


def _ordered(value: Any, order: dict[str, int]) -> Any:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: order.get(name, len(order)))
        return {name: _ordered(value[name], order) for name in names}
    return [_ordered(inner, order) for inner in value] if isinstance(value, list) else value


def _as_json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_as_json(name)}:{_as_json(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_as_json, value)) + "]"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return json.dumps(value, ensure_ascii=False)


def print_table(ours: list[Result], plain: list[Result]) -> None:
    """For each file, ours and beside it plain llguidance's: passed, refused, wrongly accepted, wrongly rejected."""
    print(f"{'passed, refused, wrongly accepted, wrongly rejected':60}{'ours':>24}{'llguidance':>24}")
    for file in dict.fromkeys(result.file for result in ours):
        rows = [Counter(one.outcome for one in results if one.file == file) for results in (ours, plain)]
        print(f"{file:60}" + "".join(_figures(row) for row in rows))
    totals = [Counter(one.outcome for one in results) for results in (ours, plain)]
    print(f"{'all':60}" + "".join(_figures(total) for total in totals))
    print(f"passed: {totals[0]['passed'] / totals[1]['passed']:.2f} times as many")


def _figures(row: Counter[str]) -> str:
    return "".join(f"{row[outcome]:6}" for outcome in OUTCOMES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--list", choices=[outcome.replace(" ", "-") for outcome in OUTCOMES])
    arguments = parser.parse_args()
    tests = arguments.directory / "tests"
    if not any((tests / draft).is_dir() for draft in DRAFTS):
        parser.error(f"{arguments.directory} has none of {', '.join(f'tests/{draft}' for draft in DRAFTS)}")
    ours = list(run_suite(tests, our_grammar))
    if arguments.list:
        for result in ours:
            if result.outcome == arguments.list.replace("-", " "):
                print(f"{result.file}: {result.schema}: {result.test}: {result.reason}")
        return
    print_table(ours, list(run_suite(tests, plain_grammar)))


if __name__ == "__main__":
    main()
