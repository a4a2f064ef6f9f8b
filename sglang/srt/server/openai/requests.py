"""What clients may send: the fields of the OpenAI API that are served here, and those that SGLang adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from sglang.srt.errors import shown
from sglang.srt.server.body import Body, Neutral
from sglang.srt.tokenizer.call import MAX_NAME_LENGTH

TokenIds = list[int]

_FLAG = "true or false"
_NUMBER = "a number"
_INTEGER = "an integer"
_STRINGS = "a string or a list of strings"
_NAME = f"a string of up to {MAX_NAME_LENGTH} characters"
_ANY = "a value; it does not change the answer"

Name = Annotated[str | None, Field(max_length=MAX_NAME_LENGTH, description=_NAME)]


class StreamOptions(Body):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_obfuscation: Literal[False] | None = None


class JsonSchema(Body):
    """``schema`` may be written ``schema_``, as clients whose language does not allow the name do."""

    model_config = ConfigDict(populate_by_name=True)

    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | bool | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """``format``, or ``structures`` and ``triggers``, are those of a structural tag. ``schema`` is what a
    ``json_object`` has to meet.
    """

    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    schema_: dict[str, Any] | bool | None = Field(None, alias="schema")
    json_schema: JsonSchema | None = None
    format: dict[str, Any] | None = None
    structures: list[Any] | None = None
    triggers: list[Any] | None = None


class GenerationRequest(Body):
    """What both APIs take. Ranges are checked where the native API's are."""

    not_here: ClassVar[Neutral] = {
        "bootstrap_host": (),
        "bootstrap_port": (),
        "bootstrap_room": (),
        "custom_logit_processor": (),
        "custom_params": (),
        "images_config": (),
        "logits_processors": ([],),
        "lora_path": (),
        "priority": (),
        "return_cached_tokens_details": (False,),
        "return_hidden_states": (False,),
        "return_routed_experts": (False,),
        "routed_dp_rank": (),
        "session_id": (),
        "session_params": (),
    }
    instead: ClassVar[Mapping[str, str]] = {}
    """Of fields that are not here, those that took their place."""

    model: Name = None
    stream: bool = Field(False, description=_FLAG)
    stream_options: StreamOptions | None = Field(None, description="an object")
    n: int = Field(1, description=_INTEGER)
    max_tokens: int | None = Field(None, description=_INTEGER)
    temperature: float | None = Field(None, description=_NUMBER)
    top_p: float | None = Field(None, description=_NUMBER)
    frequency_penalty: float | None = Field(None, description=_NUMBER)
    presence_penalty: float | None = Field(None, description=_NUMBER)
    logit_bias: dict[str, Any] | None = Field(None, description="an object of token ids and numbers")
    seed: int | None = Field(None, description=_INTEGER)
    stop: str | list[str] | None = Field(None, description=_STRINGS)
    response_format: ResponseFormat | None = Field(None, description="an object with a type")

    top_k: int | None = Field(None, description=_INTEGER)
    min_p: float | None = Field(None, description=_NUMBER)
    min_tokens: int | None = Field(None, description=_INTEGER)
    repetition_penalty: float | None = Field(None, description=_NUMBER)
    stop_token_ids: TokenIds | None = Field(None, description="a list of token ids")
    stop_regex: str | list[str] | None = Field(None, description=_STRINGS)
    no_stop_trim: bool = Field(False, description=_FLAG)
    ignore_eos: bool = Field(False, description=_FLAG)
    return_token_ids: bool = Field(False, description=_FLAG)
    skip_special_tokens: bool = Field(True, description=_FLAG)
    regex: str | None = Field(None, description="a string")
    ebnf: str | None = Field(None, description="a string")
    choices: list[str] | None = Field(None, description="a list of strings")
    json_schema: str | dict[str, Any] | bool | None = Field(None, description="a JSON Schema, as an object or as text")
    whitespace_pattern: str | None = Field(None, description="a string")
    structural_tag: str | dict[str, Any] | None = Field(None, description="a structural tag, as an object or as text")
    logprobs_mode: str | None = Field(None, description="raw_logprobs or processed_logprobs")
    rid: Name = None
    cache_salt: Name = None
    extra_key: Name = None

    guided_decoding_backend: Any = Field(None, description=_ANY)
    user: Any = Field(None, description=_ANY)
    metadata: Any = Field(None, description=_ANY)
    store: Any = Field(None, description=_ANY)
    service_tier: Any = Field(None, description=_ANY)
    safety_identifier: Any = Field(None, description=_ANY)
    prompt_cache_key: Any = Field(None, description=_ANY)
    prompt_cache_options: Any = Field(None, description=_ANY)
    prompt_cache_retention: Any = Field(None, description=_ANY)


NOT_HERE = "not_here"


