"""What is recorded of a program, and how it is shown."""

from __future__ import annotations

import inspect
import io
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

from rich.console import Console

import sglang as sgl
from sglang.lang.execution.interpreter import _VISITORS
from sglang.lang.execution.steps import Fill, Fork, Read, Reasoning
from sglang.lang.ir import Variable
from sglang.lang.trace.trace import _TITLES
from tests.lang.conftest import UseMock

EVIL = "</span><script>alert('x')</script><img src=x onerror=alert(1)> & \"quoted\""


@sgl.function
def review(s: sgl.ProgramState, topic: str) -> None:
    s += sgl.user("About " + topic)
    s += "Say:" + sgl.gen("a", max_tokens=3)
    forks = s.fork(2)
    for fork in forks:
        fork += " more" + sgl.gen("b", regex="x+", temperature=0)
    forks.join()
    with s.var_scope("part"):
        s += Variable("a") + sgl.select("c", ["yes", "no"])
    s += sgl.select("only", ["one"]) + sgl.gen("d", n=2)


FIRST_LINE = inspect.getsourcelines(review.func)[1]


def answered(use_mock: UseMock) -> sgl.ProgramState:
    use_mock({"Say:": " it is so", " more": "xx"})
    return review.run(EVIL)


def test_the_tree_is_what_ran(use_mock: UseMock) -> None:
    state = answered(use_mock)
    trace = state.trace()
    assert [node.title for node in trace.nodes] == [
        "user begins", "text", "user ends", "text", "gen a", "compute the prefix", "fork of 2", "scope part begins",
        "variable a", "select c", "scope part ends", "select only", "gen d",
    ]  # fmt: skip
    assert "".join(node.text for node in trace.nodes) == state.text()
    fork = next(node for node in trace.nodes if node.kind == "fork")
    assert [[node.title for node in branch] for branch in fork.branches] == [["text", "gen b"]] * 2
    assert {node.status for node in trace.walk()} == {"done"}
    assert Counter(node.kind for node in trace.requests) == {"gen": 4, "prefix": 1, "select": 1}
    for node in trace.walk():
        assert node.file == __file__
        assert node.queued <= (node.began or 0.0) <= (node.ended or 0.0) <= trace.duration


def test_a_node_has_what_its_backend_said(use_mock: UseMock) -> None:
    state = answered(use_mock)
    nodes = {node.name: node for node in state.trace().walk() if node.name and node.kind in ("gen", "select")}
    a, b, c, d = (nodes[name] for name in "abcd")
    assert (a.text, a.line, a.constraint) == (" it is so", FIRST_LINE + 3, None)
    assert (b.text, b.constraint) == ("xx", "regex x+")
    assert (c.text, c.choices) == (state["c"], ("yes", "no"))
    assert d.samples == tuple(state["d"])
    meta_info, of_d = state.get_meta_info("a"), state.get_meta_info("d")
    assert (a.usage.prompt, a.usage.cached, a.usage.new) == (meta_info["prompt_tokens"], 0, 3)
    assert (d.usage.prompt, d.usage.new) == (of_d[0]["prompt_tokens"], sum(one["completion_tokens"] for one in of_d))
    usage = state.trace().usage
    assert usage.new == sum(node.usage.new or 0 for node in state.trace().walk())
    assert usage.forced is None


