"""What a program returns: values. An expression is none, but where it was appended it is the handle of what it gave."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sglang.lang import ir
from sglang.lang.execution.steps import Record
from sglang.lang.source_line import SourceLine
from sglang.srt.errors import ProgramError


def check_values(given: Any) -> None:
    """A function without a state returns no expressions: threads of its own have made them. Raises TypeError."""
    for expression in _expressions(given):
        raise TypeError(f"{expression!r} is returned, which is no value: {ir.IN_THREADS}")


def check_appended(func: Callable[..., Any], given: Any, records: Sequence[Record]) -> None:
    """Raises ProgramError if `func` returns an expression that none of its states was given. records: of its state.

    A TypedGen may be the handle of another run; whoever reads it from a state that it was not appended to is told.
    """
    for expression in _expressions(given):
        appended = [record.node for record in _all(records)]
        if any(node not in appended and not isinstance(node, ir.TypedGen) for node in ir.leaves(expression)):
            name, place = getattr(func, "__name__", repr(func)), _first_line(func)
            raise ProgramError(
                f"{name}{f' at {place}' if place else ''} returns {expression!r}, which was never appended to a state, "
                f"so the model has not been asked; append it, s += {expression!r}, and return what it gives"
                f"{_reading(expression)}",
                file=place and place.file,
                line=place and place.line,
            )


def _expressions(given: Any) -> Iterator[ir.Expr]:
    values = given.values() if isinstance(given, dict) else given if isinstance(given, (list, tuple)) else [given]
    return (value for value in values if isinstance(value, ir.Expr))


def _all(records: Sequence[Record]) -> Iterator[Record]:
    for record in records:
        yield record
        for branch in record.branches:
            yield from _all(branch)


def _reading(expression: ir.Expr) -> str:
    names = [node.name for node in ir.leaves(expression) if isinstance(node, (ir.Gen, ir.Select)) and node.name]
    return f", s[{names[-1]!r}]" if names else ""


def _first_line(func: Callable[..., Any]) -> SourceLine | None:
    code = getattr(inspect.unwrap(func), "__code__", None)
    return code and SourceLine(code.co_filename, code.co_firstlineno)
