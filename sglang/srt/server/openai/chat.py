"""``POST /v1/chat/completions``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from starlette.requests import Request
from starlette.responses import Response

from sglang.srt.formats.answer_parser import AnswerEvent, AnswerParser, ParsedAnswer
from sglang.srt.formats.reasoning import Thought
from sglang.srt.formats.tool_parser import CallArguments, CallName, Content
from sglang.srt.server.openai.answer import Answer, ending, new_id
from sglang.srt.server.openai.answer_plan import AnswerPlan
from sglang.srt.server.openai.call_id import new_call_id
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.fields import parse
from sglang.srt.server.openai.formats import ModelFormats
from sglang.srt.server.openai.messages import chat_prompt
from sglang.srt.server.openai.progress import Progress, ScoredToken
from sglang.srt.server.openai.requests import ChatCompletionRequest
from sglang.srt.server.openai.responses import (
    ChatChoice,
    ChatChunkChoice,
    ChatLogprobs,
    ChatMessage,
    Delta,
    PromptIds,
    TokenIds,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from sglang.srt.server.openai.sampling import sampling_params
from sglang.srt.server.openai.token_text import token_bytes, token_text
from sglang.srt.server.openai.tools import tool_use
from sglang.srt.server.wire import read_object
from sglang.srt.tokenizer.call import GenerateCall, namespace
from sglang.srt.tokenizer.completion import Completion
from sglang.srt.tokenizer.manager import TokenizerManager
from sglang.srt.vocab import Vocab


async def create_chat_completion(
    http: Request, manager: TokenizerManager, model: str, formats: ModelFormats
) -> Response:
    """The answer to a conversation. Raises SglangError."""
    request = parse(ChatCompletionRequest, await read_object(http))
    if request.top_logprobs and not request.logprobs:
        raise FieldError(f"top_logprobs={request.top_logprobs} needs logprobs=true", "top_logprobs")
    answer_id = new_id(request, "chatcmpl")
    use = tool_use(request)
    prompt = chat_prompt(manager.tokenizer.chat_template, request, use, formats)
    plan = AnswerPlan(request, use, formats, prompt)
    params, frame = plan.constrained(sampling_params(request, _max_tokens(request)))
    if use is not None and plan.needs_schemas:
        await use.check_schemas()
    (input_ids,) = await manager.encode([prompt], add_special_tokens=False)
    call = GenerateCall(
        prompt=input_ids,
        sampling_params=params,
        rid=answer_id,
        return_logprob=request.logprobs,
        top_logprobs_num=request.top_logprobs or 0,
        namespace=namespace(request.cache_salt or "", request.extra_key or ""),
        frame=frame,
    )
    shape = ChatShape(manager.tokenizer.vocab, request, plan)
    return await Answer(answer_id, model, request, [call]).respond(http, manager, shape)


class _Stream:
    """What is told of one sequence. tokens: those that no event has been told with."""

    def __init__(self, progress: Progress, parser: AnswerParser) -> None:
        self.parser = parser
        self.tokens: list[ScoredToken] = []
        self.progress = progress

    def advance(self, is_finished: bool) -> list[AnswerEvent]:
        piece = self.progress.advance()
        events: list[AnswerEvent] = []
        if piece is not None:
            self.tokens += piece.tokens
            events = self.parser.feed(piece.text)
        return events + self.parser.finish() if is_finished else events

    def take_tokens(self) -> list[ScoredToken]:
        taken, self.tokens = self.tokens, []
        return taken


class ChatShape:
    """One request's."""

    object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, vocab: Vocab, request: ChatCompletionRequest, plan: AnswerPlan) -> None:
        limit = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
        self.own_names = {"max_new_tokens": limit, "top_logprobs_num": "top_logprobs"}
        if request.ebnf is None:
            self.own_names["ebnf"] = plan.blamed
        self._vocab = vocab
        self._plan = plan
        self._returns_token_ids = request.return_token_ids
        self._streams: dict[int, _Stream] = {}

    def prompt(self, completion: Completion) -> PromptIds:
        return {"prompt_token_ids": completion.request.prompt_token_ids} if self._returns_token_ids else {}

    def choice(self, completion: Completion) -> ChatChoice:
        progress = Progress(completion, self._vocab)
        piece = progress.advance()
        assert piece is not None
        parser = self._plan.parser()
        answer = ParsedAnswer.of([*parser.feed(piece.text), *parser.finish()])
        return {
            "index": completion.index,
            "message": self._message(answer),
            "logprobs": self._logprobs(completion, piece.tokens),
            **self._token_ids(progress),
            **ending(completion, parser.has_calls),
        }

    def _token_ids(self, progress: Progress) -> TokenIds:
        return {"token_ids": progress.take_token_ids()} if self._returns_token_ids else {}

    def _message(self, answer: ParsedAnswer) -> ChatMessage:
        content = answer.content or (None if answer.calls else "")
        message: ChatMessage = {"role": "assistant", "content": content, "refusal": None}
        if self._plan.tells_reasoning:
            message["reasoning_content"] = answer.reasoning or None
        if answer.calls:
            message["tool_calls"] = [
                {
                    "id": new_call_id(self._plan.call_id_length),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in answer.calls
            ]
        return message

    def chunks(self, completion: Completion) -> Iterator[ChatChunkChoice]:
        """A role first, then what it says as it comes, and an end without content.

        Tokens are told of with the first of what became of them, or of what comes after them.
        """
        if completion.index not in self._streams:
            self._streams[completion.index] = _Stream(Progress(completion, self._vocab), self._plan.parser())
            yield self._chunk(completion, {"role": "assistant", "content": ""})
        stream = self._streams[completion.index]
        is_finished = ending(completion)["finish_reason"] is not None
        events = stream.advance(is_finished)
        for delta in map(self._delta, events):
            logprobs = self._logprobs(completion, stream.take_tokens())
            yield {**self._chunk(completion, delta), "logprobs": logprobs, **self._token_ids(stream.progress)}
        if not is_finished:
            return
        if stream.tokens:
            logprobs = self._logprobs(completion, stream.take_tokens())
            yield {**self._chunk(completion, {"content": ""}), "logprobs": logprobs}
        end = ending(completion, stream.parser.has_calls)
        yield {**self._chunk(completion, {}), **self._token_ids(stream.progress), **end}

    def _delta(self, event: AnswerEvent) -> Delta:
        match event:
            case Thought(text):
                return {"reasoning_content": text}
            case Content(text):
                return {"content": text}
            case CallArguments(index, text):
                return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
            case CallName(index, name):
                call: ToolCallDelta = {
                    "index": index,
                    "id": new_call_id(self._plan.call_id_length),
                    "type": "function",
                    "function": {"name": name, "arguments": ""},
                }
                return {"tool_calls": [call]}

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


def _max_tokens(request: ChatCompletionRequest) -> int | None:
    limits = {request.max_tokens, request.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise FieldError("max_tokens and max_completion_tokens are two names of one limit; give one", "max_tokens")
    return limits.pop() if limits else None
