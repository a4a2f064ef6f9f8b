"""How models write calls of tools: one entry a format."""

# ruff: noqa: RUF001 (the bars of DeepSeek's marks are wide ones)

from __future__ import annotations

from dataclasses import dataclass, replace

from sglang.srt.args import ToolCallParserName
from sglang.srt.formats.calls import Body, json_calls, json_or_named, named_call, separate_json_calls, unnumbered
from sglang.srt.formats.python_calls import python_calls
from sglang.srt.formats.xml_calls import GLM, QWEN, Tags, xml_call


@dataclass(frozen=True)
class Notation:
    """A way to write calls that a grammar can demand and a prompt can show: an object of JSON for each, or, as far as
    they can say it, `tags`.
    """

    first: str = "["
    before: str = ""
    arguments_key: str = "arguments"
    after: str = ""
    between: str = ", "
    last: str = "]"
    tags: Tags | None = None

    @property
    def mark(self) -> str:
        """What nothing but a call begins with; empty where calls are bare."""
        return self.before.strip()


_TAGGED = Notation(first="", before="<tool_call>\n", after="\n</tool_call>", between="\n", last="")
_PARAMETERS = Notation(first="", arguments_key="parameters", between="; ", last="")

_BARE = ("", "")
_TOOL_CALL = ("<tool_call>", "</tool_call>")


@dataclass(frozen=True)
class ToolFormat:
    """blocks: the marks around calls, of which ("", "") means that an answer may begin with calls at once, and with
    `is_anywhere` that they may also come after text. layout: marks that mean nothing beside calls. separators: the same
    between calls; behind the last they are content. is_native: models of this format write the `notation` by
    themselves. id_length: of what names a call.
    """

    body: Body = json_calls
    blocks: tuple[tuple[str, str], ...] = (_BARE,)
    is_anywhere: bool = False
    layout: tuple[str, ...] = ()
    separators: tuple[str, ...] = ()
    notation: Notation = Notation()
    is_native: bool = True
    id_length: int = 24

    @property
    def is_bare(self) -> bool:
        return _BARE in self.blocks

    @property
    def demanded(self) -> ToolFormat:
        """What reads the notation and nothing else."""
        mark = self.notation.mark
        block = (mark, self.notation.after.strip()) if mark else _BARE
        return replace(self, body=self.body if self.notation.tags else json_calls, blocks=(block,))


def _xml_format(tags: Tags, before: str) -> ToolFormat:
    """before: what stands before a call."""
    body = json_or_named(xml_call(tags))
    return ToolFormat(body, (_TOOL_CALL,), notation=replace(_TAGGED, before=before, tags=tags))


_TAGS = ToolFormat(separate_json_calls, blocks=(_TOOL_CALL,), notation=_TAGGED)
_DEEPSEEK_LAYOUT = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_DEEPSEEK_CALL = ("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>")
_SEPARATOR = "<｜tool▁sep｜>"

TOOL_FORMATS: dict[ToolCallParserName, ToolFormat] = {
    "hermes": _TAGS,
    "qwen": _TAGS,
    "qwen25": _TAGS,
    "llama3": ToolFormat(blocks=(("<|python_tag|>", ""), _BARE), separators=(";",), notation=_PARAMETERS),
    "mistral": ToolFormat(
        body=json_or_named(named_call(after=("[ARGS]", ""))),
        blocks=(("[TOOL_CALLS]", ""), _BARE),
        separators=(",",),
        id_length=9,
    ),
    "pythonic": ToolFormat(
        body=python_calls, blocks=(("<|python_start|>", "<|python_end|>"), _BARE), is_anywhere=True, is_native=False
    ),
    "deepseekv3": ToolFormat(
        body=named_call(f"function{_SEPARATOR}", ("\n```json\n",), "```"),
        blocks=(_DEEPSEEK_CALL,),
        layout=_DEEPSEEK_LAYOUT,
        is_native=False,
    ),
    "deepseekv31": ToolFormat(
        body=named_call(after=(_SEPARATOR,)), blocks=(_DEEPSEEK_CALL,), layout=_DEEPSEEK_LAYOUT, is_native=False
    ),
    "kimi_k2": ToolFormat(
        body=named_call(after=("<|tool_call_argument_begin|>", " <|tool_call_argument_begin|>"), clean=unnumbered),
        blocks=(("<|tool_call_begin|>", "<|tool_call_end|>"),),
        layout=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        is_native=False,
    ),
    "qwen3_coder": _xml_format(QWEN, "<tool_call>\n"),
    "glm45": _xml_format(GLM, "<tool_call>"),
    "json": ToolFormat(blocks=(("```json", "```"), _BARE), separators=(";",)),
}

_SIGNS: tuple[tuple[str, ToolCallParserName], ...] = (
    ("<|tool_calls_section_begin|>", "kimi_k2"),
    (f"function{_SEPARATOR}", "deepseekv3"),
    (f"'function' + '{_SEPARATOR}'", "deepseekv3"),
    (_SEPARATOR, "deepseekv31"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|python_start|>", "pythonic"),
    ("<function=", "qwen3_coder"),
    ("<arg_key>", "glm45"),
    ("<tool_call>", "hermes"),
    ("<|python_tag|>", "llama3"),
    ('"parameters":', "llama3"),
)


DEFAULT_TOOL_FORMAT: ToolCallParserName = "hermes"
"""For models whose chat template shows none: they are told of it."""


def tool_format_of(template: str) -> ToolCallParserName | None:
    """The format that a chat template writes, if it shows one."""
    return next((name for sign, name in _SIGNS if sign in template), None)
