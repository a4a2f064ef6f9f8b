"""Where in a user's program something was said."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

_OUR_FILES = str(Path(__file__).parent.parent) + os.sep


class SourceLine(NamedTuple):
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def calling_line() -> SourceLine:
    """The innermost line outside this package that led here. Holds on to no frame."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_OUR_FILES) and frame.f_back is not None:
        frame = frame.f_back
    return SourceLine(frame.f_code.co_filename, frame.f_lineno)


def failing_line(error: BaseException) -> SourceLine | None:
    """The innermost line outside this package that an error passed through."""
    found = None
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith(_OUR_FILES):
            found = SourceLine(code.co_filename, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found
