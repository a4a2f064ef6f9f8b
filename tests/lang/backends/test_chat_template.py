"""The table of chat formats, for servers that do not know their own."""

from __future__ import annotations

import pytest

from sglang.lang.chat_template import get_chat_template, get_chat_template_by_model_path
from sglang.srt.errors import UnsupportedError

CONVERSATION = [("system", "S"), ("user", "Q"), ("assistant", "A"), ("user", "R")]


def written(name: str, conversation: list[tuple[str, str]]) -> str:
    """The conversation, and the beginning of the answer to it."""
    template = get_chat_template(name)
    roles = [role for role, _ in conversation]
    text = ""
    for index, (_, content) in enumerate(conversation):
        prefix, suffix = template.role_text(roles[: index + 1]).prefix, template.role_text(roles[: index + 1]).suffix
        text += prefix + content + suffix
    return text + template.role_text([*roles, "assistant"]).prefix


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("default", "SYSTEM:S\nUSER:Q\nASSISTANT:A\nUSER:R\nASSISTANT:"),
        (
            "chatml",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
            "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "llama-3-instruct",
            "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nR<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ("llama-2-chat", "[INST] <<SYS>>\nS\n<</SYS>>\n\nQ [/INST] A </s><s>[INST] R [/INST] "),
        (
            "gemma-it",
            "<start_of_turn>user\nS\n\nQ<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
            "<start_of_turn>user\nR<end_of_turn>\n<start_of_turn>model\n",
        ),
        ("vicuna_v1.1", "S USER: Q ASSISTANT:A</s>USER: R ASSISTANT:"),
    ],
)
def test_conversations(name: str, expected: str) -> None:
    assert written(name, CONVERSATION) == expected


def test_a_conversation_without_a_system_message_gets_the_default_one() -> None:
    default = "You are a helpful assistant."
    assert written("qwen", [("user", "Q")]) == written("chatml", [("system", default), ("user", "Q")])
    assert written("qwen", CONVERSATION) == written("chatml", CONVERSATION)
    assert written("gemma-it", [("user", "Q")]).startswith("<start_of_turn>user\nQ")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3-instruct"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama-4"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-chat"),
        ("/models/Qwen2.5-7B-Instruct", "qwen"),
        ("Qwen/Qwen3-8B", "chatml"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistral"),
        ("google/gemma-2-9b-it", "gemma-it"),
        ("lmsys/vicuna-7b-v1.5", "vicuna_v1.1"),
        ("deepseek-ai/DeepSeek-V3", "deepseek-v3"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "chatml"),
        ("meta-llama/Llama-2-7b-hf", "default"),
        ("", "default"),
    ],
)
def test_the_name_of_a_model_suggests_its_format(path: str, name: str) -> None:
    assert get_chat_template_by_model_path(path).name == name


def test_a_role_that_is_not_there() -> None:
    with pytest.raises(UnsupportedError, match="'chatml' has no role 'tool'; known roles: system, user, assistant"):
        get_chat_template("chatml").role_text(["tool"])
