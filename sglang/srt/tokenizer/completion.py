"""What has come back for one sequence so far, and the shape in which the native API shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from sglang.srt.messages import CandidateLogprobs, FinishReason, GenerateRequest, RequestOutput, TokenLogprob
from sglang.srt.tokenizer.detokenizer import IncrementalDecoder
from sglang.srt.tokenizer.seams import generated_segments
from sglang.srt.vocab import Vocab

Decode = Callable[[list[int]], str]
Row = tuple[float | None, int, str | None]


class Completion:
    """``index`` is the place of the sequence in its call. Grows with every output until ``finish_reason`` is set.

    ``vocab`` is given where the caller continues the text later, and wants the pieces that stand for it then.
    """

    def __init__(
        self, request: GenerateRequest, index: int, decode_for_logprobs: Decode | None, vocab: Vocab | None = None
    ) -> None:
        self.request = request
        self.index = index
        self.text = ""
        self.token_ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.cached_tokens = 0
        self.num_retractions = 0
        self.forced_tokens = 0
        self.first_token_latency: float | None = None
        self.candidate_logprobs: list[CandidateLogprobs] = []
        self.input_logprobs = LogprobRows(decode_for_logprobs)
        self.output_logprobs = LogprobRows(decode_for_logprobs)
        self.e2e_latency: float | None = None
        self.started = time.perf_counter()
        self._decoder = IncrementalDecoder()
        self._num_text_bytes = 0
        self._vocab = vocab

    def update(self, output: RequestOutput) -> None:
        self.text += self._decoder.push(output.text, final=output.finish is not None)
        self._num_text_bytes += len(output.text)
        self.token_ids += output.token_ids
        self.cached_tokens = output.cached_tokens
        self.num_retractions = output.num_retractions
        self.forced_tokens = output.forced_tokens
        self.first_token_latency = output.first_token_latency
        self.input_logprobs.extend(output.input_logprobs or ())
        self.output_logprobs.extend(output.output_logprobs or ())
        self.candidate_logprobs.extend(output.candidate_logprobs or ())
        if output.finish is not None:
            self.finish_reason = output.finish
            self.e2e_latency = time.perf_counter() - self.started

    def to_native(self) -> dict[str, Any]:
        """``{"text", "output_ids", "meta_info"}`` as published for ``/generate`` and ``Engine.generate``.

        After a prompt of segments the final result has ``segments`` too: those to go on with after this text.
        """
        result: dict[str, Any] = {
            "text": self.text,
            "output_ids": list(self.token_ids),
            "meta_info": self._meta_info(),
        }
        if self._vocab is not None and self.finish_reason is not None:
            skip = self.request.params.skip_special_tokens
            result["segments"] = generated_segments(self.token_ids, self._num_text_bytes, self._vocab, skip)
        return result

    def _meta_info(self) -> dict[str, Any]:
        request = self.request
        meta: dict[str, Any] = {
            "id": request.rid,
            "finish_reason": None if self.finish_reason is None else msgspec.to_builtins(self.finish_reason),
            "prompt_tokens": request.num_prompt_tokens,
            "completion_tokens": len(self.token_ids),
            "cached_tokens": self.cached_tokens,
            "forced_tokens": self.forced_tokens,
            "num_retractions": self.num_retractions,
            "sampling_seed": request.seed,
            "weight_version": "default",
        }
        if self.first_token_latency is not None:
            meta["first_token_latency"] = self.first_token_latency
        if self.e2e_latency is not None:
            meta["e2e_latency"] = self.e2e_latency
        if request.return_logprob:
            meta["output_token_logprobs"] = list(self.output_logprobs.tokens)
            meta["output_token_logprobs_length"] = len(self.output_logprobs.tokens)
            meta["input_token_logprobs"] = list(self.input_logprobs.tokens)
            if request.top_logprobs_num:
                meta["output_top_logprobs"] = list(self.output_logprobs.tops)
                meta["input_top_logprobs"] = list(self.input_logprobs.tops)
        return meta


class LogprobRows:
    """Log-probabilities in the published shape, (logprob, token id, text or None), made once as they arrive."""

    def __init__(self, decode: Decode | None) -> None:
        self.tokens: list[Row] = []
        self.tops: list[list[Row] | None] = []
        self._decode = decode

    def extend(self, entries: Iterable[TokenLogprob]) -> None:
        for entry in entries:
            self.tokens.append(self._row(entry.logprob, entry.token_id))
            top = None if entry.top is None else [self._row(logprob, token_id) for logprob, token_id in entry.top]
            self.tops.append(top)

    def _row(self, logprob: float | None, token_id: int) -> Row:
        return logprob, token_id, self._decode([token_id]) if self._decode else None
