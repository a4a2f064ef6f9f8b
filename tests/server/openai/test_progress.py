"""Which tokens go with which text, in a stream and beside an echoed prompt."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from sglang.srt.messages import FinishReason, GenerateRequest, RequestOutput, TokenLogprob
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.server.openai.answer import UsageCount
from sglang.srt.server.openai.progress import Progress, TokenOffsets
from sglang.srt.server.openai.token_text import token_text
from sglang.srt.tokenizer.completion import Completion
from sglang.srt.vocab import Vocab

EOS = 256
VOCAB = Vocab(token_bytes=[*(bytes([byte]) for byte in range(256)), b"<end>"], special_ids=[EOS], eos_ids=[EOS])
STOPPED = FinishReason(type="stop", matched=EOS)


def new_completion() -> Completion:
    ids = np.array([1], dtype=np.int32).tobytes()
    request = GenerateRequest(
        rid="a", input_ids=ids, max_new_tokens=99, params=SamplingParams(), seed=0, return_logprob=True
    )
    return Completion(request, 0, None)


def output(ids: Sequence[int], text: bytes, finish: FinishReason | None = None) -> RequestOutput:
    entries = [TokenLogprob(-1.0, token_id) for token_id in ids]
    return RequestOutput("a", list(ids), text, finish, output_logprobs=entries)


def test_tokens_of_a_character_come_with_it() -> None:
    completion = new_completion()
    progress = Progress(completion, VOCAB)
    smile = "😀".encode()
    for byte in smile[:3]:
        completion.update(output([byte], bytes([byte])))
        assert progress.advance() is None
    completion.update(output([smile[3]], smile[3:]))
    piece = progress.advance()
    assert piece is not None
    assert (piece.text, [token.token_id for token in piece.tokens]) == ("😀", list(smile))
    assert [token.offset for token in piece.tokens] == [0, 0, 0, 0]


def test_the_first_bytes_of_a_character_do_not_leave_with_the_text_before_it() -> None:
    """As when a slow reader gets several tokens at once."""
    completion = new_completion()
    progress = Progress(completion, VOCAB)
    half, rest = "é".encode()
    completion.update(output([97, half], bytes([97, half])))
    piece = progress.advance()
    assert piece is not None and [token.token_id for token in piece.tokens] == [97]
    completion.update(output([rest, 98], bytes([rest, 98])))
    piece = progress.advance()
    assert piece is not None and piece.text == "éb"
    assert [(token.token_id, token.offset) for token in piece.tokens] == [(half, 1), (rest, 1), (98, 2)]


def test_tokens_wait_for_text_that_is_held_back() -> None:
    completion = new_completion()
    progress = Progress(completion, VOCAB, start=10)
    completion.update(output(b"ab", b"a"))  # b may begin a stop string
    piece = progress.advance()
    assert piece is not None and [token.token_id for token in piece.tokens] == [ord("a")]
    completion.update(output(b"c", b""))
    assert progress.advance() is None
    completion.update(output(b"d", b"bcd"))
    piece = progress.advance()
    assert piece is not None and piece.text == "bcd"
    assert [(token.token_id, token.offset) for token in piece.tokens] == [(98, 11), (99, 12), (100, 13)]


def test_the_end_brings_the_tokens_that_are_not_shown() -> None:
    completion = new_completion()
    progress = Progress(completion, VOCAB)
    completion.update(output([97, 98, 99, EOS], b"a", STOPPED))
    piece = progress.advance()
    assert piece is not None and piece.text == "a"
    assert [(token.token_id, token.offset) for token in piece.tokens] == [(97, 0), (98, 1), (99, 1), (EOS, 1)]


@pytest.mark.parametrize("seed", range(20))
def test_every_token_comes_once_and_in_order_however_the_bytes_arrive(seed: int) -> None:
    rng = random.Random(seed)
    ids = [rng.choice([*b"ab", *"é😀".encode(), 0xFF, EOS]) for _ in range(40)]
    data = [VOCAB.visible_bytes(token_id, True) for token_id in ids]
    completion = new_completion()
    progress = Progress(completion, VOCAB)
    text, tokens, num_sent = "", [], 0
    for count in range(1, len(ids) + 1):
        is_last = count == len(ids)
        released = len(b"".join(data[:count])) if is_last else rng.randint(num_sent, len(b"".join(data[:count])))
        piece_of_data = b"".join(data)[num_sent:released]
        num_sent = released
        completion.update(output(ids[count - 1 : count], piece_of_data, STOPPED if is_last else None))
        piece = progress.advance()
        if piece is not None:
            text += piece.text
            tokens += piece.tokens
    assert text == b"".join(data).decode(errors="replace") == completion.text
    assert [token.token_id for token in tokens] == ids
    offsets = [token.offset for token in tokens]
    assert offsets == sorted(offsets) and offsets[-1] <= len(text)


def test_offsets_count_characters_and_leave_hidden_tokens_out() -> None:
    offsets = TokenOffsets(VOCAB, skip_special_tokens=True, start=5)
    assert [offsets.push(token_id) for token_id in [97, EOS, *"é".encode(), 98]] == [5, 6, 6, 6, 7]
    assert offsets.end == 8


def test_a_part_of_a_character_is_written_as_its_bytes() -> None:
    assert token_text(VOCAB, 0xE2) == "bytes:\\xe2"
    assert token_text(VOCAB, EOS) == "<end>"
    assert token_text(VOCAB, VOCAB.size) == ""


def test_usage_grows_with_the_sequences() -> None:
    """Against counting all of them anew."""
    draw = random.Random(1)
    ids = [np.zeros(length, dtype=np.int32).tobytes() for length in (3, 5)]
    completions = [
        Completion(
            GenerateRequest(rid=str(i), input_ids=ids[i % 2], max_new_tokens=99, params=SamplingParams(), seed=0),
            i,
            None,
        )
        for i in range(6)
    ]
    usage = UsageCount(num_prompts=2)
    seen: dict[int, Completion] = {}
    cached = [draw.randrange(3) for _ in completions]
    for _ in range(40):
        one = draw.choice(completions)
        tokens = [7] * draw.randrange(3)
        one.update(RequestOutput(one.request.rid, tokens, b"", cached_tokens=cached[one.index]))
        usage.add(one)
        seen[one.index] = one
        prompts = {i % 2 for i in seen}
        found = [min(cached[i] for i in seen if i % 2 == prompt) for prompt in prompts]
        num_prompt, num_completion = (
            sum((3, 5)[prompt] for prompt in prompts),
            sum(len(c.token_ids) for c in seen.values()),
        )
        assert usage.so_far == {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_completion,
            "total_tokens": num_prompt + num_completion,
            "prompt_tokens_details": {"cached_tokens": sum(found)},
        }
