"""Checks CEL expressions before they are published: what they name is there when they are evaluated.

The library compiles what it can parse and finds unknown names only when it runs: the names are checked here.
It has no step limit either: a macro inside a macro is refused, and the kernel caps an expression's length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.control_plane.tokens import RESERVED, Token, is_macro, is_member, text_at, tokens_of

FUNCTIONS = frozenset(
    {"size", "contains", "startsWith", "endsWith", "matches", "has", "string", "int", "double", "dyn"}
)
"""What an expression may call: deterministic, and with JSON values as results."""

Members = Mapping[str, frozenset[str] | None]
Variables = Mapping[str, Members | None]
"""The variables that an expression may name, the members it may read of each, and the fields of each member.

None means any.
"""


@dataclass(slots=True)
class _Macro:
    """A comprehension that is open: the name it binds, and how deep its own parenthesis is."""

    name: str
    depth: int


def check_expression(expression: str, variables: Variables) -> list[str]:
    """Why ``expression`` cannot be published, a clause for each reason; empty when it can."""
    # Only here: the library takes half a second to load, and most commands compile nothing.
    import cel

    try:
        cel.compile(expression)
    except ValueError as error:
        return [f"it is not CEL: {_first_line(str(error))}"]
    tokens = tokens_of(expression)
    found: dict[str, None] = {}
    open_macros: list[_Macro] = []
    depth = 0
    for position, token in enumerate(tokens):
        if token.kind == "sign":
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            while open_macros and depth < open_macros[-1].depth:
                open_macros.pop()
        elif token.kind == "name":
            bound = {macro.name for macro in open_macros}
            found |= dict.fromkeys(_name_problems(tokens, position, variables, bound))
            if is_macro(tokens, position):
                if open_macros:
                    found[f"it has the macro {token.text!r} inside another"] = None
                open_macros.append(_Macro(text_at(tokens, position + 2), depth + 1))
    return list(found)


def _name_problems(
    tokens: Sequence[Token], position: int, variables: Variables, bound: set[str]
) -> Iterator[str]:
    name = tokens[position].text
    if text_at(tokens, position + 1) == "(":
        if name not in FUNCTIONS and not is_macro(tokens, position):
            yield f"it calls the unknown function {name!r}"
    elif is_member(tokens, position) or name in RESERVED:
        return
    elif is_macro(tokens, position - 2):
        if name in variables:
            yield f"its macro binds {name!r}, which is a variable already"
    elif name not in bound:
        yield from _variable_problems(tokens, position, variables)


def _variable_problems(tokens: Sequence[Token], position: int, variables: Variables) -> Iterator[str]:
    name = tokens[position].text
    if name not in variables:
        yield f"it reads the unknown variable {name!r} (known here: {_listed(variables)})"
        return
    members = variables[name]
    if members is None:
        return
    member = _member(tokens, position)
    if member is None:
        yield f"it reads {name!r} as a whole; name the member, as in {name}.x"
    elif member not in members:
        yield f"it reads {name}.{member}, which is not there (known here: {_listed(members)})"
    else:
        fields = members[member]
        read = _field(tokens, position + (3 if text_at(tokens, position + 1) == "." else 4))
        if fields is not None and read is not None and read not in fields:
            yield f"it reads {name}.{member}.{read}, which is not there (known here: {_listed(fields)})"


def _field(tokens: Sequence[Token], position: int) -> str | None:
    """The field that a member is asked for, ``position`` being behind it; None for a function's call."""
    if text_at(tokens, position) != "." or text_at(tokens, position + 2) == "(":
        return None
    return text_at(tokens, position + 1)


def _member(tokens: Sequence[Token], position: int) -> str | None:
    follower = text_at(tokens, position + 1)
    if follower == "." and text_at(tokens, position + 3) != "(":
        return text_at(tokens, position + 2)
    if follower == "[" and tokens[position + 2].kind == "text" and text_at(tokens, position + 3) == "]":
        return tokens[position + 2].text.strip("\"'")
    return None


def _listed(names: Mapping[str, object] | frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _first_line(message: str) -> str:
    return message.splitlines()[0].split("ERROR: <input>:", 1)[-1][:200]
