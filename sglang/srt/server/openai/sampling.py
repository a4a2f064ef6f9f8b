"""The sampling parameters of a request, under the names that the engine gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sglang.srt.errors import InvalidRequestError
from sglang.srt.sampling_params import CONSTRAINTS, WHITESPACE
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.requests import GenerationRequest

SAME_NAME = (
    *CONSTRAINTS,
    WHITESPACE,
    "n",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "logprobs_mode",
    "stop",
    "stop_token_ids",
    "stop_regex",
    "no_stop_trim",
    "ignore_eos",
    "skip_special_tokens",
)
RENAMED = {"min_tokens": "min_new_tokens", "seed": "sampling_seed"}
REQUEST_NAMES = {engine: own for own, engine in RENAMED.items()}
NUM_SEEDS = 2**63
JSON_OBJECT = {"type": "object"}
FIELD_TYPES = {
    "schema": "json_object",
    "json_schema": "json_schema",
    **dict.fromkeys(("format", "structures", "triggers"), "structural_tag"),
}
"""The type of a ``response_format`` that each of its other fields belongs to."""

_PLACE_OF_SCHEMA = "; with type json_schema put the schema in response_format.json_schema.schema"


def sampling_params(request: GenerationRequest, max_tokens: int | None) -> dict[str, Any]:
    """``sampling_params`` of a GenerateCall. Raises FieldError if ``response_format`` is not the only constraint."""
    given = request.model_fields_set
    params = {name: getattr(request, name) for name in SAME_NAME if name in given}
    params |= {engine: getattr(request, own) for own, engine in RENAMED.items() if own in given}
    if request.seed is not None:
        params["sampling_seed"] %= NUM_SEEDS  # OpenAI's may be negative
    params["max_new_tokens"] = max_tokens
    demanded = _response_constraint(request)
    for name in CONSTRAINTS if demanded else ():
        if params.get(name, "") != "":
            raise FieldError(f"only one of response_format and {name} can be set", name)
    return {**params, **demanded}


def in_request_names(
    error: InvalidRequestError, request: GenerationRequest, own_names: Mapping[str, str]
) -> InvalidRequestError:
    """The engine's refusal in the words of an API, with the field that it begins with as what is to blame.

    own_names: the API's words for the engine's, beside those of RENAMED.
    """
    own = {**own_names, **REQUEST_NAMES}
    message = re.sub(rf"\b({'|'.join(own)})\b", lambda name: _own_name(name, own), str(error))
    field = message.partition(" ")[0].partition("=")[0]
    is_field = field in type(request).model_fields
    named = FieldError(message, field) if is_field else InvalidRequestError(message)
    named.code, named.request_id = error.code, error.request_id
    return named


def _own_name(found: re.Match[str], own: Mapping[str, str]) -> str:
    """Of a constraint only where the message speaks of it; elsewhere it is mentioned as one that there might be."""
    return found[0] if found[0] in CONSTRAINTS and found.start() else own[found[0]]


def _response_constraint(request: GenerationRequest) -> dict[str, Any]:
    """The constraint that ``response_format`` demands, if any, under its name."""
    wanted = request.response_format
    if wanted is None:
        return {}
    fields = {name.rstrip("_"): getattr(wanted, name) for name in type(wanted).model_fields if name != "type"}
    given = {name: value for name, value in fields.items() if value is not None}
    for name in given:
        if FIELD_TYPES[name] != wanted.type:
            hint = _PLACE_OF_SCHEMA if (name, wanted.type) == ("schema", "json_schema") else ""
            raise FieldError(f"response_format.{name} is of type {FIELD_TYPES[name]}{hint}", "response_format")
    if wanted.type == "text":
        return {}
    if wanted.type == "structural_tag":
        return {"structural_tag": given}
    if wanted.type == "json_object":
        return {"json_schema": given.get("schema", JSON_OBJECT)}
    if wanted.json_schema is None or wanted.json_schema.schema_ is None:
        raise FieldError("response_format of type json_schema needs json_schema.schema", "response_format")
    return {"json_schema": wanted.json_schema.schema_}
