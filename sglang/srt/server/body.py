"""The bodies of requests with few fields: a class of each says what it takes, to the parser and to ``/docs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from sglang.srt.errors import InvalidRequestError, did_you_mean, shown
from sglang.srt.server.wire import read_object


class Body(BaseModel):
    """The description of a field says what it must be, in messages as in ``/docs``."""

    model_config = ConfigDict(extra="forbid", strict=True)


B = TypeVar("B", bound=Body)


async def read_body(request: Request, kind: type[B]) -> B:
    """Raises InvalidRequestError naming the field that is unknown, missing or wrong; null means "not given"."""
    given = {name: value for name, value in (await read_object(request)).items() if value is not None}
    check_names(given, kind.model_fields)
    try:
        return kind(**given)
    except ValidationError as error:
        name = str(error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"][0])
        expected = kind.model_fields[name].description
        problem = f"must be {expected}, not {shown(given[name])}" if name in given else f"is missing: {expected}"
        raise InvalidRequestError(f"{name} {problem}") from error


Neutral = Mapping[str, tuple[object, ...]]
"""Fields of the published API that are not served here, each with the values that ask for nothing, as null does."""


def unserved_field(given: Mapping[str, Any], not_here: Neutral) -> str | None:
    """The first name of `not_here` that is `given` and asks for something."""
    for name, value in given.items():
        if name in not_here and value is not None and value not in not_here[name]:
            return name
    return None


def check_names(given: dict[str, Any], known: dict[str, Any]) -> None:
    """Raises InvalidRequestError for a name in `given` that is not `known`."""
    for name in given:
        if name not in known:
            raise InvalidRequestError(f"unknown field {shown(name)}; {did_you_mean(name, known, 'fields')}")


def documented(schema: dict[str, Any]) -> dict[str, Any]:
    """What a route adds to its OpenAPI entry so that ``/docs`` shows the body, which it parses itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
