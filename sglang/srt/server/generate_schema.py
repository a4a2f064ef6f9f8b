"""What the body of ``/generate`` may hold: the names for its parser, and the JSON Schema of each for ``/docs``."""

from __future__ import annotations

from typing import Any

import msgspec

from sglang.srt.sampling_params import SamplingParams
from sglang.srt.server.body import Neutral

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
        "whitespace_pattern": _TEXT,
        "choices": _TEXTS,
        "structural_tag": {"anyOf": [_TEXT, {"type": "object"}]},
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

NOT_HERE: Neutral = {
    "audio_data": (),
    "background": (False,),
    "bootstrap_host": (),
    "bootstrap_pair_key": (),
    "bootstrap_port": (),
    "bootstrap_room": (),
    "conversation_id": (),
    "custom_labels": (),
    "custom_logit_processor": (),
    "data_parallel_rank": (),
    "decode_tp_size": (),
    "disagg_prefill_dp_rank": (),
    "image_data": (),
    "image_max_dynamic_patch": (),
    "images_config": (),
    "input_embeds": (),
    "log_metrics": (True,),
    "lora_id": (),
    "lora_path": (),
    "max_dynamic_patch": (),
    "max_thinking_tokens": (),
    "min_dynamic_patch": (),
    "mm_content_hashes": (),
    "mm_hashes": (),
    "modalities": (),
    "no_logs": (True, False),
    "priority": (),
    "require_reasoning": (False,),
    "return_bytes": (False,),
    "return_entropy": (False,),
    "return_flat_raw_top_logprobs": (False,),
    "return_flat_raw_top_logprobs_b64": (False,),
    "return_hidden_states": (False,),
    "return_indexer_topk": (False,),
    "return_prompt_token_ids": (False,),
    "return_routed_experts": (False,),
    "return_sampling_mask": (False,),
    "routed_dp_rank": (),
    "routed_experts_start_len": (0,),
    "routing_key": (),
    "session_id": (),
    "session_params": (),
    "token_ids_logprob": (),
    "use_audio_in_video": (False,),
    "video_data": (),
    "video_max_dynamic_patch": (),
}

STREAM: Schema = {"type": "boolean", "default": False, "description": "Events, each with all the text so far."}

BODY: Schema = {"type": "object", "properties": {**FIELDS, "stream": STREAM}, "additionalProperties": False}
