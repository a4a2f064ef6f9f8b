"""Errors in the shape that OpenAI's clients turn into their exceptions."""

from __future__ import annotations

from sglang.srt.errors import InvalidRequestError, SglangError
from sglang.srt.server.openai.responses import ErrorBody


class FieldError(InvalidRequestError):
    """A field of the body is wrong. param: its name, with the way to it where it lies deeper."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


class ModelNotFoundError(InvalidRequestError):
    http_status = 404
    code = "model_not_found"


def error_body(error: SglangError) -> ErrorBody:
    return {
        "error": {
            "message": str(error),
            "type": error.error_type,
            "param": error.param if isinstance(error, FieldError) else None,
            "code": error.code if isinstance(error, InvalidRequestError) else None,
        }
    }
