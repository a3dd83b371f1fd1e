"""CEL, cut into tokens: as much of its syntax as tells variables, members, calls and literals apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
RESERVED = frozenset({"true", "false", "null", "in"})

# A text that ended too early or too late would hide the names behind it: three quotes come before one, and a raw
# text knows no escapes.
_TOKEN = re.compile(
    r"""
      (?P<comment>//[^\n]*)
    | (?P<text>[bB]?[rR](?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\r\n]*"|'[^'\r\n]*')
        | [bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}
        | "(?:[^"\\\r\n]|\\.)*" | '(?:[^'\\\r\n]|\\.)*'))
    | (?P<quoted>`[^`\n]*`)
    | (?P<number>[0-9][0-9a-zA-Z_.]*)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign>[^\s])
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an expression; ``kind`` is ``text``, ``quoted``, ``number``, ``name`` or ``sign``."""

    kind: str
    text: str


def tokens_of(expression: str) -> Sequence[Token]:
    """The expression's tokens, in order, without comments."""
    return [
        Token(str(match.lastgroup), match[0])
        for match in _TOKEN.finditer(expression)
        if match.lastgroup != "comment"
    ]


def text_at(tokens: Sequence[Token], position: int) -> str:
    """The token's text; empty where there is none."""
    return tokens[position].text if 0 <= position < len(tokens) else ""


def is_macro(tokens: Sequence[Token], position: int) -> bool:
    """Whether the name at ``position`` is a comprehension; the name that it binds is two further on."""
    return (
        text_at(tokens, position) in MACROS
        and text_at(tokens, position - 1) == "."
        and text_at(tokens, position + 1) == "("
        and text_at(tokens, position + 3) == ","
    )


def is_member(tokens: Sequence[Token], position: int) -> bool:
    """Whether the name at ``position`` is a member of what stands before it, and no variable.

    A dot with nothing before it begins a variable, too.
    """
    if text_at(tokens, position - 1) != "." or position < 2:
        return False
    before = tokens[position - 2]
    if before.kind == "name":
        return before.text not in RESERVED
    return before.kind != "sign" or before.text in ")]}"
