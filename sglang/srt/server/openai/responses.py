"""What clients get, as the OpenAI API has it. SGLang's are ``matched_stop``, the stop string or token id that came, and
``closed``; ``token_ids`` and ``prompt_token_ids`` are vLLM's.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import NotRequired, TypedDict

FinishType = Literal["stop", "length", "tool_calls"]


class CachedTokens(TypedDict):
    cached_tokens: int


class Usage(TypedDict):
    """A prompt counts once, however many samples there are of it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class Ending(TypedDict):
    """``closed`` is there if an answer with a constraint ran out of tokens: whether it satisfies the constraint."""

    finish_reason: FinishType | None
    matched_stop: int | str | None
    closed: NotRequired[bool]


class PromptIds(TypedDict):
    """There if the request asks for ids."""

    prompt_token_ids: NotRequired[list[int]]


class TokenIds(TypedDict):
    """There if the request asks for ids: of all tokens, in a chunk of those that are new. One that ended it counts."""

    token_ids: NotRequired[list[int]]


class ChosenIds(TokenIds, PromptIds):
    """Of a prompt only in the first chunk of a choice."""


class Choice(Ending, TokenIds):
    """Of an answer or a chunk of it; each API adds its own text and log-probabilities."""

    index: int


class Envelope(TypedDict):
    id: str
    created: int
    model: str
    system_fingerprint: str


# --- chat ------------------------------------------------------------------------------------------------------------


class TopLogprob(TypedDict):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(TypedDict):
    content: list[TokenLogprob]
    refusal: None


class CalledFunction(TypedDict):
    """``arguments`` is JSON text."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    id: str
    type: Literal["function"]
    function: CalledFunction


class ChatMessage(TypedDict):
    """``content`` is null where there are only calls. ``reasoning_content`` is there if the server tells it apart."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: NotRequired[str | None]
    tool_calls: NotRequired[list[ToolCall]]


class ChatChoice(Choice):
    message: ChatMessage
    logprobs: ChatLogprobs | None


class ChatCompletion(Envelope, PromptIds):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage


class FunctionDelta(TypedDict):
    name: NotRequired[str]
    arguments: str


class ToolCallDelta(TypedDict):
    """The first one of an ``index`` has all but arguments, the others have more of these."""

    index: int
    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: FunctionDelta


class Delta(TypedDict):
    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCallDelta]]


class ChatChunkChoice(Choice):
    delta: Delta
    logprobs: ChatLogprobs | None


class ChatCompletionChunk(Envelope, PromptIds):
    """Only the first one of a stream has ids of the prompt."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]
    usage: NotRequired[Usage | None]


# --- completions -----------------------------------------------------------------------------------------------------


class CompletionLogprobs(TypedDict):
    """A column each. The first token of an echoed prompt has no log-probability."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(Choice, ChosenIds):
    text: str
    logprobs: CompletionLogprobs | None


class TextCompletion(Envelope):
    """Also a chunk of one."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]
    usage: NotRequired[Usage | None]


# --- models and errors -----------------------------------------------------------------------------------------------


class ModelCard(TypedDict):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: None
    max_model_len: int


class ModelList(TypedDict):
    object: Literal["list"]
    data: list[ModelCard]


class Error(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    error: Error
