"""``--chat-template FILE``: what is read, what is refused, and that it replaces the model's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sglang.srt.errors import ConfigurationError
from sglang.srt.tokenizer.chat_template_file import read_chat_template
from sglang.srt.tokenizer.tokenizer import load_tokenizer

SOURCE = "{{ bos_token }}{% for message in messages %}[{{ message.role }}] {{ message.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("template.jinja", SOURCE),
        ("template.txt", SOURCE),
        ("template.json", json.dumps({"chat_template": SOURCE, "name": "x"})),
    ],
)
def test_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_chat_template(str(tmp_path / name)) == SOURCE


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jinja", None, "cannot read the file '.*missing.jinja': .*; give a file with a jinja template"),
        ("binary.jinja", b"\xff\xfe\x00", "cannot read the file '.*binary.jinja'"),
        ("open.jinja", b"a\n{% for x in y %}", "open.jinja': the model's chat template is not valid, line 2"),
        ("broken.json", b"{", "broken.json' is not valid JSON"),
        ("list.json", b"[1]", r"must have a text under \"chat_template\"; it has \[1\]"),
        ("other.json", b'{"template": "a"}', r"must have a text under \"chat_template\"; it has {'template': 'a'}"),
    ],
)
def test_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        read_chat_template(str(tmp_path / name))


def test_it_replaces_that_of_a_gguf_file(default_model_path: Path) -> None:
    template = load_tokenizer(default_model_path, [], SOURCE).chat_template
    assert template is not None
    assert template.render([{"role": "user", "content": "hi"}]) == "<|im_start|>[user] hi"


def test_it_replaces_that_of_a_folder(tiny_model: str) -> None:
    template = load_tokenizer(Path(tiny_model), [], SOURCE).chat_template
    assert template is not None
    assert template.render([{"role": "user", "content": "hi"}], tools=[{}]) == "[user] hi"
