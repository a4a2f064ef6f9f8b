"""``--chat-template FILE``: a template to use instead of the model's own."""

from __future__ import annotations

import json
from pathlib import Path

from sglang.srt.errors import ConfigurationError, ModelLoadError, shown
from sglang.srt.tokenizer.chat_template import ChatTemplate


def read_chat_template(file: str) -> str:
    """The source in a file of jinja, or under "chat_template" in one of JSON.

    Raises ConfigurationError if there is no such file, or no valid template in it.
    """
    path = Path(file).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"chat_template: cannot read the file {file!r}: {error}; give a file with a jinja template"
        ) from error
    source = _from_json(file, text) if path.suffix == ".json" else text
    try:
        ChatTemplate(source)
    except ModelLoadError as error:
        raise ConfigurationError(f"chat_template {file!r}: {error}") from error
    return source


def _from_json(file: str, text: str) -> str:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"chat_template: {file!r} is not valid JSON: {error}") from error
    source = value.get("chat_template") if isinstance(value, dict) else None
    if not isinstance(source, str):
        raise ConfigurationError(
            f'chat_template: {file!r} must have a text under "chat_template"; it has {shown(value)}'
        )
    return source