def test_a_fork_has_a_trace_of_its_own(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> list[str]:
        forks = s.fork(2)
        forks += sgl.gen("a")
        s += forks.join("concate_and_append")
        return [node.title for node in forks[1].trace().nodes]

    state = program.run()
    assert state.ret_value == ["gen a"]
    fork, *joined = state.trace().nodes[-3:]
    assert [node.text for node in joined] == [branch[0].text for branch in fork.branches]


def test_failed_running_and_waiting_nodes(use_mock: UseMock) -> None:
    mock = use_mock(errors={1: RuntimeError("down")})

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("a")
        s.sync()
        mock.hold()
        fork = s.fork(1)[0]
        mock.wants_prefix_first = False
        s += sgl.gen("b") + sgl.gen("c")
        assert s.error() is not None
        fork += sgl.gen("d") + " then"
        while mock.num_open == 0:
            pass
        found = {node.title: node.status for node in s.trace().walk()}
        assert found == {
            "text": "waiting", "gen a": "done", "fork of 1": "done",
            "gen d": "running", "gen b": "failed", "gen c": "waiting",
        }  # fmt: skip
        (failed,) = [node for node in s.trace().walk() if node.error]
        assert "RuntimeError: down" in str(failed.error)
        assert "gen c · not begun" in str(s.trace())
        assert str(failed.error) in str(s.trace())
        s.trace().to_html()
        mock.release()

    program.run()


def test_a_stream_says_when_the_first_token_came(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("a")

    for stream in (False, True):
        state = program.run(stream=stream)
        text = state.text()
        node = state.trace().nodes[-1]
        assert (node.time_to_first_token is not None) is stream
        assert "Q:" + node.text == text


def test_an_async_program_is_recorded_too(mock: sgl.Mock) -> None:
    @sgl.function
    async def program(s: sgl.ProgramState) -> None:
        forks = s.fork(2)
        forks += "Q:" + sgl.gen("a")
        await forks.ajoin()

    trace = program.run().trace()
    fork = trace.nodes[-1]
    assert [node.kind for node in trace.requests] == ["gen", "gen"]  # no prefix is computed where there is none
    assert [[node.status for node in branch] for branch in fork.branches] == [["done", "done"]] * 2


def test_what_the_engine_counts(tiny_engine: sgl.Engine) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "An unusual beginning. " + sgl.gen("a", max_tokens=4, ignore_eos=True)
        s += "." + sgl.gen("b", regex="ab[0-9]{3}")

    tiny_engine.flush_cache()
    state = program.run(backend=tiny_engine)
    first, second = state.trace().requests
    assert (first.usage.prompt, first.usage.cached, first.usage.new) == (22, 0, 4)
    assert second.usage.prompt == 27
    assert (second.usage.cached or 0) >= 25
    assert (second.usage.new, second.usage.forced, second.constraint) == (5, 2, "regex ab[0-9]{3}")
    assert (first.at_limit, second.at_limit) == ("cut off", None)
    assert 0.0 < (first.time_to_first_token or 0.0) < (first.duration or 0.0)
    assert (first.duration or 0.0) > 0.0


def test_the_terminal_shows_every_node(use_mock: UseMock) -> None:
    trace = answered(use_mock).trace()
    lines = str(trace).splitlines()
    assert lines[0].startswith("6 requests · ")
    assert len(lines) == 1 + sum(1 + len(node.branches) for node in trace.walk())
    assert any("gen b" in line and "regex x+" in line and f"test_trace.py:{FIRST_LINE + 6}" in line for line in lines)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(trace)
    assert [line.rstrip() for line in console.export_text().splitlines()] == lines


def test_no_line_is_cut(use_mock: UseMock) -> None:
    use_mock({"Say:": "x" * 70})

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Say:" + sgl.gen("a_name_that_says_much_" * 3, regex="x{70}|" + "y" * 60)

    line = str(program.run().trace()).splitlines()[-1]
    assert len(line) > 200
    assert "regex x{70}|yyy" in line
    assert line.endswith(f"test_trace.py:{program.func.__code__.co_firstlineno + 2}")


class Page(HTMLParser):
    """Fails where an element is closed that is not the one that is open."""

    VOID = ("meta", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: Counter[str] = Counter()
        self.numbers: Counter[int] = Counter()
        self.texts: list[str] = []
        self.policy = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements[tag] += 1
        assert not [name for name in given if name.startswith("on") or name in ("src", "href")]
        self.policy += (given.get("content") or "") if given.get("http-equiv") else ""
        if "data-detail" in given:
            self.numbers[int(given["data-detail"] or "")] += 1
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_whole_and_lets_nothing_in(use_mock: UseMock, tmp_path: Path) -> None:
    trace = answered(use_mock).trace()
    trace.save(tmp_path / "trace.html")
    html = (tmp_path / "trace.html").read_text()
    page = Page(html)
    assert page.elements["script"] == page.elements["style"] == 1
    assert page.elements["img"] == 0
    assert page.policy.startswith("default-src 'none'")
    assert "http" not in html.replace("http-equiv", "")
    assert page.numbers == Counter(range(len(list(trace.walk()))))
    shown = "".join(page.texts)
    assert all(node.text in shown for node in trace.walk())
    assert EVIL in shown


def test_text_that_no_file_can_hold(use_mock: UseMock, tmp_path: Path) -> None:
    use_mock({"Say:": " \ud800 \x1b[31m\x00"})

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "[bold]Say:" + sgl.gen("a")

    trace = program.run().trace()
    trace.save(tmp_path / "trace.html")
    assert "\\ud800" in (tmp_path / "trace.html").read_text()
    assert "[bold]Say:" in str(trace)
    assert "\x1b" not in str(trace)


def test_a_program_that_did_nothing(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None: ...

    trace = program.run().trace()
    assert (trace.nodes, trace.duration, trace.usage.prompt) == ((), 0.0, None)
    assert str(trace) == "0 requests · 0.0 ms"
    Page(trace.to_html())


def test_every_kind_of_node_has_a_title() -> None:
    assert set(_VISITORS) - {Fill, Read, Reasoning} | {Fork} == set(_TITLES)


def test_forks_in_forks_to_any_depth() -> None:
    depth = sys.getrecursionlimit()

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        innermost = s
        for _ in range(depth):
            innermost = innermost.fork()[0]
        innermost += sgl.gen("x")
        innermost.sync()

    trace = program.run(backend=sgl.Mock()).trace()
    kinds = [node.kind for node in trace.walk()]
    assert kinds == ["fork"] * depth + ["gen"]
    assert trace.to_html().count("<summary>fork 0</summary>") == depth
    tree = trace.__rich__()
    while tree.children:
        (tree,) = tree.children
    assert str(tree.label).startswith("gen x")


def test_what_is_deep_inside_is_printed_too() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        innermost = s
        for _ in range(50):
            innermost = innermost.fork()[0]
        innermost += sgl.gen("deepest")
        innermost.sync()

    assert "gen deepest" in str(program.run(backend=sgl.Mock()).trace())
