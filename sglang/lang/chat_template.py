"""How models are told who says what, for servers that cannot say it themselves: a small table of published formats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sglang.lang.backends.base import RoleText
from sglang.srt.errors import UnsupportedError, did_you_mean, shown


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """roles: what stands before and after the content of a message of each.

    default_system_prompt: the first message of a conversation that brings no system message of its own.
    system_in_user: a first system message is written inside the user's turn that follows it.
    stop: strings that end an answer.
    """

    name: str
    roles: Mapping[str, RoleText]
    default_system_prompt: str | None = None
    system_in_user: bool = False
    stop: tuple[str, ...] = ()

    def role_text(self, roles: Sequence[str]) -> RoleText:
        """What goes around the last message of a conversation with these roles.

        Raises UnsupportedError if the format has no such role.
        """
        last = self._around(roles[-1])
        if len(roles) == 1:
            return self._first(roles[0], last)
        if self.system_in_user and list(roles) == ["system", "user"]:
            return RoleText("", last.suffix)
        return last

    def _first(self, role: str, own: RoleText) -> RoleText:
        if role == "system":
            return RoleText(self._around("user").prefix + own.prefix, own.suffix) if self.system_in_user else own
        if self.default_system_prompt is None:
            return own
        system = self._around("system")
        return RoleText(system.prefix + self.default_system_prompt + system.suffix + own.prefix, own.suffix)

    def _around(self, role: str) -> RoleText:
        if role not in self.roles:
            raise UnsupportedError(
                f"the chat template {self.name!r} has no role {shown(role)}; {did_you_mean(role, self.roles, 'roles')}"
            )
        return self.roles[role]


def get_chat_template(name: str) -> ChatTemplate:
    """Raises UnsupportedError if there is none of this name."""
    if name not in _TEMPLATES:
        raise UnsupportedError(f"no chat template {shown(name)}; {did_you_mean(name, _TEMPLATES, 'templates')}")
    return _TEMPLATES[name]


def get_chat_template_by_model_path(path: str) -> ChatTemplate:
    """The one that the name of the model suggests, or ``default``."""
    for pattern, name in _BY_MODEL_PATH:
        if re.search(pattern, path, re.IGNORECASE):
            return _TEMPLATES[name]
    return _TEMPLATES["default"]


def _template(
    name: str,
    *,
    system: tuple[str, str],
    user: tuple[str, str],
    assistant: tuple[str, str],
    default_system_prompt: str | None = None,
    system_in_user: bool = False,
    stop: tuple[str, ...] = (),
) -> ChatTemplate:
    roles = {"system": RoleText(*system), "user": RoleText(*user), "assistant": RoleText(*assistant)}
    return ChatTemplate(name, roles, default_system_prompt, system_in_user, stop)


def _headed(name: str, head: str, end: str, default_system_prompt: str | None = None) -> ChatTemplate:
    """A format in which every role is written alike. head: what opens a message, with ``{}`` for the role."""
    system, user, assistant = ((head.format(role), end) for role in ("system", "user", "assistant"))
    return _template(
        name,
        system=system,
        user=user,
        assistant=assistant,
        default_system_prompt=default_system_prompt,
        stop=(end.strip(),),
    )


_ALL = (
    _template("default", system=("SYSTEM:", "\n"), user=("USER:", "\n"), assistant=("ASSISTANT:", "\n")),
    _template("claude", system=("", ""), user=("\n\nHuman: ", ""), assistant=("\n\nAssistant:", "")),
    _headed("chatml", "<|im_start|>{}\n", "<|im_end|>\n"),
    _headed("qwen", "<|im_start|>{}\n", "<|im_end|>\n", "You are a helpful assistant."),
    _headed("llama-3-instruct", "<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>"),
    _headed("llama-4", "<|header_start|>{}<|header_end|>\n\n", "<|eot|>"),
    _template(
        "llama-2-chat",
        system=("<<SYS>>\n", "\n<</SYS>>\n\n"),
        user=("[INST] ", " [/INST]"),
        assistant=(" ", " </s><s>"),
        system_in_user=True,
    ),
    _template(
        "mistral",
        system=("", "\n\n"),
        user=("[INST] ", " [/INST]"),
        assistant=("", "</s>"),
        system_in_user=True,
    ),
    _template(
        "gemma-it",
        system=("", "\n\n"),
        user=("<start_of_turn>user\n", "<end_of_turn>\n"),
        assistant=("<start_of_turn>model\n", "<end_of_turn>\n"),
        system_in_user=True,
        stop=("<end_of_turn>",),
    ),
    _template(
        "vicuna_v1.1",
        system=("", " "),
        user=("USER: ", " "),
        assistant=("ASSISTANT:", "</s>"),
        default_system_prompt=(
            "A chat between a curious user and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the user's questions."
        ),
    ),
    _template(
        "deepseek-v3",
        system=("", ""),
        user=("<\uff5cUser\uff5c>", ""),
        assistant=("<\uff5cAssistant\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),
        stop=("<\uff5cend\u2581of\u2581sentence\uff5c>",),
    ),
    _template(
        "c4ai-command-r",
        system=("<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        user=("<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        assistant=("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        stop=("<|END_OF_TURN_TOKEN|>",),
    ),
)
_TEMPLATES = {template.name: template for template in _ALL}

_BY_MODEL_PATH = (
    (r"vicuna", "vicuna_v1.1"),
    (r"deepseek-(v3|r1)(?!.*distill)", "deepseek-v3"),
    (r"llama-?2.*chat|codellama.*instruct", "llama-2-chat"),
    (r"(mistral|mixtral).*instruct", "mistral"),
    (r"llama-?3.*instruct", "llama-3-instruct"),
    (r"llama-?4.*instruct", "llama-4"),
    (r"qwen(1|2).*(chat|instruct)", "qwen"),
    (r"qwen3(?!.*base)|smollm.*instruct|hermes-2|yi-1\.5.*chat|chatml", "chatml"),
    (r"gemma.*-it\b", "gemma-it"),
    (r"command-r", "c4ai-command-r"),
    (r"claude", "claude"),
)
"""The first pattern found in a model's path or name decides."""
