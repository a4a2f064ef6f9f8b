"""A server of one's own: started here, used by programs over HTTP, and gone when this process is."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, NoReturn

import httpx

from sglang.lang.backends.http_api import HttpApi
from sglang.lang.backends.runtime_endpoint import RuntimeEndpoint
from sglang.lang.backends.server_process import ServerProcess
from sglang.lang.default_backend import register_if_no_default, unregister_default
from sglang.srt.errors import EngineDeadError, UnsupportedError


class Runtime:
    """Starts a server of a model and waits until it is ready. Accepted wherever a backend is; a context manager.

    Options are those of the server and the engine: ``port`` (30000; the first free one from there), ``tp_size``,
    ``enable_radix_cache`` and so on. The first Runtime becomes the default backend where none is set.

    launch_timeout: seconds. Raises what stops the server from starting: ConfigurationError for an option that is
    unknown or wrong, before a model is loaded; ModelLoadError; EngineDeadError. Its log goes to standard error.
    """

    def __init__(
        self, model_path: str, *, log_level: str = "error", launch_timeout: float = 300.0, **options: Any
    ) -> None:
        self._server = ServerProcess({"model_path": model_path, "log_level": log_level, **options})
        try:
            api_key = options.get("api_key")
            self.url = _wait_until_ready(self._server, launch_timeout)
            self._api_key = api_key
            self.endpoint = RuntimeEndpoint(self.url, api_key)
        except BaseException:
            self._server.end()
            raise
        # Also at interpreter exit. What programs use, and so keep, is the endpoint.
        self._finalizer = weakref.finalize(self.endpoint, _end, self._server, os.getpid())
        register_if_no_default(self)

    @property
    def generate_url(self) -> str:
        return f"{self.url}/generate"

    @property
    def pid(self) -> int:
        return self._server.pid

    def generate(
        self,
        prompt: str | Sequence[str],
        sampling_params: Mapping[str, Any] | None = None,
        return_logprob: bool | Sequence[bool] | None = None,
        logprob_start_len: int | Sequence[int] | None = None,
        top_logprobs_num: int | Sequence[int] | None = None,
    ) -> str:
        """The JSON text that ``POST /generate`` answers."""
        payload = {
            "text": prompt,
            "sampling_params": sampling_params,
            "return_logprob": return_logprob,
            "logprob_start_len": logprob_start_len,
            "top_logprobs_num": top_logprobs_num,
        }
        return self._api().call_blocking("POST", "/generate", payload).text

    async def async_generate(
        self, prompt: str, sampling_params: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[str, None]:
        """The text as it is generated, piece by piece. Closing it ends the request."""
        api = self._api()
        payload = {"text": prompt, "sampling_params": sampling_params, "stream": True}
        num_shown = 0
        try:
            async with aclosing(api.events("/generate", payload)) as results:
                async for result in results:
                    text = result["text"]
                    if len(text) > num_shown:
                        yield text[num_shown:]
                        num_shown = len(text)
        finally:
            await api.aclose()

    add_request = async_generate

    def cache_prefix(self, prefix: str) -> None:
        """Compute `prefix`, so that prompts that begin with it find it cached."""
        self.generate(prefix, {"max_new_tokens": 0})

    def flush_cache(self) -> None:
        """Forget every cached prefix that no running request uses."""
        self._api().call_blocking("POST", "/flush_cache")

    async def get_server_info(self) -> dict[str, Any]:
        api = self._api()
        try:
            return api.json_object(await api.call("GET", "/get_server_info"))
        finally:
            await api.aclose()

    def get_tokenizer(self) -> NoReturn:
        raise UnsupportedError(
            "Runtime.get_tokenizer is not supported: it would need transformers. POST /tokenize and /detokenize of "
            "the server do the same, and sglang.Engine(...).tokenizer in this process"
        )

    def encode(self, prompt: str | Sequence[str]) -> NoReturn:
        raise UnsupportedError("Runtime.encode is not supported: embedding models are not there yet")

    def shutdown(self) -> None:
        """End the server. Harmless when called twice.

        Requests still running fail: with BackendError, or EngineDeadError where the server could still say so.
        """
        unregister_default(self)
        self._finalizer()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()

    def _api(self) -> HttpApi:
        """For one call, from whatever event loop."""
        return HttpApi(self.url, self._api_key)


def _wait_until_ready(server: ServerProcess, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    url = server.wait_for_url(deadline)
    with httpx.Client(base_url=url, trust_env=False, timeout=1.0) as client:  # it accepts, and answers when it is up
        while time.monotonic() < deadline:
            server.check_running()
            try:
                if client.get("/health").is_success:
                    return url
            except httpx.TransportError:
                continue
    raise EngineDeadError(f"the server was not ready after {seconds:g} s; its log is on standard error")


def _end(server: ServerProcess, owner: int) -> None:
    if os.getpid() == owner:  # a forked child of the owner is not to end it
        server.end()
