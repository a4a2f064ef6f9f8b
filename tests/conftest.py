"""Fixtures shared by the whole suite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import sglang as sgl
from tests.helpers.runtime import Server, assert_baseline

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def default_model_path() -> Path:
    """The default model's file, fetched into the cache on first use."""
    from sglang.srt.model.source import resolve_model

    return resolve_model("smollm2")


@pytest.fixture(scope="session")
def engine(default_model_path: Path) -> Iterator[sgl.Engine]:
    """The default model. One thread: more of them wait for each other when a test machine is busy."""
    with sgl.Engine(model_path=str(default_model_path), num_threads=1) as running:
        yield running
        assert_baseline(running)


SERVER_CONTEXT = 64


@pytest.fixture(scope="session")
def server(default_model_path: Path) -> Iterator[Server]:
    """The default model with a context of SERVER_CONTEXT tokens."""
    options = ("--num-threads", "1", "--context-length", str(SERVER_CONTEXT))
    with Server("--model-path", str(default_model_path), *options) as running:
        yield running
        assert "Traceback" not in running.log, running.log


@pytest.fixture(scope="session")
def server_url(server: Server) -> str:
    return server.url


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a random model that starts in a second and computes a token in a millisecond, with room for a
    hundred thousand. Its tokens are the 256 bytes, and one special token.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from tests.helpers.tiny_models import make_tiny_llama

    folder = make_tiny_llama(tmp_path_factory.mktemp("tiny"), vocab_size=257, max_position_embeddings=100_000)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>", "chat_template": template}))
    return str(folder)


@pytest.fixture(scope="session")
def tiny_engine(tiny_model: str) -> Iterator[sgl.Engine]:
    with sgl.Engine(model_path=tiny_model, num_threads=1) as running:
        yield running
        assert_baseline(running)
