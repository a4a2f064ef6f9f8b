"""Servers for the OpenAI API, and its official client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.helpers.runtime import SECONDS, Server


def client_of(server: Server, api_key: str = "any") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=api_key, max_retries=0, timeout=SECONDS)


def async_client_of(server: Server) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, timeout=SECONDS)


@pytest.fixture(scope="session")
def real_server(default_model_path: Path) -> Iterator[Server]:
    """The default model with room for a short conversation."""
    with Server("--model-path", str(default_model_path), "--num-threads", "1", "--context-length", "512") as running:
        yield running
        assert "Traceback" not in running.log, running.log


@pytest.fixture(scope="session")
def tiny_server(tiny_model: str) -> Iterator[Server]:
    """A random model whose tokens are bytes. It computes one request at a time, so that one that is not ended blocks
    all that follow for minutes.
    """
    with Server("--model-path", tiny_model, "--num-threads", "1", "--max-running-requests", "1") as running:
        yield running
        assert "Traceback" not in running.log, running.log


@pytest.fixture(scope="session")
def real(real_server: Server) -> Iterator[openai.OpenAI]:
    with client_of(real_server) as client:
        yield client


@pytest.fixture(scope="session")
def tiny(tiny_server: Server) -> Iterator[openai.OpenAI]:
    with client_of(tiny_server) as client:
        yield client


@pytest.fixture(scope="session")
def real_http(real_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=real_server.url, timeout=SECONDS) as client:
        yield client


@pytest.fixture(scope="session")
def tiny_http(tiny_server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=tiny_server.url, timeout=SECONDS) as client:
        yield client
