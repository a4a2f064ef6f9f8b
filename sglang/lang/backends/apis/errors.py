"""What client libraries of other APIs raise, as errors of the project's own tree."""

from __future__ import annotations

from sglang.srt.errors import AuthenticationError, BackendError, InvalidRequestError, SglangError

_BY_STATUS: dict[int, type[SglangError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: InvalidRequestError,
    413: InvalidRequestError,
    422: InvalidRequestError,
}


def refused(api: str, status: int, message: str, request_id: str | None = None) -> SglangError:
    """Of an answer with this status."""
    error = _BY_STATUS.get(status, BackendError)(f"{api} answered {status}: {message}")
    error.request_id = request_id
    return error


def unreachable(where: object, reason: object, what_to_do: str) -> BackendError:
    return BackendError(f"{where} cannot be reached, or ended the connection: {reason}; {what_to_do}")
