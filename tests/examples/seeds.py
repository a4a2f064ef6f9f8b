"""The seed documents' code in the example files: where it stands, and what it looks like without names of this machine.

    python -m tests.examples.seeds

records the digests of all marked regions in tests/data/seed_regions.json.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "seeds"
DIGESTS = ROOT / "tests" / "data" / "seed_regions.json"
DOCUMENTS = ROOT.parent / "shared" / "seeds"
"""Outside the repository, so not everywhere."""

ITEMS = (
    *(f"000.{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12)),
    *(f"001.{number}" for number in (1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)),
    *(f"002.{number}" for number in (1, 2, 3, 4)),
    *(f"003.{number}" for number in (1, 2, 3)),
    *(f"004.{number}" for number in (1, 2, 3, 4, 5, 6, 9)),
)
"""Those that have an example."""

REPLACED = (
    (re.compile(r"\b(?:meta-llama|deepseek-ai|Qwen)/[\w.-]+|\bmodel-name\b|\bsmollm2\b"), "<model>"),
    (re.compile(r"http://(?:localhost|127\.0\.0\.1):\d+"), "<address>"),
)
"""All that may differ between a document and an example."""

LOST = re.compile(r"[\s\"'@=，：（）]")
"""What document 003 lost on its way, wherever it stood: in code the line breaks and these."""

_BEGIN = re.compile(r"# --- seed (\d{3}\.\d+)")
_END = "# ---"


@dataclass(frozen=True)
class Region:
    """Lines of an example between its markers, normalised."""

    file: str
    item: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def example_files() -> list[Path]:
    """The examples, without the files they read."""
    return sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh"))


def item_of(path: Path) -> str:
    """``001_12_llm_judge.py`` is of item 001.12."""
    document, number, _ = path.name.split("_", 2)
    return f"{document}.{number}"


def regions(path: Path) -> Iterator[Region]:
    """Raises AssertionError if the markers do not pair up."""
    item: str | None = None
    inside: list[str] = []
    for line in map(str.strip, path.read_text(encoding="utf-8").splitlines()):
        if begin := _BEGIN.fullmatch(line):
            assert item is None, f"{path.name}: {line!r} inside the region of {item}"
            item, inside = begin[1], []
        elif line == _END:
            assert item is not None, f"{path.name}: an end without a beginning"
            yield Region(path.name, item, normalise("\n".join(inside)))
            item = None
        else:
            inside.append(line)
    assert item is None, f"{path.name}: the region of {item} has no end"


def all_regions() -> list[Region]:
    return [region for path in example_files() for region in regions(path)]


def normalise(text: str) -> tuple[str, ...]:
    for pattern, placeholder in REPLACED:
        text = pattern.sub(placeholder, text)
    return tuple(line for line in map(str.strip, text.splitlines()) if line)


def stands_in(region: Region, text: str) -> bool:
    """Whether a document has these lines, one after the other; of document 003, what is left of them."""
    if region.item.startswith("003"):
        return LOST.sub("", region.text) in LOST.sub("", text)
    lines = "\n".join(normalise(text))
    return f"\n{region.text}\n" in f"\n{lines}\n"


@cache
def document(number: str) -> str:
    """As written, except that the first one is taken out of its feed: code stands between fences, as in the others."""
    (path,) = DOCUMENTS.glob(f"{number}_*")
    text = path.read_text(encoding="utf-8")
    if number != "000":
        return text
    fenced = re.sub(r'<pre><code(?: class="language-(\w+)")?>', r"\n```\1\n", html.unescape(text))
    return html.unescape(fenced.replace("</code></pre>", "\n```\n"))


def python_blocks(number: str) -> list[tuple[str, ...]]:
    """The fenced Python of a document, normalised. Document 001 lost its fences."""
    return [normalise(code) for code in re.findall(r"```python\n(.*?)```", document(number), re.DOTALL)]


def recorded_digests() -> dict[str, list[list[str]]]:
    """``[item, digest]`` of every region, in order, by file."""
    digests: dict[str, list[list[str]]] = json.loads(DIGESTS.read_text(encoding="utf-8"))
    return digests


def current_digests() -> dict[str, list[list[str]]]:
    digests: dict[str, list[list[str]]] = {}
    for region in all_regions():
        digests.setdefault(region.file, []).append([region.item, region.digest])
    return digests


if __name__ == "__main__":
    DIGESTS.write_text(json.dumps(current_digests(), indent=1) + "\n", encoding="utf-8")
