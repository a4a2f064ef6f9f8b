"""What clients get, as the OpenAI API has it; ``matched_stop`` is SGLang's: the stop string or token id that came."""

from __future__ import annotations

from typing import Literal

from typing_extensions import NotRequired, TypedDict

FinishType = Literal["stop", "length"]


class CachedTokens(TypedDict):
    cached_tokens: int


class Usage(TypedDict):
    """A prompt counts once, however many samples there are of it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class Choice(TypedDict):
    """Of an answer or a chunk of it; each API adds its own text and log-probabilities."""

    index: int
    finish_reason: FinishType | None
    matched_stop: int | str | None


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


class ChatMessage(TypedDict):
    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(Choice):
    message: ChatMessage
    logprobs: ChatLogprobs | None


class ChatCompletion(Envelope):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage


class Delta(TypedDict):
    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]


class ChatChunkChoice(Choice):
    delta: Delta
    logprobs: ChatLogprobs | None


class ChatCompletionChunk(Envelope):
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


class CompletionChoice(Choice):
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
