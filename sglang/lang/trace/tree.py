"""A trace as a tree in the terminal."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from sglang.lang.trace.nodes import TraceNode, TraceNodes, Usage

PLAIN_WIDTH = 1_000_000
"""More than any line has, so that none is cut: what is worth knowing of a request stands at its end."""

SHOWN_CHARACTERS = 60

_STYLES = {"gen": "green", "select": "green", "fork": "cyan", "join": "cyan", "prefix": "magenta"}


def tree(trace: TraceNodes) -> Tree:
    root = Tree(Text(summary(trace), style="bold"))
    waiting = [(root, trace.nodes)]
    for parent, nodes in waiting:
        for node in nodes:
            item = parent.add(_line(node))
            if node.error is not None:
                item.add(Text(node.error, style="red"))
            forks = (item.add(Text(f"fork {index}", style="cyan")) for index in range(len(node.branches)))
            waiting.extend(zip(forks, node.branches, strict=True))
    return root


def plain_text(trace: TraceNodes) -> str:
    out = io.StringIO()
    Console(file=out, width=PLAIN_WIDTH, color_system=None, force_terminal=False).print(tree(trace), soft_wrap=True)
    return out.getvalue().rstrip("\n")


def summary(trace: TraceNodes) -> str:
    """In one line."""
    parts = [_plural(len(trace.requests), "request"), *_counts(trace.usage), duration(trace.duration)]
    return " · ".join(parts)


def duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def details(node: TraceNode) -> list[str]:
    """What is known of it beside its text, in a few words each."""
    found = _counts(node.usage)
    if node.time_to_first_token is not None:
        found.append(f"first token after {duration(node.time_to_first_token)}")
    if node.duration is not None and node.is_request:
        found.append(duration(node.duration))
    if node.at_limit is not None:
        found.append(f"{node.at_limit} at its limit")
    if node.constraint is not None:
        found.append(_shortened(node.constraint))
    if node.status in ("waiting", "running"):
        found.append("not begun" if node.status == "waiting" else "running")
    return found


def _counts(usage: Usage) -> list[str]:
    counts = []
    if usage.prompt is not None:
        cached = "" if usage.cached is None else f" ({usage.cached} cached)"
        counts.append(f"{_plural(usage.prompt, 'prompt token')}{cached}")
    if usage.new is not None:
        forced = f" ({usage.forced} forced)" if usage.forced else ""
        counts.append(f"{usage.new} new{forced}")
    return counts


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _line(node: TraceNode) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(node.title, style="red" if node.status == "failed" else _STYLES.get(node.kind, ""))
    if node.text:
        line.append(f"  {_shortened(node.text)!r}", style="dim")
    for detail in details(node):
        line.append(f" · {detail}")
    line.append(f"  {node.file.rpartition('/')[2]}:{node.line}", style="dim")
    return line


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
