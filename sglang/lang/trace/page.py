"""A trace as a page of its own: a timeline with a lane for every fork, and the text with what the model wrote marked.

The page loads nothing, and its policy lets nothing run but its own script, whatever the texts are.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from itertools import count

from sglang.lang.trace.nodes import TraceNode, TraceNodes, Usage
from sglang.lang.trace.style import SCRIPT, STYLE
from sglang.lang.trace.tree import details, duration, summary

Lane = tuple[str, int, Sequence[TraceNode]]
"""What it is called, how deep it lies, and its nodes."""

NUM_TICKS = 5

_FORK = '<details open><summary>fork {}</summary><div class="flow">'


def page(trace: TraceNodes) -> str:
    return _Page(trace).html()


class _Page:
    """A node has the same number wherever it is shown."""

    def __init__(self, trace: TraceNodes) -> None:
        self._trace = trace
        numbers = count()
        self._numbers = {id(node): next(numbers) for node in trace.walk()}
        self._seconds = max(trace.duration, 1e-9)

    def html(self) -> str:
        digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
        return "".join(
            [
                '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
                '<meta name="viewport" content="width=device-width"><title>Trace of a program</title>',
                f"<style>{STYLE}</style></head><body>",
                f"<header><h1>Trace of a program</h1><p>{escape(summary(self._trace))}</p>",
                _legend(self._trace.usage),
                '</header><main><section class="timeline" aria-label="Timeline">',
                self._axis(),
                *map(self._lane, _lanes(self._trace.nodes, "main", 0)),
                '</section><section class="text" aria-label="Text">',
                self._flow(self._trace.nodes),
                '</section></main><aside id="panel" aria-live="polite"><p>Point at a bar or at a text.</p></aside>',
                '<div hidden id="details">',
                *map(self._details, self._trace.walk()),
                f"</div><script>{SCRIPT}</script></body></html>\n",
            ]
        )

    def _axis(self) -> str:
        ticks = (index / NUM_TICKS for index in range(NUM_TICKS + 1))
        labels = (f'<i style="left:{share:.0%}">{duration(share * self._seconds)}</i>' for share in ticks)
        return f'<div class="lane axis"><span></span><div class="track">{"".join(labels)}</div></div>'

    def _lane(self, lane: Lane) -> str:
        name, depth, nodes = lane
        bars = "".join(self._bar(node) for node in nodes if node.began is not None and node.is_request)
        label = f'<span style="padding-left:{depth}em">{escape(name)}</span>'
        return f'<div class="lane">{label}<div class="track">{bars}</div></div>'

    def _bar(self, node: TraceNode) -> str:
        began = node.began or 0.0
        ended = self._seconds if node.ended is None else node.ended
        place = f"left:{began / self._seconds:.3%};width:{(ended - began) / self._seconds:.3%}"
        parts = "".join(f'<b class="{name}" style="flex-grow:{share:.4f}"></b>' for name, share in _shares(node))
        what = escape(" · ".join([node.title, *details(node)]))
        marks = f'data-node="{self._number(node)}" aria-label="{what}"'
        name = f"<span>{escape(node.name or '')}</span>"
        return f'<button class="bar {node.kind} {node.status}" {marks} style="{place}">{parts}{name}</button>'

    def _flow(self, nodes: Sequence[TraceNode]) -> str:
        """With the forks inside, from left to right: what is to come waits on a stack."""
        written: list[str] = []
        waiting: list[TraceNode | str] = ["</div>", *reversed(nodes), '<div class="flow">']
        while waiting:
            part = waiting.pop()
            if isinstance(part, str):
                written.append(part)
            elif not part.branches:
                written.append(self._piece(part))
            else:
                waiting.append("</div>")
                for index, branch in reversed(list(enumerate(part.branches))):
                    waiting += ["</div></details>", *reversed(branch), _FORK.format(index)]
                waiting.append(f'<div class="forks"><em {self._marks(part)}>{escape(part.title)}</em>')
        return "".join(written)

    def _piece(self, node: TraceNode) -> str:
        text = escape(node.text)
        if node.status == "failed":
            text += f"<strong>{escape(node.title)} failed</strong>"
        elif not node.text:
            text = f"<small>{escape(node.title)}</small>"
        return f"<span {self._marks(node)}>{text}</span>"

    def _marks(self, node: TraceNode) -> str:
        return f'class="{node.kind} {node.status}" tabindex="0" data-node="{self._number(node)}"'

    def _details(self, node: TraceNode) -> str:
        rows = [
            ("variable", node.name),
            ("line", f"{node.file}:{node.line}"),
            ("status", node.status),
            ("time", None if node.began is None else f"begins at {duration(node.began)}"),
            ("", " · ".join(details(node))),
            ("constraint", node.constraint),
            ("choices", "\n".join(node.choices)),
            ("samples", "\n---\n".join(node.samples)),
            ("error", node.error),
            ("text", node.text),
        ]
        listed = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows if value)
        return f'<div data-detail="{self._number(node)}"><h2>{escape(node.title)}</h2><dl>{listed}</dl></div>'

    def _number(self, node: TraceNode) -> int:
        return self._numbers[id(node)]


def _lanes(nodes: Sequence[TraceNode], name: str, depth: int) -> Iterator[Lane]:
    """The state's own, and after it those of its forks, in the order in which they were made."""
    waiting = [(name, depth, nodes)]
    while waiting:
        lane = waiting.pop()
        yield lane
        _, depth, nodes = lane
        forks = [(f"fork {at}", depth + 1, branch) for node in nodes for at, branch in enumerate(node.branches)]
        waiting.extend(reversed(forks))


def _parts(usage: Usage) -> Iterator[tuple[str, int]]:
    """How many tokens of each kind. Nothing where the backend counts none."""
    cached = usage.cached or 0
    yield from (
        (name, size)
        for name, size in (("cached", cached), ("computed", (usage.prompt or 0) - cached), ("new", usage.new or 0))
        if size > 0
    )


def _shares(node: TraceNode) -> Iterator[tuple[str, float]]:
    """How a bar is divided: at the first token, where it is known when that came, and otherwise as its tokens are."""
    first, whole = node.time_to_first_token, node.duration
    sizes = dict(_parts(node.usage))
    num_new = sizes.pop("new", 0)
    num_prompt = sum(sizes.values())
    before = first / whole if first is not None and whole else num_prompt / max(num_prompt + num_new, 1)
    yield from ((name, before * size / num_prompt) for name, size in sizes.items())
    if num_new:
        yield "new", 1 - before


def _legend(usage: Usage) -> str:
    names = {"cached": "from the cache", "computed": "computed", "new": "generated"}
    parts = list(_parts(usage))
    bar = "".join(f'<b class="{name}" style="flex-grow:{size}"></b>' for name, size in parts)
    keys = "".join(f'<li><b class="{name}"></b>{size:,} tokens {names[name]}</li>' for name, size in parts)
    return f'<div class="whole">{bar}</div><ul class="legend">{keys}</ul>'
