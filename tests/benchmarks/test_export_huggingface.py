"""What is exported is the model of the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tokenizers
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import save_file

from benchmarks.export_huggingface import config_json, export, export_tokenizer, weights, write
from benchmarks.systems.base import BenchmarkError
from sglang.srt.model.config import load_config
from sglang.srt.tokenizer.tokenizer import load_tokenizer
from tests.helpers.tiny_models import load_reference, make_tiny_llama, write_gguf


@pytest.mark.parametrize("is_tied", [False, True])
def test_the_folder_has_the_weights_and_the_configuration_of_the_file(tmp_path: Path, is_tied: bool) -> None:
    path, folder = tmp_path / "model.gguf", tmp_path / "exported"
    expected = write_gguf(make_tiny_llama(tmp_path / "first", tie_word_embeddings=is_tied), path, Kind.Q8_0)
    config, folder = load_config(path), tmp_path / "exported"
    folder.mkdir()
    write(folder / "config.json", config_json(config))
    save_file(weights(path, config), folder / "model.safetensors", metadata={"format": "pt"})
    exported = load_reference(folder).state_dict()
    assert all(torch.equal(exported[name], weight.bfloat16().float()) for name, weight in expected.items())
    assert replace(load_config(folder), torch_dtype=config.torch_dtype) == config


def test_the_folder_has_the_tokenizer_of_the_file(tmp_path: Path, default_model_path: Path) -> None:
    config = load_config(default_model_path)
    export_tokenizer(default_model_path, config, tmp_path)
    exported = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "It's 12,345 naïve words\n\tand <|im_start|>more"
    assert exported.encode(text).ids == load_tokenizer(default_model_path, config.eos_token_ids).encode(text)


def test_a_folder_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="only a GGUF file"):
        export(make_tiny_llama(tmp_path / "first"), tmp_path / "second")
