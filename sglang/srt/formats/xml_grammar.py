"""Grammars of calls whose arguments stand between tags, in Lark."""

from __future__ import annotations

import json

from sglang.srt.formats.xml_calls import Tags
from sglang.srt.grammar.xml_arguments import Argument, read_arguments

_TEXT = "xml_text"


class XmlCalls:
    """after: what stands after a call."""

    def __init__(self, tags: Tags, after: str) -> None:
        self._tags = tags
        self._after = after

    @property
    def definitions(self) -> list[str]:
        """What calls refer to. A lazy lexeme ends as soon as it can, and so holds no mark of its end but the last."""
        return [f"{_TEXT}[lazy]: /(.|\\n)*/ {_literal(self._tags.arguments.value[1])}"]

    def call(self, name: str, schema: str) -> str | None:
        """A call with arguments of the schema, JSON; None where that cannot be written, but has to be in JSON."""
        arguments = read_arguments(schema)
        if arguments is None:
            return None
        before, after = self._tags.call(name)
        return " ".join([_literal(before), *map(self._argument, arguments), _literal(after + self._after)])

    def _argument(self, argument: Argument) -> str:
        begin, end = self._tags.argument(argument.key)
        if argument.is_any_text:
            written = f"{_literal(begin)} {_TEXT}"
        elif argument.texts:
            written = f"{_literal(begin)} ({' | '.join(map(_literal, argument.texts))}) {_literal(end)}"
        else:
            written = f"{_literal(begin)} %json {argument.schema} {_literal(end)}"
        return written if argument.is_required else f"({written})?"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
