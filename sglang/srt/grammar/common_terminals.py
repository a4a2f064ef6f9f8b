"""The terminals that a Lark grammar imports from ``common``, each as one regular expression.

Source: grammars/common.lark of the Lark library. The library that follows grammars has its own, in which a text in
quotes may hold raw line breaks, which Lark does not allow.
"""

from __future__ import annotations

import re

_DIGITS = "[0-9]+"
_DECIMAL = r"([0-9]+\.[0-9]*|\.[0-9]+)"
_EXPONENT = r"[eE][+\-]?[0-9]+"
_FLOAT = rf"([0-9]+{_EXPONENT}|{_DECIMAL}({_EXPONENT})?)"
_NUMBER = rf"({_FLOAT}|{_DIGITS})"
_ESCAPED_STRING = r'"([^"\\\n]|\\[^\n])*"'

COMMON_TERMINALS = {
    "DIGIT": "[0-9]",
    "HEXDIGIT": "[0-9a-fA-F]",
    "INT": _DIGITS,
    "SIGNED_INT": rf"[+\-]?{_DIGITS}",
    "DECIMAL": _DECIMAL,
    "_EXP": _EXPONENT,
    "FLOAT": _FLOAT,
    "SIGNED_FLOAT": rf"[+\-]?{_FLOAT}",
    "NUMBER": _NUMBER,
    "SIGNED_NUMBER": rf"[+\-]?{_NUMBER}",
    "ESCAPED_STRING": _ESCAPED_STRING,
    "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]",
    "LETTER": "[A-Za-z]",
    "WORD": "[A-Za-z]+",
    "CNAME": "[_A-Za-z][_A-Za-z0-9]*",
    "WS_INLINE": r"[ \t]+",
    "WS": r"[ \t\f\r\n]+",
    "CR": r"\r",
    "LF": r"\n",
    "NEWLINE": r"(\r?\n)+",
    "SH_COMMENT": r"#[^\n]*",
    "CPP_COMMENT": r"\/\/[^\n]*",
    "C_COMMENT": r"\/\*([^*]|\*+[^*\/])*\*+\/",
    "SQL_COMMENT": r"--[^\n]*",
}

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
IMPORT = rf"%import[ \t]+common[ \t]*(?:\.[ \t]*{_NAME}(?:[ \t]*->[ \t]*{_NAME})?|\([^()\n]*\))"
"""A regular expression, for an import of one terminal, perhaps under another name, or of several."""


def definitions(imported: str) -> list[str]:
    """Lines that define what is `imported`; none where that is something else than terminals of ``common``."""
    listed = re.search(r"\(([^()]*)\)", imported)
    if listed is not None:
        names = [(name.strip(), name.strip()) for name in listed[1].split(",")]
    else:
        name, _, alias = (part.strip() for part in imported.partition(".")[2].partition("->"))
        names = [(name, alias or name)]
    if not all(name in COMMON_TERMINALS and alias.isupper() for name, alias in names):
        return []
    return [f"{alias}: /{COMMON_TERMINALS[name]}/" for name, alias in names]
