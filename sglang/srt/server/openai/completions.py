"""``POST /v1/completions``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response

from sglang.srt.server.openai.answer import Answer, ending, new_id
from sglang.srt.server.openai.echo import echoed_prompt
from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.fields import parse
from sglang.srt.server.openai.progress import Piece, Progress, ScoredToken
from sglang.srt.server.openai.requests import CompletionRequest, TokenIds
from sglang.srt.server.openai.responses import ChosenIds, CompletionChoice, CompletionLogprobs, PromptIds
from sglang.srt.server.openai.sampling import sampling_params
from sglang.srt.server.openai.token_text import token_text
from sglang.srt.server.wire import read_object
from sglang.srt.tokenizer.call import GenerateCall, namespace
from sglang.srt.tokenizer.completion import Completion
from sglang.srt.tokenizer.manager import TokenizerManager
from sglang.srt.tokenizer.tokenizer import Tokenizer


async def create_completion(http: Request, manager: TokenizerManager, model: str) -> Response:
    """Continues one prompt or many. Raises SglangError."""
    request = parse(CompletionRequest, await read_object(http))
    if request.best_of not in (None, request.n):
        raise FieldError(f"best_of must be the same as n={request.n}, not {request.best_of}", "best_of")
    answer_id = new_id(request, "cmpl")
    prompts = _prompts(request)
    calls = [_call(request, prompt, rid) for prompt, rid in zip(prompts, _rids(answer_id, len(prompts)), strict=True)]
    shape = CompletionShape(manager.tokenizer, request, prompts)
    return await Answer(answer_id, model, request, calls).respond(http, manager, shape)


class CompletionShape:
    """One request's."""

    object = "text_completion"
    chunk_object = "text_completion"
    own_names: Mapping[str, str] = MappingProxyType({"max_new_tokens": "max_tokens", "top_logprobs_num": "logprobs"})

    def __init__(self, tokenizer: Tokenizer, request: CompletionRequest, prompts: Sequence[str | TokenIds]) -> None:
        self._tokenizer = tokenizer
        self._request = request
        self._prompts = prompts
        self._progress: dict[int, Progress] = {}

    def prompt(self, completion: Completion) -> PromptIds:
        """Nothing, since each choice tells of its own."""
        return {}

    def choice(self, completion: Completion) -> CompletionChoice:
        (choice,) = self.chunks(completion)
        return choice

    def chunks(self, completion: Completion) -> Iterator[CompletionChoice]:
        """Text as it comes, an echoed prompt before it; the last one says why it ended."""
        is_first = completion.index not in self._progress
        echoed = self._echoed(completion) if is_first and self._request.echo else Piece("", [])
        if is_first:
            progress = Progress(completion, self._tokenizer.vocab, start=len(echoed.text))
            self._progress[completion.index] = progress
        end = ending(completion)
        piece = self._progress[completion.index].advance() or Piece("", [])
        text, tokens = echoed.text + piece.text, echoed.tokens + piece.tokens
        ids = self._token_ids(completion, is_first)
        if text or tokens or ids or end["finish_reason"] is not None:
            sample, prompt = divmod(completion.index, len(self._prompts))
            yield {
                "index": prompt * self._request.n + sample,
                "text": text,
                "logprobs": self._logprobs(tokens),
                **ids,
                **end,
            }

    def _token_ids(self, completion: Completion, is_first: bool) -> ChosenIds:
        """What is to be told of them; empty if that is nothing."""
        if not self._request.return_token_ids:
            return {}
        ids: ChosenIds = {"token_ids": self._progress[completion.index].take_token_ids()}
        return {**ids, "prompt_token_ids": completion.request.prompt_token_ids} if is_first else ids

    def _echoed(self, completion: Completion) -> Piece:
        prompt = self._prompts[completion.index % len(self._prompts)]
        return echoed_prompt(prompt, completion, self._tokenizer)

    def _logprobs(self, tokens: Sequence[ScoredToken]) -> CompletionLogprobs | None:
        if self._request.logprobs is None:
            return None
        return {
            "tokens": [token_text(self._tokenizer.vocab, token.token_id) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [self._alternatives(token) for token in tokens],
            "text_offset": [token.offset for token in tokens],
        }

    def _alternatives(self, token: ScoredToken) -> dict[str, float] | None:
        """The token itself is one of them, so there may be one more than was asked for."""
        if token.logprob is None:
            return None
        found = [*token.top, (token.logprob, token.token_id)]
        return {token_text(self._tokenizer.vocab, token_id): logprob for logprob, token_id in found}


def _prompts(request: CompletionRequest) -> list[str | TokenIds]:
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise FieldError("prompt must not be an empty list", "prompt")
    ids = [token for token in prompt if isinstance(token, int)]
    return [ids] if ids else [one for one in prompt if not isinstance(one, int)]


def _rids(answer_id: str, count: int) -> list[str]:
    return [answer_id] if count == 1 else [f"{answer_id}_{index}" for index in range(count)]


def _call(request: CompletionRequest, prompt: str | TokenIds, rid: str) -> GenerateCall:
    has_logprobs = request.logprobs is not None
    return GenerateCall(
        prompt=prompt,
        sampling_params=sampling_params(request, request.max_tokens),
        rid=rid,
        return_logprob=has_logprobs,
        logprob_start_len=0 if has_logprobs and request.echo else -1,
        top_logprobs_num=request.logprobs or 0,
        namespace=namespace(request.cache_salt or "", request.extra_key or ""),
    )
