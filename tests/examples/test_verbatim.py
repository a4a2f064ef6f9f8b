"""The marked regions of examples/seeds are the seed documents' own code, and the table of items is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.seeds import (
    DOCUMENTS,
    EXAMPLES,
    ITEMS,
    ROOT,
    Region,
    all_regions,
    current_digests,
    document,
    example_files,
    item_of,
    normalise,
    python_blocks,
    recorded_digests,
    stands_in,
)

needs_documents = pytest.mark.skipif(not DOCUMENTS.is_dir(), reason="the seed documents are not on this machine")

SEEDS_PAGE = ROOT / "docs" / "seeds.md"

NOT_EXAMPLES = {
    "sglang_advantages = {": "a list of praise, not a program",
    "s += sgl.user(sgl.image(image_path) + question)": "004.7, images, come later",
    "def route_inference(task_type, **kwargs):": "a sketch that calls functions nobody defines",
}
"""Python in the documents that has no example, by a line of it."""


def test_regions_are_what_was_compared_with_the_documents() -> None:
    """After an intended change: python -m tests.examples.seeds, where the documents are."""
    assert current_digests() == recorded_digests()


@needs_documents
@pytest.mark.parametrize("region", all_regions(), ids=lambda region: f"{region.file}-{region.item}")
def test_region_stands_in_its_document(region: Region) -> None:
    assert region.lines
    assert stands_in(region, document(region.item.partition(".")[0]))


@needs_documents
@pytest.mark.parametrize("number", ["000", "002", "004"])
def test_all_python_of_the_documents_is_in_an_example(number: str) -> None:
    known = {line for region in all_regions() if region.item.startswith(number) for line in region.lines}
    for block in python_blocks(number):
        if not NOT_EXAMPLES.keys() & set(block):
            assert not [line for line in block if line not in known]


def test_normalising_hides_names_of_machines_only() -> None:
    assert normalise('  f(model="Qwen/Qwen2-7B-Instruct")\n\n\tg("http://localhost:8000/v1")') == (
        'f(model="<model>")',
        'g("<address>/v1")',
    )
    assert normalise("print(1)") != normalise("print(2)")


def test_every_item_has_an_example() -> None:
    assert {item_of(path) for path in example_files()} == set(ITEMS)


def test_every_example_is_run() -> None:
    """Somewhere in these tests, by its name."""
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.py"))
    assert not [path.name for path in example_files() if f'"{path.name}"' not in tests]


def test_every_item_has_a_row_with_its_examples() -> None:
    rows = re.findall(
        r"^\| (\d{3}\.\d+) \| .* \| .*\| ([^|]*) \|$", SEEDS_PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) == len(dict(rows)), "an item has two rows"
    linked = {item: re.findall(r"\]\(\.\./examples/seeds/([^)]+)\)", cell) for item, cell in rows}
    for item in ITEMS:
        own = {path.name for path in example_files() if item_of(path) == item}
        assert own <= set(linked[item]), f"the row of {item} lacks a link"
    for item, names in linked.items():
        assert all((EXAMPLES / name).is_file() for name in names), f"the row of {item} has a dead link"
        assert names or dict(rows)[item] == "later", f"the row of {item} neither links an example nor says later"
