"""Every error the project raises on purpose.

* SglangError
  + RequestError               one request cannot be served; nothing else is disturbed
    - InvalidRequestError      the request is wrong: says which value, and what would be right   (400)
    - RequestAbortedError      the request was cancelled before it finished                      (499)
    - RequestFailedError       the engine failed while computing the request                     (500)
  + EngineDeadError            the engine process is gone; every request in flight gets this     (503)
  + AuthenticationError        the server wants a key, and this is not it                        (401)
  + ConfigurationError         an argument of the engine or the server is wrong
  + ModelLoadError             the model cannot be found, fetched or read
  + UnsupportedError           what was asked for does not exist here; says what was asked for   (400)
  + BackendError               a server could not be reached, or answered what is no answer      (502)
  + ProgramError               a program failed; raised where a value of it is read
    - VariableNotSetError      no such variable: says which there are

Each class carries the HTTP status and the machine-readable type a server answers with.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from itertools import islice


class SglangError(Exception):
    """request_id: of the request that failed, as the runtime's log has it, where whoever raises this knows it."""

    request_id: str | None = None
    http_status: int = 500
    error_type: str = "internal_error"


class RequestError(SglangError):
    pass


class InvalidRequestError(RequestError, ValueError):
    """code: OpenAI's word for what is wrong, where clients go by one; otherwise only the message tells."""

    code: str | None = None
    http_status = 400
    error_type = "invalid_request_error"


class RequestAbortedError(RequestError):
    http_status = 499
    error_type = "request_aborted"


class RequestFailedError(RequestError, RuntimeError):
    http_status = 500
    error_type = "internal_error"


class EngineDeadError(SglangError, RuntimeError):
    http_status = 503
    error_type = "engine_dead"


class AuthenticationError(SglangError):
    http_status = 401
    error_type = "authentication_error"


class ConfigurationError(SglangError, ValueError):
    error_type = "configuration_error"


class ModelLoadError(SglangError, RuntimeError):
    error_type = "model_load_error"


class UnsupportedError(SglangError, NotImplementedError):
    http_status = 400
    error_type = "unsupported"


class BackendError(SglangError, RuntimeError):
    http_status = 502
    error_type = "backend_error"


class ProgramError(SglangError, RuntimeError):
    """Something in a program failed; the message names the line of the program, and the variable.

    file, line: where in the user's program it was said. variable: what was to be set. text: what the program's state
    held when it failed. None: there is none.
    """

    error_type = "program_error"

    def __init__(
        self,
        message: str,
        text: str = "",
        *,
        file: str | None = None,
        line: int | None = None,
        variable: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.text = text
        self.file = file
        self.line = line
        self.variable = variable
        self.request_id = request_id

    @property
    def cause(self) -> BaseException | None:
        """What went wrong."""
        return self.__cause__

    def again(self) -> ProgramError:
        """The same error, to be raised once more: each reader's has a traceback of its own."""
        places = {"file": self.file, "line": self.line, "variable": self.variable, "request_id": self.request_id}
        again = type(self)(str(self), self.text, **places)  # type: ignore[arg-type]
        again.__cause__ = self.__cause__
        return again


class VariableNotSetError(ProgramError, KeyError):
    error_type = "variable_not_set"

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return str(self.args[0])


_SHOWN_CHARACTERS = 80
_SHOWN_NAMES = 200
_bounded = reprlib.Repr()
_bounded.maxlist = _bounded.maxtuple = _bounded.maxdict = _SHOWN_CHARACTERS
_bounded.maxstring = _bounded.maxlong = _bounded.maxother = 3 * _SHOWN_CHARACTERS


def too_long(message: str) -> InvalidRequestError:
    """What does not fit into the context. Clients that shorten a conversation and try again go by the code."""
    error = InvalidRequestError(message)
    error.code = "context_length_exceeded"
    return error


def shown(value: object) -> str:
    """A value as a message shows it: its beginning, whatever a request may hold, however long or deeply nested."""
    try:
        text = _bounded.repr(value)
    except ValueError:  # an integer of more digits than Python will print
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def did_you_mean(name: object, known: Iterable[str], kind: str) -> str:
    """What to say of a name that is not known: the one that it may stand for, or those there are of that `kind`."""
    names = list(islice(known, _SHOWN_NAMES + 1))
    close = difflib.get_close_matches(str(name)[:_SHOWN_CHARACTERS], names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known {kind}: {', '.join(names[:_SHOWN_NAMES])}{', ...' if len(names) > _SHOWN_NAMES else ''}"
