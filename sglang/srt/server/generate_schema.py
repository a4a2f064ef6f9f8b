"""What the body of ``/generate`` may hold: the names for its parser, and the JSON Schema of each for ``/docs``."""

from __future__ import annotations

from typing import Any

import msgspec

from sglang.srt.sampling_params import SamplingParams

Schema = dict[str, Any]

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_IDS = {"type": "array", "items": {"type": "integer"}}
_SEGMENTS = {"type": "array", "items": {"anyOf": [_TEXT, _IDS]}}


def _one_or_many(schema: Schema, description: str) -> Schema:
    return {"anyOf": [schema, {"type": "array", "items": schema}], "description": description}


def _sampling_params() -> Schema:
    """The fields of the class, except where more, or something else, is taken than what is kept."""
    names = {field.name for field in msgspec.structs.fields(SamplingParams)}
    fields: Schema = msgspec.json.schema_components([SamplingParams])[1][SamplingParams.__name__]["properties"]
    given = {
        "stop": {"anyOf": [_TEXT, _TEXTS]},
        "stop_regex": {"anyOf": [_TEXT, _TEXTS]},
        "regex": _TEXT,
        "ebnf": _TEXT,
        "json_schema": {"anyOf": [_TEXT, {"type": "object"}]},
        "choices": _TEXTS,
        "spaces_between_special_tokens": {"type": "boolean", "default": True},
    }
    kept = {name: fields[name] for name in names - {"constraint"}}
    return {"type": "object", "properties": {**kept, **given}, "additionalProperties": False}


SAMPLING_PARAMS = _sampling_params()

FIELDS: dict[str, Schema] = {
    "text": _one_or_many(_TEXT, "The prompt, or a list of prompts."),
    "input_ids": _one_or_many(_IDS, "Token ids instead of text."),
    "segments": _one_or_many(_SEGMENTS, "Texts and lists of token ids instead of text; ids stay as they are."),
    "sampling_params": _one_or_many(SAMPLING_PARAMS, "For all prompts, or a list of one per prompt."),
    "rid": _one_or_many(_TEXT, "Names the request, to abort it."),
    "return_logprob": _one_or_many({"type": "boolean"}, "Whether log-probabilities are wanted."),
    "logprob_start_len": _one_or_many({"type": "integer"}, "First prompt position with one; -1 for none."),
    "top_logprobs_num": _one_or_many({"type": "integer"}, "Alternatives per position."),
    "return_text_in_logprobs": {"type": "boolean", "description": "Whether log-probabilities come with the text."},
    "cache_salt": _one_or_many(_TEXT, "Shares cached prefixes only with requests that have the same."),
    "extra_key": _one_or_many(_TEXT, "As cache_salt, and together with it."),
}
"""Those of a NativeInput."""

STREAM: Schema = {"type": "boolean", "default": False, "description": "Events, each with all the text so far."}

BODY: Schema = {"type": "object", "properties": {**FIELDS, "stream": STREAM}, "additionalProperties": False}