def _no_media(kind: Any) -> Any:
    if isinstance(kind, str) and kind in ("image_url", "input_audio", "audio_url", "video_url", "file"):
        raise PydanticCustomError(NOT_HERE, f"{shown(kind)} is not supported here yet: this model reads text only")
    return kind


class TextPart(Body):
    type: Annotated[Literal["text"], BeforeValidator(_no_media)]
    text: str
    cache_control: Any = None
    prompt_cache_breakpoint: Any = None


FUNCTION_NAME = r"^[A-Za-z0-9_.:/-]{1,128}$"


def _empty(value: Any) -> Any:
    if value not in (None, []):
        raise PydanticCustomError(NOT_HERE, "is not supported here yet")
    return value


Empty = Annotated[Any, AfterValidator(_empty)]


class CalledFunction(Body):
    """``arguments``: the text of a JSON object, or the object. ``parsed_arguments``: what a client has made of it."""

    name: str
    arguments: str | dict[str, Any] = ""
    parsed_arguments: Any = None


class MessageToolCall(Body):
    """``index`` is there in calls that a client puts together from a stream."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None


class Message(Body):
    """What an assistant's message holds beside its content may be sent back as it came, and with what clients add to
    it: ``parsed`` (OpenAI's) and ``provider_specific_fields`` (LiteLLM's) say again what content and calls say. Of
    thoughts the chat template shows what the model is meant to see.
    """

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[MessageToolCall] | None = None
    annotations: Empty = None
    audio: Empty = None
    function_call: Empty = None
    parsed: Any = None
    provider_specific_fields: Any = None
    reasoning_content: str | None = None
    refusal: Empty = None


class Function(Body):
    """``parameters`` is a JSON Schema of an object; without it there are none."""

    name: Annotated[str, Field(pattern=FUNCTION_NAME)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolOfRequest(Body):
    type: Literal["function"]
    function: Function


class FunctionName(Body):
    name: str


class NamedTool(Body):
    type: Literal["function"]
    function: FunctionName


class AllowedTools(Body):
    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1)


class ToolsOfChoice(Body):
    """Of the tools that the model is told of, those that it may call."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class ChatCompletionRequest(GenerationRequest):
    """``POST /v1/chat/completions``. Without ``max_tokens`` an answer may fill the context; sampling parameters not
    given are the model's own.
    """

    not_here: ClassVar[Neutral] = {
        **GenerationRequest.not_here,
        "audio": (),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "input_ids": (),
        "modalities": (["text"],),
        "moderation": (),
        "prediction": (),
        "reasoning": (),
        "return_meta_info": (False,),
        "return_prompt_token_ids": (False,),
        "return_sampling_mask": (False,),
        "task": (),
        "verbosity": ("medium",),
        "web_search_options": (),
    }
    instead: ClassVar[Mapping[str, str]] = {"functions": "tools", "function_call": "tool_choice"}

    messages: list[Message] = Field(min_length=1, description="a non-empty list of messages")
    max_completion_tokens: int | None = Field(None, description=_INTEGER)
    logprobs: bool = Field(False, description=_FLAG)
    top_logprobs: int | None = Field(None, ge=0, le=20, description="an integer from 0 to 20")
    reasoning_effort: str | None = Field(None, description="a string; the model's chat template must know it")
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="an object: variables of the chat template, which must know those that are not false or null"
    )
    continue_final_message: bool = Field(False, description=_FLAG)

    tools: list[ToolOfRequest] = Field([], description="a list of tools: objects of type function")
    tool_choice: Literal["none", "auto", "required"] | NamedTool | ToolsOfChoice = Field(
        "auto",
        description='none, auto, required for a call of any tool, {"type": "function", "function": {"name": ...}} for '
        'a call of one, or {"type": "allowed_tools", "allowed_tools": {"mode": ..., "tools": [...]}}',
    )
    parallel_tool_calls: bool = Field(True, description=_FLAG)
    separate_reasoning: bool = Field(True, description=f"{_FLAG}; true needs a server with a reasoning parser")
    stream_reasoning: bool = Field(True, description=f"{_FLAG}; true needs a server with a reasoning parser")


class CompletionRequest(GenerationRequest):
    """``POST /v1/completions``: a prompt, or many, to be continued as they are."""

    not_here: ClassVar[Neutral] = {**GenerationRequest.not_here, "suffix": ("",)}

    prompt: str | list[str] | TokenIds | list[TokenIds] = Field(
        description="a string, a list of strings, a list of token ids, or a list of such lists"
    )
    max_tokens: int | None = Field(16, description=_INTEGER)
    echo: bool = Field(False, description=_FLAG)
    logprobs: int | None = Field(None, description=_INTEGER)
    best_of: int | None = Field(None, description=f"{_INTEGER}, the same as n")
