"""Programs on any server that speaks the OpenAI API."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from sglang.lang.backends.apis.errors import unreachable
from sglang.lang.backends.apis.openai_answers import STREAMED, OpenAIAnswers, choice_text, finish_of, meta_info_of
from sglang.lang.backends.apis.openai_request import chat_options, completion_options, messages_before
from sglang.lang.backends.apis.speculation import Completion, SpeculativeCompletions
from sglang.lang.backends.base import Backend, Prompt
from sglang.lang.backends.per_loop import PerLoop
from sglang.lang.backends.scoring import LogprobRow, decide, tokens_of_choice
from sglang.lang.chat_template import ChatTemplate, get_chat_template
from sglang.lang.choices import ChoicesDecision, ChoicesSamplingMethod
from sglang.lang.ir import SamplingArguments
from sglang.lang.media import ALL_MEDIA
from sglang.srt.errors import AuthenticationError, ConfigurationError, UnsupportedError

if TYPE_CHECKING:
    import openai

COMPLETION_MODELS = ("gpt-3.5-turbo-instruct", "babbage-002", "davinci-002")
REASONING_MODELS = re.compile(r"(o\d|gpt-5)")


class OpenAI(OpenAIAnswers):
    """`model_name` as the server calls it. Further arguments are those of the official client (``openai.AsyncOpenAI``,
    with `is_azure` ``AsyncAzureOpenAI``), such as ``base_url`` and ``api_key``; it raises its own errors, but for a
    missing key, of which AuthenticationError says where it is looked for.

    A chat model (`is_chat_model`; by default every model but the few known others) is sent the messages of a program:
    gen must come first in an assistant role, and all text must be in roles. Another is sent the text, in which roles
    are written as `chat_template` says: a name, or a template; ``default`` is plain.
    ``token_usage`` adds up what answers cost, and what ``sgl.function(num_api_spec_tokens=...)`` saved of it.
    """

    def __init__(
        self,
        model_name: str,
        is_chat_model: bool | None = None,
        chat_template: str | ChatTemplate | None = None,
        is_azure: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        make = _client_maker(is_azure, args, kwargs)
        self._url = make().base_url  # says at once what is wrong with them
        self._clients: PerLoop[openai.AsyncOpenAI] = PerLoop(make)
        named = chat_template or "default"
        super().__init__(model_name, get_chat_template(named) if isinstance(named, str) else named)
        self.is_chat_model = model_name not in COMPLETION_MODELS if is_chat_model is None else is_chat_model
        if self.is_chat_model:
            self.media_kinds = ALL_MEDIA
        self._may_generate_nothing = True  # until the server refuses

    async def select(self, prompt: Prompt, choices: Sequence[str], method: ChoicesSamplingMethod) -> ChoicesDecision:
        """Every choice is scored as the text that continues the prompt, by the log-probabilities the server echoes."""
        if self.is_chat_model:
            raise UnsupportedError(
                f"select needs the log-probabilities of given text, which chat models such as {self.model_name} do not "
                "give; use gen with a regex, or a completion model (is_chat_model=False)"
            )
        if method.requires_unconditional_logprobs:
            raise UnsupportedError(
                f"{type(method).__name__} needs prompts of token ids, which are not to be had from this API; "
                "use token_length_normalized or greedy_token_selection"
            )
        texts = [prompt.text + choice for choice in choices]
        *scored, before = await self._echoed([*texts, prompt.text])
        rows = [tokens_of_choice(choice, row, before) for choice, row in zip(choices, scored, strict=True)]
        return decide(method, choices, rows, [[] for _ in choices], None)

    def speculating(self, num_tokens: int) -> Backend:
        if self.is_chat_model:
            raise UnsupportedError(
                "num_api_spec_tokens needs a completion model (is_chat_model=False): where an answer of the chat "
                f"model {self.model_name} is not what the program says, it cannot be asked to go on from there"
            )
        return SpeculativeCompletions(self, num_tokens)

    async def complete(self, prompt: str, sampling: SamplingArguments) -> Completion:
        """One continuation with the places of its tokens. Raises UnsupportedError if the server does not give them."""
        answer = await self._completion(prompt, msgspec.structs.replace(sampling, return_logprob=True))
        self._count(answer)
        (choice,) = answer.choices
        return Completion(
            prompt,
            choice_text(choice),
            self._token_ends(choice),
            is_ended=choice.finish_reason != "length",
            num_prompt_tokens=None if answer.usage is None else answer.usage.prompt_tokens,
            meta_info=meta_info_of(answer, finish_of(choice), None),
        )

    def in_role(self, prompt: Prompt, sampling: SamplingArguments) -> SamplingArguments:
        """With the stop strings that end the role which is open."""
        if not self.chat_template.stop or prompt.open_role is None:
            return sampling
        return sampling.with_stops(self.chat_template.stop)

    def _token_ends(self, choice: Any) -> list[int]:
        offsets = None if choice.logprobs is None else choice.logprobs.text_offset
        if offsets is None:
            raise UnsupportedError(
                f"num_api_spec_tokens needs the places of tokens (logprobs.text_offset); {self.model_name} gives none"
            )
        return [offset - offsets[0] for offset in offsets[1:]] + [len(choice_text(choice))] * bool(offsets)

    async def aclose(self) -> None:
        """Close the connections that the running event loop has open; they open again when needed."""
        client = self._clients.pop()
        if client is not None:
            await client.close()

    async def _chunks(self, prompt: Prompt, sampling: SamplingArguments) -> AsyncGenerator[Any, None]:
        async with await self._create(prompt, sampling, **STREAMED) as chunks:
            with self._reaching():
                async for chunk in chunks:
                    yield chunk

    async def _create(self, prompt: Prompt, sampling: SamplingArguments, **options: Any) -> Any:
        if self.is_chat_model:
            messages = messages_before(prompt, self.chat_template)
            options |= chat_options(sampling, REASONING_MODELS.match(self.model_name) is not None)
            self.token_usage.calls += 1
            completions = self._clients.get().chat.completions
            with self._reaching():
                return await completions.create(model=self.model_name, messages=messages, **options)  # type: ignore[arg-type]
        return await self._completion(prompt.text, self.in_role(prompt, sampling), **options)

    async def _completion(self, prompt: str, sampling: SamplingArguments, **options: Any) -> Any:
        options |= completion_options(sampling)
        self.token_usage.calls += 1
        with self._reaching():
            return await self._clients.get().completions.create(model=self.model_name, prompt=prompt, **options)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Where nobody answers, an error says where that is."""
        import openai

        try:
            yield
        except openai.APIConnectionError as error:
            reason = error.__cause__ or error
            raise unreachable(
                self._url, reason, "is a server running there? base_url is where, and for OpenAI's own leave it out"
            ) from error

    async def _echoed(self, texts: list[str]) -> list[list[LogprobRow]]:
        """The tokens of each text with their log-probabilities."""
        self.token_usage.calls += 1
        with self._reaching():
            answer = await self._echo(texts)
        self._count(answer)
        choices = sorted(answer.choices, key=lambda choice: choice.index)
        if any(choice.logprobs is None for choice in choices):
            raise UnsupportedError(f"select needs log-probabilities of echoed text; {self.model_name} gives none")
        return [
            [(value, token, token) for value, token, offset in _echoed_tokens(choice) if offset < len(text)]
            for choice, text in zip(choices, texts, strict=True)
        ]

    async def _echo(self, texts: list[str]) -> Any:
        """The texts and as little after them as the server will generate."""
        import openai

        create = self._clients.get().completions.create
        echo: dict[str, Any] = {"echo": True, "logprobs": 1, "temperature": 0.0}
        if self._may_generate_nothing:
            try:
                return await create(model=self.model_name, prompt=texts, max_tokens=0, **echo)
            except openai.BadRequestError:
                self._may_generate_nothing = False
        return await create(model=self.model_name, prompt=texts, max_tokens=1, **echo)


def _client_maker(is_azure: bool, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Callable[[], Any]:
    try:
        import openai
    except ImportError as error:
        raise ConfigurationError("sglang.OpenAI needs the openai package: pip install 'sglang[openai]'") from error
    client = openai.AsyncAzureOpenAI if is_azure else openai.AsyncOpenAI

    def make() -> Any:
        try:
            return client(*args, **kwargs)
        except openai.OpenAIError as error:  # by which it says that it has no key
            variable = "AZURE_OPENAI_API_KEY" if is_azure else "OPENAI_API_KEY"
            raise AuthenticationError(
                f"the OpenAI API wants a key; set {variable}, or give api_key, which may be any text for a server that "
                f"asks for none: {error}"
            ) from error

    return make


def _echoed_tokens(choice: Any) -> Iterator[tuple[float | None, str, int]]:
    """(log-probability, token, where it begins in the text)."""
    found = choice.logprobs
    return zip(found.token_logprobs, found.tokens, found.text_offset, strict=True)
