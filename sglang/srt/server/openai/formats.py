"""How the served model writes calls of tools and thoughts."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sglang.srt.args import ServerArgs
from sglang.srt.formats.reasoning import REASONING_FORMATS, ReasoningFormat, reasoning_format_of
from sglang.srt.formats.tool_format import DEFAULT_TOOL_FORMAT, TOOL_FORMATS, ToolFormat, tool_format_of
from sglang.srt.tokenizer.tokenizer import Tokenizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFormats:
    """control_marks: of all marks, those that are control tokens, which no grammar speaks of and most texts leave out.
    reasoning: None if thoughts are not told apart.
    """

    tools: ToolFormat
    reasoning: ReasoningFormat | None
    control_marks: frozenset[str]

    @classmethod
    def of(cls, args: ServerArgs, tokenizer: Tokenizer) -> ModelFormats:
        """What the options say, or where they say ``auto`` the chat template; the log tells where that says nothing."""
        template = "" if tokenizer.chat_template is None else tokenizer.chat_template.tool_use_source
        tool_name, reasoning_name = args.tool_call_parser, args.reasoning_parser
        if tool_name == "auto":
            shown = tool_format_of(template)
            if shown is None:
                logger.info(
                    "calls of tools are read as %s, as the chat template shows none; --tool-call-parser names another",
                    DEFAULT_TOOL_FORMAT,
                )
            tool_name = shown or DEFAULT_TOOL_FORMAT
        if reasoning_name == "auto":
            reasoning_name = reasoning_format_of(template)
            if reasoning_name is None:
                logger.info("reasoning-parser: the chat template marks no thoughts; answers are not searched for any")
        tools = TOOL_FORMATS[tool_name]
        reasoning = None if reasoning_name is None else REASONING_FORMATS[reasoning_name]
        marks = {*tools.layout, *(mark for block in tools.blocks for mark in block)}
        marks |= set() if reasoning is None else {reasoning.begin, reasoning.end}
        control = {tokenizer.vocab.token_bytes[token_id].decode() for token_id in tokenizer.vocab.special_ids}
        return cls(tools, reasoning, frozenset(marks & control))
