"""Conversations written role by role are what the chat template makes of them whole."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.tokenizer.chat_template import ChatTemplate
from sglang.srt.tokenizer.role_text import MAX_ROLES, role_text
from sglang.srt.tokenizer.tokenizer import load_tokenizer

LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m.role }}<|stop|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|stop|>\n\n{% endif %}"
)
LLAMA_2 = (
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0].content %}"
    "{% else %}{% set rest = messages %}{% set system = none %}{% endif %}"
    "{% for m in rest %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate!') }}{% endif %}"
    "{% if m.role == 'user' %}{{ bos_token }}[INST] "
    "{% if loop.index0 == 0 and system is not none %}<<SYS>>\n{{ system }}\n<</SYS>>\n\n{% endif %}"
    "{{ m.content }} [/INST]"
    "{% else %} {{ m.content | trim }} </s>{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% set first = '' %}{% if messages[0].role == 'system' %}"
    "{% set first = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate!') }}{% endif %}"
    "<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ first if loop.first else '' }}{{ m.content | trim }}</turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
THINKING = (  # an answer shown last has an empty thought, one that is asked for has none
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ALTERNATING = [
    ("user",),
    ("user", "assistant", "user"),
    ("system", "user", "assistant", "user", "assistant"),
]


def write_by_role(template: ChatTemplate, messages: list[dict[str, str]]) -> str:
    text = ""
    for count, message in enumerate(messages, 1):
        around = role_text(template, [one["role"] for one in messages[:count]])
        text += around.prefix + message["content"] + around.suffix
    return text


def conversation(roles: tuple[str, ...], space: str = "") -> list[dict[str, str]]:
    """`space` begins the answers of models that generate it themselves."""
    return [
        {"role": role, "content": f"{space if role == 'assistant' else ''}{role} {index}!"}
        for index, role in enumerate(roles)
    ]


@pytest.mark.parametrize("source", [LLAMA_3, LLAMA_2, GEMMA], ids=["llama-3", "llama-2", "gemma"])
@pytest.mark.parametrize("roles", ALTERNATING, ids=" ".join)
def test_equal_to_the_whole(source: str, roles: tuple[str, ...]) -> None:
    template = ChatTemplate(source, bos_token="<s>")
    messages = conversation(roles, " " if source == LLAMA_2 else "")
    assert write_by_role(template, messages) == template.render(messages, add_generation_prompt=False)


def test_the_default_model(default_model_path: Path) -> None:
    tokenizer = load_tokenizer(default_model_path, [])
    assert tokenizer.chat_template is not None
    for roles in product(("system", "user", "assistant"), repeat=3):
        messages = conversation(roles)
        whole = tokenizer.chat_template.render(messages, add_generation_prompt=False)
        assert write_by_role(tokenizer.chat_template, messages) == whole
    assert tokenizer.role_text(["user"]).prefix.startswith("<|im_start|>system\n")  # its default system message


@pytest.mark.parametrize("source", [LLAMA_3, LLAMA_2, GEMMA, THINKING], ids=["llama-3", "llama-2", "gemma", "thinking"])
def test_an_answer_begins_as_the_model_is_asked_for_one(source: str) -> None:
    template = ChatTemplate(source, bos_token="<s>")
    messages = conversation(("user", "assistant", "user"), " " if source == LLAMA_2 else "")
    prefix = role_text(template, ["user", "assistant", "user", "assistant"]).prefix
    assert write_by_role(template, messages) + prefix == template.render(messages)


def test_without_a_template() -> None:
    assert role_text(None, ["user", "assistant"]) == ("ASSISTANT:", "\n")


def test_what_the_template_refuses() -> None:
    with pytest.raises(InvalidRequestError, match="alternate!"):
        role_text(ChatTemplate(GEMMA), ["user", "user"])
    with pytest.raises(InvalidRequestError, match="shows no 'tool' message"):
        role_text(
            ChatTemplate("{% for m in messages if m.role != 'tool' %}{{ m.content }}{% endfor %}"), ["user", "tool"]
        )
    for roles in ([], ["user"] * (MAX_ROLES + 1)):
        with pytest.raises(InvalidRequestError, match="roles must be 1 to"):
            role_text(None, roles)
