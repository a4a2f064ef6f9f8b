"""The engine on a local Hugging Face folder: sharded safetensors, tokenizer.json, generation_config, chat template."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import sglang as sgl
from tests.helpers.tiny_models import load_reference, make_tiny_llama

END = "<end>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_tiny_llama(tmp_path_factory.mktemp("tiny"), vocab_size=320, max_shard_size="40KB")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    tokenizer.save(str(path / "tokenizer.json"))
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": END, "chat_template": template}))
    (path / "generation_config.json").write_text(json.dumps({"do_sample": False, "eos_token_id": [256, 7]}))
    return path


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[sgl.Engine]:
    with sgl.Engine(model_path=str(folder)) as running:
        yield running


def reference_continuation(folder: Path, ids: list[int], count: int) -> list[int]:
    model, context = load_reference(folder), list(ids)
    with torch.inference_mode():
        for _ in range(count):
            context.append(int(model(torch.tensor([context])).logits[0, -1].argmax()))
    return context[len(ids) :]


def test_it_is_sharded(folder: Path) -> None:
    assert len(list(folder.glob("*.safetensors"))) > 1


def test_greedy_text_is_that_of_transformers(engine: sgl.Engine, folder: Path) -> None:
    """No temperature is given: generation_config says not to sample."""
    ids = engine.tokenizer.encode("Hello, wörld")
    result = engine.generate("Hello, wörld", {"max_new_tokens": 30, "ignore_eos": True})
    assert result["output_ids"] == reference_continuation(folder, ids, 30)
    assert result["text"] == engine.tokenizer.decode(result["output_ids"])


def test_every_end_token_of_the_generation_config_ends(engine: sgl.Engine) -> None:
    for token in (256, 7):
        result = engine.generate("x", {"max_new_tokens": 5, "logit_bias": {str(token): 100.0}})
        assert result["meta_info"]["finish_reason"] == {"type": "stop", "matched": token}
        assert result["text"] == ""


def test_ids_past_the_tokenizer_are_tokens_without_text(engine: sgl.Engine) -> None:
    result = engine.generate("x", {"max_new_tokens": 3, "logit_bias": {"310": 100.0}})
    assert (result["output_ids"], result["text"]) == ([310, 310, 310], "")


def test_chat_template(engine: sgl.Engine) -> None:
    ids = engine.tokenizer.apply_chat_template([{"role": "user", "content": "hi"}])
    assert engine.tokenizer.decode(ids) == "user: hi\n"
