"""Programs on any API that LiteLLM knows, through that library."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from sglang.lang.backends.apis.errors import refused, unreachable
from sglang.lang.backends.apis.openai_answers import STREAMED, OpenAIAnswers
from sglang.lang.backends.apis.openai_request import EXTENSIONS, chat_options, messages_before
from sglang.lang.backends.apis.sampling_options import asked_for, refuse_others
from sglang.lang.backends.base import Prompt
from sglang.lang.chat_template import ChatTemplate, get_chat_template, get_chat_template_by_model_path
from sglang.lang.ir import SamplingArguments
from sglang.lang.media import ALL_MEDIA
from sglang.srt.errors import ConfigurationError

if TYPE_CHECKING:
    import openai

OPENAI_LIKE = ("openai", "custom_openai", "openai_like", "hosted_vllm")
"""Providers whose servers get the parameters that LiteLLM does not know as they are."""


class LiteLLM(OpenAIAnswers):
    """`model_name` as LiteLLM calls it, such as ``anthropic/claude-...``; of a server that speaks the OpenAI API
    ``openai/NAME``, with its `base_url`. timeout: in seconds. max_retries: None is what ``litellm.num_retries`` says.

    It is sent the messages of a program: gen must come first in an assistant role, and all text must be in roles.
    `chat_template`, a name or a template, is how roles stand in the text of a state. What LiteLLM or the provider does
    not support is refused by name, constraints too. ``token_usage`` adds up what answers cost.
    Raises ConfigurationError without the package, or for a model of which it does not know the provider.
    """

    media_kinds = ALL_MEDIA

    def __init__(
        self,
        model_name: str,
        chat_template: str | ChatTemplate | None = None,
        api_key: str | None = None,
        organization: str | None = None,
        base_url: str | None = None,
        timeout: float | None = 600,
        max_retries: int | None = None,
        default_headers: Mapping[str, str] | None = None,
    ) -> None:
        self._provider = _provider(model_name, base_url)
        self._place = self._provider if base_url is None else base_url
        if chat_template is None:
            chat_template = get_chat_template_by_model_path(model_name)
        elif isinstance(chat_template, str):
            chat_template = get_chat_template(chat_template)
        super().__init__(model_name, chat_template)
        options = {
            "api_key": api_key,
            "organization": organization,
            "base_url": base_url,
            "timeout": timeout,
            "max_retries": max_retries,
            "extra_headers": None if default_headers is None else dict(default_headers),
        }
        self._options = {name: value for name, value in options.items() if value is not None}

    async def _chunks(self, prompt: Prompt, sampling: SamplingArguments) -> AsyncGenerator[Any, None]:
        with self._reporting():
            async with aclosing(await self._create(prompt, sampling, **STREAMED)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _create(self, prompt: Prompt, sampling: SamplingArguments, **options: Any) -> Any:
        import litellm

        request = {**self._request(prompt, sampling), **self._options, **options}
        self.token_usage.calls += 1
        with self._reporting():
            return await litellm.acompletion(model=self.model_name, **request)

    def _request(self, prompt: Prompt, sampling: SamplingArguments) -> dict[str, Any]:
        messages = messages_before(prompt, self.chat_template)
        request = {"messages": messages, **chat_options(sampling, counts_reasoning=False), "drop_params": False}
        extensions = request.pop("extra_body")
        if self._provider in OPENAI_LIKE:
            return {**request, "extra_body": extensions}
        not_passed = [name for name in EXTENSIONS if name != "top_k"]
        refuse_others(asked_for(sampling), set(SamplingArguments.__struct_fields__).difference(not_passed), "LiteLLM")
        return {**request, **extensions}

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """What the library raises, as errors of our own. Its classes are those of the OpenAI client."""
        import openai

        try:
            yield
        except openai.APIConnectionError as error:
            raise unreachable(self._place, _first_line(error), "base_url says where the API is") from error
        except openai.APIStatusError as error:
            request_id = getattr(error, "request_id", None)  # the library's own classes have none
            raise refused(self._place, error.status_code, _first_line(error), request_id) from error


def _first_line(error: openai.APIError) -> str:
    """Without the traceback that the library puts into some messages."""
    return error.message.partition("\n")[0]


def _provider(model_name: str, base_url: str | None) -> str:
    try:
        import litellm
    except ImportError as error:
        raise ConfigurationError("sglang.LiteLLM needs the litellm package: pip install 'sglang[litellm]'") from error
    try:
        return str(litellm.get_llm_provider(model_name, api_base=base_url)[1])
    except litellm.exceptions.BadRequestError as error:
        raise ConfigurationError(
            f"LiteLLM does not know whose model {model_name!r} is: write PROVIDER/{model_name}, for a server that "
            f"speaks the OpenAI API openai/{model_name}"
        ) from error
