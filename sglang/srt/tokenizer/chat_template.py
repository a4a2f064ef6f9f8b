"""A model's chat template: a conversation in, the prompt text out.

Templates come with models, from strangers, so they run in jinja2's immutable sandbox: no attribute that starts with an
underscore, no change to the values passed in. The environment has what ``transformers`` gives templates, so that a
template written for it renders to the same text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from sglang.srt.errors import InvalidRequestError, ModelLoadError

# What a template can raise over the values of one request, beside jinja2's own errors.
_VALUE_ERRORS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError)


_JOINED_ARGUMENTS = re.compile(r"[+~]\s*[\w.\[\]'\"]*\barguments['\"\]]*\s*([+~]|\}\}|-\}\})")


class ChatTemplate:
    """Renders conversations. Compiled once, immutable, safe to share between threads.

    ``tool_use_source``, where a model has one, is used instead of ``source`` for requests with tools; where it has
    none, it is ``source``.
    A source that does not compile raises ModelLoadError.
    """

    def __init__(
        self,
        source: str,
        bos_token: str | None = None,
        eos_token: str | None = None,
        tool_use_source: str | None = None,
    ) -> None:
        self.source = source
        self.tool_use_source = source if tool_use_source is None else tool_use_source
        self._template = _compile(source)
        self._tool_use_template = self._template if tool_use_source is None else _compile(tool_use_source)
        self._constants = {"bos_token": bos_token or "", "eos_token": eos_token or ""}

    @cached_property
    def knows_tools(self) -> bool:
        """Whether it shows a model the ``tools`` it is given."""
        return "tools" in jinja2.meta.find_undeclared_variables(_environment().parse(self.tool_use_source))

    @property
    def wants_argument_text(self) -> bool:
        """Whether it expects the arguments of past calls as JSON text, to be joined with other text, not as objects."""
        return _JOINED_ARGUMENTS.search(self.tool_use_source) is not None

    def render(
        self, messages: Sequence[Mapping[str, Any]], /, add_generation_prompt: bool = True, **kwargs: Any
    ) -> str:
        """The prompt for ``messages``; ``kwargs`` (``tools``, ``documents``, a model's own switches) are variables.

        ``messages`` is plain data as in the API, and is not changed. A conversation that the template refuses, or
        cannot handle, raises InvalidRequestError with the template's reason.
        """
        if reserved := {"messages", *self._constants} & kwargs.keys():
            raise InvalidRequestError(f"chat template arguments may not set {', '.join(sorted(reserved))}")
        template = self._tool_use_template if kwargs.get("tools") else self._template
        variables = {"tools": None, "documents": None, **self._constants, **kwargs}
        try:
            return template.render(messages=messages, add_generation_prompt=add_generation_prompt, **variables)
        except jinja2.TemplateError as error:
            raise InvalidRequestError(f"the model's chat template refuses these messages: {error}") from error
        except _VALUE_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
            raise InvalidRequestError(f"the model's chat template cannot render these messages: {reason}") from error


class _GenerationBlock(jinja2.ext.Extension):
    """``{% generation %}...{% endgeneration %}`` marks assistant text for training; here it renders as its body."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _compile(source: str) -> jinja2.Template:
    try:
        return _environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ModelLoadError(f"the model's chat template is not valid, line {error.lineno}: {error.message}") from error


@lru_cache(maxsize=1)
def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(time_format: str) -> str:
    return datetime.now().strftime(time_format)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike jinja2's filter, writes no HTML escapes and keeps non-ASCII characters: models were trained on that."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
