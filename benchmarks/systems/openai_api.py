"""Servers that speak OpenAI's completions API: any that runs already, known by its address."""

from __future__ import annotations

from typing import Any

import httpx

from benchmarks.systems.base import Answer, BenchmarkError, Request
from benchmarks.systems.http_endpoint import HttpEndpoint
from benchmarks.thin_http import Reply


class OpenAiEndpoint(HttpEndpoint):
    """Puts requests to ``/v1/completions``. ``model``: as the server calls it.

    Beside what the API has, servers are asked for two things that many know: to go on after the end of a text
    (``ignore_eos``), and for the ids of new tokens (``return_token_ids``). Who cannot do the first gives answers that
    are too short, which is an error.
    """

    path = "/v1/completions"
    model = ""
    returns_token_ids = True

    def body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": list(request.prompt),
            "max_tokens": request.new_tokens,
            "temperature": 0.0,
            "stream": stream,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        elif self.returns_token_ids:
            body["return_token_ids"] = True
        if request.json_schema is None:
            return {**body, "ignore_eos": True}
        named = {"name": "answer", "schema": request.json_schema, "strict": True}
        return {**body, "response_format": {"type": "json_schema", "json_schema": named}}

    def answer(self, result: dict[str, Any]) -> Answer:
        token_ids = result["choices"][0].get("token_ids")
        if token_ids is None:
            raise BenchmarkError(f"{self.name} returns no ids of new tokens (return_token_ids), which are needed here")
        details = result["usage"].get("prompt_tokens_details") or {}
        return Answer(token_ids, details.get("cached_tokens"))

    def first_token_at(self, reply: Reply, request: Request) -> float:
        """Also makes sure that all tokens came: some servers do not know how to go on after the end of a text."""
        first = super().first_token_at(reply, request)
        usages = [event["usage"] for event in reply.events if event.get("usage")]
        if not usages:
            raise BenchmarkError(f"{self.name} does not say how many tokens it streamed (stream_options.include_usage)")
        count = usages[-1]["completion_tokens"]
        if count != request.new_tokens:
            raise BenchmarkError(f"{self.name} streamed {count} tokens, not {request.new_tokens}")
        return first


class RunningServer(OpenAiEndpoint):
    """Somebody else's server at an address. It is not stopped, and not held still while others are measured."""

    def start(self) -> None:
        """Finds out what it calls its model, and whether it can return token ids. Raises BenchmarkError."""
        try:
            with httpx.Client(base_url=self.url, timeout=self.request_seconds) as client:
                models = client.get("/v1/models")
                self.model = model_name(models.raise_for_status())
                self.returns_token_ids = True
                asked = client.post(self.path, json=self.body(Request([1, 2, 3], 1), stream=False))
        except (httpx.HTTPError, ValueError) as error:
            raise BenchmarkError(f"{self.name} at {self.url} cannot be asked: {error}") from error
        self.returns_token_ids = asked.is_success

    def stop(self) -> None:
        pass

    def process_ids(self) -> list[int]:
        return []


def model_name(models: httpx.Response) -> str:
    """Of the first one. Raises ValueError if it is no answer to ``/v1/models``."""
    try:
        return str(models.json()["data"][0]["id"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"/v1/models names no model: {models.text[:200]!r}") from error
