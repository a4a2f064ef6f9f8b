"""``POST /v1/chat/completions``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sglang.srt.server.openai.answer import Answer, finish_type, matched_stop, new_id
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.fields import parse
from sglang.srt.server.openai.messages import chat_prompt
from sglang.srt.server.openai.progress import Progress, ScoredToken
from sglang.srt.server.openai.requests import ChatCompletionRequest
from sglang.srt.server.openai.responses import (
    ChatChoice,
    ChatChunkChoice,
    ChatLogprobs,
    Delta,
    TokenLogprob,
    TopLogprob,
)
from sglang.srt.server.openai.sampling import sampling_params
from sglang.srt.server.openai.token_text import token_bytes, token_text
from sglang.srt.server.wire import read_object
from sglang.srt.tokenizer.call import GenerateCall, namespace
from sglang.srt.tokenizer.completion import Completion
from sglang.srt.tokenizer.manager import TokenizerManager
from sglang.srt.vocab import Vocab


async def create_chat_completion(http: Request, manager: TokenizerManager, model: str) -> Response:
    """The answer to a conversation. Raises SglangError."""
    request = parse(ChatCompletionRequest, _without_idle_tools(await read_object(http)))
    if request.top_logprobs and not request.logprobs:
        raise FieldError(f"top_logprobs={request.top_logprobs} needs logprobs=true", "top_logprobs")
    answer_id = new_id(request, "chatcmpl")
    call = GenerateCall(
        prompt=await chat_prompt(request, manager),
        sampling_params=sampling_params(request, _max_tokens(request)),
        rid=answer_id,
        return_logprob=request.logprobs,
        top_logprobs_num=request.top_logprobs or 0,
        namespace=namespace(request.cache_salt or "", request.extra_key or ""),
    )
    shape = ChatShape(manager.tokenizer.vocab, request)
    return await Answer(answer_id, model, request, [call]).respond(http, manager, shape)


class ChatShape:
    """One request's."""

    object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, vocab: Vocab, request: ChatCompletionRequest) -> None:
        limit = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
        self.own_names = {"max_new_tokens": limit, "top_logprobs_num": "top_logprobs"}
        self._vocab = vocab
        self._progress: dict[int, Progress] = {}

    def choice(self, completion: Completion) -> ChatChoice:
        piece = Progress(completion, self._vocab).advance()
        assert piece is not None
        return {
            "index": completion.index,
            "message": {"role": "assistant", "content": piece.text, "refusal": None},
            "logprobs": self._logprobs(completion, piece.tokens),
            "finish_reason": finish_type(completion),
            "matched_stop": matched_stop(completion),
        }

    def chunks(self, completion: Completion) -> Iterator[ChatChunkChoice]:
        """A role first, then content as it comes, and an end without content."""
        if completion.index not in self._progress:
            self._progress[completion.index] = Progress(completion, self._vocab)
            yield self._chunk(completion, {"role": "assistant", "content": ""})
        finish = finish_type(completion)
        piece = self._progress[completion.index].advance()
        if piece is not None and (piece.text or piece.tokens):
            logprobs = self._logprobs(completion, piece.tokens)
            yield {**self._chunk(completion, {"content": piece.text}), "logprobs": logprobs}
        if finish is not None:
            yield {**self._chunk(completion, {}), "finish_reason": finish, "matched_stop": matched_stop(completion)}

    def _chunk(self, completion: Completion, delta: Delta) -> ChatChunkChoice:
        return {
            "index": completion.index,
            "delta": delta,
            "logprobs": None,
            "finish_reason": None,
            "matched_stop": None,
        }

    def _logprobs(self, completion: Completion, tokens: Sequence[ScoredToken]) -> ChatLogprobs | None:
        if not completion.request.return_logprob:
            return None
        return {"content": [self._token(token) for token in tokens], "refusal": None}

    def _token(self, token: ScoredToken) -> TokenLogprob:
        assert token.logprob is not None, "only the first token of a prompt has none"
        alternatives = [self._alternative(token_id, logprob) for logprob, token_id in token.top]
        return {**self._alternative(token.token_id, token.logprob), "top_logprobs": alternatives}

    def _alternative(self, token_id: int, logprob: float) -> TopLogprob:
        data = list(token_bytes(self._vocab, token_id))
        return {"token": token_text(self._vocab, token_id), "logprob": logprob, "bytes": data}


def _without_idle_tools(body: dict[str, Any]) -> dict[str, Any]:
    """Tools that may not be called change nothing."""
    if body.get("tool_choice") != "none":
        return body
    return {name: value for name, value in body.items() if name != "tools"}


def _max_tokens(request: ChatCompletionRequest) -> int | None:
    limits = {request.max_tokens, request.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise FieldError("max_tokens and max_completion_tokens are two names of one limit; give one", "max_tokens")
    return limits.pop() if limits else None
