"""The pages teach by programs: all of them run, print what stands under them, and pass a strict type checker."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.execution import loop
from tests.docs.pages import ADDRESS, ROOT, Page, is_same_output
from tests.helpers.runtime import Server

GUIDE = Page(ROOT / "docs" / "guide.md")
README = Page(ROOT / "README.md")
STRUCTURED_OUTPUT = Page(ROOT / "docs" / "structured-output.md")


class BorrowedEngine:
    """What a page's `Engine(...)` gives: the tests' own, so that its end is not the page's to say."""

    def __init__(self, engine: sgl.Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def shutdown(self) -> None:
        """The owner does that."""

    def __enter__(self) -> sgl.Engine:
        return self._engine

    def __exit__(self, *error: object) -> None:
        """As `shutdown`."""


@pytest.fixture
def borrowed(engine: sgl.Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Engines are the tests' own, with nothing cached; connections are closed, and no default backend is left."""
    connections: list[Any] = []

    def connecting(kind: Any) -> Any:
        def connect(*args: Any, **options: Any) -> Any:
            connections.append(kind(*args, **options))
            return connections[-1]

        return connect

    monkeypatch.setattr(sgl, "Engine", lambda model_path: BorrowedEngine(engine))
    for kind in (sgl.RuntimeEndpoint, sgl.OpenAI):
        monkeypatch.setattr(sgl, kind.__name__, connecting(kind))
    before = sgl.global_config.default_backend
    engine.flush_cache()
    yield
    sgl.set_default_backend(before)
    for connection in connections:
        loop.run(connection.aclose())


@pytest.fixture
def url(default_model_path: Path) -> Iterator[str]:
    """Of a server as its readers start it."""
    with Server("--model-path", str(default_model_path), "--num-threads", "1") as running:
        yield running.url


@pytest.mark.usefixtures("borrowed")
def test_programs_print_what_stands_under_them(url: str) -> None:
    """After an intended change: python -m tests.docs.pages docs/guide.md, beside a server."""
    for block, printed in GUIDE.run(url):
        assert is_same_output(printed, block.output or ""), f"{GUIDE.path}:{block.line} prints\n{printed}"


@pytest.mark.usefixtures("borrowed")
def test_the_page_on_structured_output() -> None:
    for block, printed in STRUCTURED_OUTPUT.run():
        assert is_same_output(printed, block.output or ""), f"{STRUCTURED_OUTPUT.path}:{block.line} prints\n{printed}"


@pytest.mark.usefixtures("borrowed")
def test_the_typed_example_of_the_readme() -> None:
    (block,) = [block for block in README.blocks if "schema=Order" in block.code]
    assert block.run({"__name__": "__main__"}, ADDRESS) == block.output


def test_every_chapter_has_a_program() -> None:
    chapters = GUIDE.text.split("\n## ")[1:]
    assert len(chapters) > 15
    assert not [chapter.partition("\n")[0] for chapter in chapters if "```python" not in chapter]


def test_a_strict_type_checker_accepts_them(tmp_path: Path) -> None:
    module = tmp_path / "guide.py"
    module.write_text(f'{GUIDE.code}\n\nreveal_type(find_person.func)\nreveal_type(state.get("person", Person))\n')
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(module)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    notes = [line.partition("note: ")[2] for line in checked.stdout.splitlines() if "note: " in line]
    assert checked.returncode == 0, checked.stdout
    assert notes[-1] == 'Revealed type is "guide.Person"'


PAGE = """Text.

```python
x = 1
```

```python
print(x)
```

```text
0
```

More.
"""


def test_a_page_is_written_anew_where_it_shows_outputs(tmp_path: Path) -> None:
    page = Page(tmp_path / "page.md")
    page.path.write_text(PAGE, encoding="utf-8")
    printed = {block.line: output for block, output in page.run()}
    assert printed == {4: "", 8: "1\n"}
    assert page.with_outputs(printed) == PAGE.replace("\n0\n", "\n1\n")


@pytest.mark.parametrize("page", [GUIDE, README, STRUCTURED_OUTPUT], ids=lambda page: page.path.name)
def test_links_lead_somewhere(page: Page) -> None:
    links = re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", page.prose)
    assert links
    for file, anchor in links:
        target = page.path.parent / file if file else page.path
        assert target.exists(), f"{page.path.name} links {file}"
        assert not anchor or anchor in anchors(target), f"{page.path.name} links {file}#{anchor}"


def anchors(path: Path) -> list[str]:
    """Of the headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize(
    ("printed", "is_same"),
    [
        ("0.52 in 3.1 s", True),
        ("0.60 in 2.5 ms", False),
        ("0.5 in 3.1 s", True),
        ("1.50 in 3.1 s", False),
        ("0.50 in 3.1 t", False),
    ],
)
def test_figures_may_vary_a_little(printed: str, is_same: bool) -> None:
    assert is_same_output(printed, "0.50 in 2.5 s") is is_same
