"""Pages whose programs are run: every Python block of a page, in order, in one namespace, as one who reads it would.

A text block right after a Python block is what that printed. Of a block without one, the output is its own business.

    python -m tests.docs.pages docs/guide.md

runs a page, beside a server at ADDRESS, and writes what its programs print into it.
"""

from __future__ import annotations

import builtins
import io
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ADDRESS = "http://localhost:30000"
PROGRAM = "program.py"
"""What a block is called in errors and traces. Its lines are counted from its own first."""

_BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
_VARYING = re.compile(r"\b\d+(?:\.\d+)? (?:ms|s)\b|\b[0-9a-f]{32}\b")
"""Durations, and the ids of requests."""

_SHARE = re.compile(r"\b(0\.\d+)\b")
TOLERANCE = 0.05


@dataclass(frozen=True)
class Block:
    """line: of the page, where its code begins. output: what it prints, if the page says so."""

    line: int
    code: str
    output: str | None

    def run(self, names: dict[str, Any], url: str) -> str:
        """What it prints. Raises what it raises. url: of the server that stands at ADDRESS."""
        printed = io.StringIO()
        code = compile(self.code.replace(ADDRESS, url), PROGRAM, "exec", dont_inherit=True)
        with redirect_stdout(printed):
            exec(code, names)
        return printed.getvalue()


@dataclass(frozen=True)
class Page:
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(
            Block(self.text.count("\n", 0, found.start("code")) + 1, found["code"], found["output"])
            for found in _BLOCK.finditer(self.text)
        )

    @property
    def prose(self) -> str:
        """What is no program."""
        return _BLOCK.sub("", self.text)

    @property
    def code(self) -> str:
        return "\n\n".join(block.code for block in self.blocks)

    def run(self, url: str = ADDRESS) -> Iterator[tuple[Block, str]]:
        """The blocks, and what each prints."""
        names: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
        for block in self.blocks:
            yield block, block.run(names, url)

    def with_outputs(self, outputs: dict[int, str]) -> str:
        """The page's text with these, by the lines of their blocks, instead of those it has."""

        def replaced(found: re.Match[str]) -> str:
            output = outputs[self.text.count("\n", 0, found.start("code")) + 1]
            if found["output"] is None:
                return found[0]
            assert output.endswith("\n"), f"a page cannot hold an output that does not end its line: {output!r}"
            return f"```python\n{found['code']}```\n\n```text\n{output}```\n"

        return _BLOCK.sub(replaced, self.text)


def is_same_output(printed: str, expected: str) -> bool:
    """But for what varies, and for how certain a model is, which the last bits of a kernel decide too."""
    texts, shares = _split(printed)
    expected_texts, expected_shares = _split(expected)
    if texts != expected_texts:
        return False
    return all(abs(one - other) <= TOLERANCE for one, other in zip(shares, expected_shares, strict=True))


def _split(output: str) -> tuple[list[str], list[float]]:
    parts = _SHARE.split(_VARYING.sub("_", output))
    return parts[::2], list(map(float, parts[1::2]))


if __name__ == "__main__":
    page = Page(Path(sys.argv[1]))
    page.path.write_text(page.with_outputs({block.line: output for block, output in page.run()}), encoding="utf-8")
