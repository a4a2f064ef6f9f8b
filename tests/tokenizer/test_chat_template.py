"""Templates render as ``transformers`` renders them, and can do nothing else."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from sglang.srt.errors import InvalidRequestError, ModelLoadError
from sglang.srt.tokenizer.chat_template import ChatTemplate
from sglang.srt.tokenizer.tokenizer import load_tokenizer

USER = {"role": "user", "content": "Hi <b> é"}
ASSISTANT = {"role": "assistant", "content": "Hello"}


@pytest.fixture(scope="module")
def default_template(default_model_path: Path) -> ChatTemplate:
    template = load_tokenizer(default_model_path, eos_ids=[2]).chat_template
    assert template is not None
    return template


def test_default_model_adds_its_system_prompt(default_template: ChatTemplate) -> None:
    assert default_template.render([USER]) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi <b> é<|im_end|>\n<|im_start|>assistant\n"
    )


def test_default_model_without_generation_prompt(default_template: ChatTemplate) -> None:
    messages = [{"role": "system", "content": "Be brief."}, USER, ASSISTANT]
    assert default_template.render(messages, add_generation_prompt=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <b> é<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n"
    )


RENDERED: list[tuple[str, dict[str, Any], str]] = [
    ("{{ bos_token }}{{ messages[0]['content'] }}{{ eos_token }}", {}, "<s>Hi <b> é</s>"),
    (
        "{% for m in messages %}\n    {% if true %}\n{{ m.role }}\n    {% endif %}\n{% endfor %}",
        {},
        "user\nassistant\n",
    ),
    ("{{ messages[0] | tojson }}", {}, '{"role": "user", "content": "Hi <b> é"}'),
    ("{{ {'b': 1, 'a': [2]} | tojson(indent=2, sort_keys=true) }}", {}, '{\n  "a": [\n    2\n  ],\n  "b": 1\n}'),
    ("{{ tools is none }} {{ documents is none }}", {}, "True True"),
    ("{{ tools[0].name }}", {"tools": [{"name": "f"}]}, "f"),
    ("{% if enable_thinking is defined and not enable_thinking %}off{% endif %}", {"enable_thinking": False}, "off"),
    ("{% for m in messages %}{% if loop.index0 %}{% break %}{% endif %}{{ m.role }}{% endfor %}", {}, "user"),
    ("{% generation %}{{ messages[1].content }}{% endgeneration %}", {}, "Hello"),
    ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", {}, "2"),
    ("{{ strftime_now('%Y') | length }}", {}, "4"),
    ("{{ messages[0].content.split(' ')[0].upper() }} {{ '%s' % 1 }}", {}, "HI 1"),
]


@pytest.mark.parametrize(("source", "variables", "expected"), RENDERED)
def test_rendering(source: str, variables: dict[str, Any], expected: str) -> None:
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
    assert template.render([USER, ASSISTANT], **variables) == expected
    by_transformers, _ = render_jinja_template(
        [[USER, ASSISTANT]], chat_template=source, bos_token="<s>", eos_token="</s>", **variables
    )
    assert by_transformers == [expected]


def test_date_is_today() -> None:
    assert ChatTemplate("{{ strftime_now('%Y-%m-%d') }}").render([USER]) == datetime.now().strftime("%Y-%m-%d")


def test_tool_use_template_serves_requests_with_tools() -> None:
    template = ChatTemplate("plain", tool_use_source="with {{ tools | length }}")
    assert template.render([USER]) == template.render([USER], tools=[]) == "plain"
    assert template.render([USER], tools=[{}, {}]) == "with 2"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__ }}",
        "{{ messages[0]['__class__'].__init__ }}",
        "{{ messages | attr('__class__') }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__func__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ dict.mro() }}",
        "{{ (messages | map(attribute='__class__') | list)[0] }}",
        "{% for x in range(10000000) %}{% endfor %}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ open('/etc/passwd') }}",
    ],
)
def test_escapes_are_refused(source: str) -> None:
    messages = [dict(USER)]
    try:
        text = ChatTemplate(source).render(messages)
    except InvalidRequestError:
        pass
    else:
        assert text == "", f"rendered to {text!r}"
    assert messages == [USER]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("{{ raise_exception('roles must alternate') }}", {}, "roles must alternate"),
    ("{{ messages[0].tool.name }}", {}, "has no attribute 'tool'"),
    ("{{ messages[0].content + 1 }}", {}, "TypeError"),
    ("{{ 1 / 0 }}", {}, "ZeroDivisionError"),
    ("{{ messages | tojson }}", {"messages": []}, "may not set messages"),
    ("x", {"bos_token": "evil"}, "may not set bos_token"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", {}, "RecursionError"),
]


@pytest.mark.parametrize(("source", "variables", "reason"), REFUSED)
def test_refusals_give_the_reason(source: str, variables: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        ChatTemplate(source).render([USER], **variables)


def test_default_model_refuses_a_message_without_content(default_template: ChatTemplate) -> None:
    with pytest.raises(InvalidRequestError, match="content"):
        default_template.render([{"role": "user"}])


def test_broken_template_is_the_models_fault() -> None:
    with pytest.raises(ModelLoadError, match="line 2"):
        ChatTemplate("\n{% if %}")


def test_a_template_knows_tools_if_it_asks_for_them() -> None:
    assert ChatTemplate("{% if tools %}{{ tools | tojson }}{% endif %}").knows_tools
    assert ChatTemplate("a", tool_use_source="{{ tools }}").knows_tools
    assert not ChatTemplate("{% set tools = 1 %}{{ tools }}").knows_tools
    assert not ChatTemplate("tools {# tools #}").knows_tools


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ '```' + tool['function']['arguments'] + '```' }}", True),
        ("{{ '\\n' + tool.function.arguments }}", True),
        ("{{ tool_call.arguments | tojson }}", False),
        ('{{ tool_call["function"]["arguments"]|tojson }}', False),
        ("{{ message.content }}", False),
    ],
)
def test_a_template_that_joins_arguments_wants_them_as_text(source: str, expected: bool) -> None:
    assert ChatTemplate(source).wants_argument_text is expected
