"""What an expression reads: the gateway goes by it when it says where an action's argument came from.

It errs on one side only: whatever evaluation could look at lies at or below a path that is listed. Where the path
cannot be told from the text alone it ends early, so that the whole of what is there counts as read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.control_plane.tokens import RESERVED, Token, is_macro, is_member, text_at, tokens_of
from app.kernel.document import Expression
from app.kernel.tool_spec import Reads

DECISION = "decision"

_PLAIN_KEY = re.compile(r"\"([A-Za-z_][A-Za-z0-9_]*)\"|'([A-Za-z_][A-Za-z0-9_]*)'")
_BEFORE_OPERAND = frozenset({"", "(", "[", "{", ",", "?", ":", "&", "|"})
_AFTER_OPERAND = frozenset({"", ")", "]", "}", ",", "?", ":", "&", "|"})


@dataclass(slots=True)
class _Found:
    """What one expression reads. Of a shallow path, only whether something is there."""

    deep: set[tuple[str, ...]] = field(default_factory=set)
    shallow: set[tuple[str, ...]] = field(default_factory=set)
    literals: set[str] = field(default_factory=set)

    def take(self, other: _Found) -> None:
        self.deep |= other.deep
        self.shallow |= other.shallow
        self.literals |= other.literals


def reads_of(expression: str, decision: Mapping[str, Expression]) -> Reads:
    """The paths that a valid expression reads, and the texts that it holds, each sorted.

    ``decision.<field>`` stands for what that field's own expression reads and holds. A list's members count as the
    list; so do the names that macros bind. Whether something is there (``has``, or a comparison with null) is told by
    a path that goes on below it, if there is one.
    """
    found = _found_in(expression, decision)
    below = {path[:length] for path in found.deep for length in range(1, len(path))}
    paths = found.deep | (found.shallow - below)
    return Reads(
        paths=tuple(sorted(".".join(path) for path in paths)), literals=tuple(sorted(found.literals))
    )


def _found_in(expression: str, decision: Mapping[str, Expression]) -> _Found:
    tokens = tokens_of(expression)
    found = _Found()
    bound = {text_at(tokens, at + 2) for at in range(len(tokens)) if is_macro(tokens, at)} - _ROOTS
    for start in _variables(tokens, bound):
        path, end = _path(tokens, start)
        if path[0] == DECISION and decision:
            # A decision's expressions read no decision.
            for name in [path[1]] if len(path) > 1 and path[1] in decision else list(decision):
                found.take(_found_in(decision[name], {}))
        elif _is_shallow(tokens, start, end):
            found.shallow.add(path)
        else:
            found.deep.add(path)
    found.literals |= set(_literals(tokens))
    return found


_ROOTS = frozenset({"event", "snapshot", "stages", DECISION})
"""A macro that bound one of these would not be published; if it is met all the same, both count."""


def _variables(tokens: Sequence[Token], bound: set[str]) -> Iterator[int]:
    """Where variables stand. What a macro's name is bound to was read where the macro's list is."""
    for position, token in enumerate(tokens):
        called = text_at(tokens, position + 1) == "("
        if token.kind != "name" or token.text in RESERVED or called or is_member(tokens, position):
            continue
        if token.text not in bound:
            yield position


def _path(tokens: Sequence[Token], start: int) -> tuple[tuple[str, ...], int]:
    """The path of the variable at ``start``, and the position behind it."""
    path = [tokens[start].text]
    at = start + 1
    while True:
        if text_at(tokens, at) == "." and _is_name(tokens, at + 1) and text_at(tokens, at + 2) != "(":
            path.append(tokens[at + 1].text)
            at += 2
        elif (key := _plain_key(tokens, at)) is not None:
            path.append(key)
            at += 3
        else:
            return tuple(path), at


def _is_name(tokens: Sequence[Token], position: int) -> bool:
    return position < len(tokens) and tokens[position].kind == "name"


def _plain_key(tokens: Sequence[Token], position: int) -> str | None:
    """The key of ``["key"]``; None for anything else, and for a key that could not stand in a path."""
    if text_at(tokens, position) != "[" or text_at(tokens, position + 2) != "]":
        return None
    matched = _PLAIN_KEY.fullmatch(text_at(tokens, position + 1))
    return matched and (matched[1] or matched[2])


def _is_shallow(tokens: Sequence[Token], start: int, end: int) -> bool:
    """Whether no more is asked of a path than whether it is there, or is null."""
    before, after = text_at(tokens, start - 1), text_at(tokens, end)
    if before == "(" and text_at(tokens, start - 2) == "has" and after == ")":
        return True
    compared = after in ("=", "!") and text_at(tokens, end + 1) == "=" and text_at(tokens, end + 2) == "null"
    return compared and before in _BEFORE_OPERAND and text_at(tokens, end + 3) in _AFTER_OPERAND


def _is_key(tokens: Sequence[Token], position: int) -> bool:
    """Whether a text is what something is indexed with, and so no value that could come out."""
    if text_at(tokens, position - 1) != "[" or text_at(tokens, position + 1) != "]" or position < 2:
        return False
    indexed = tokens[position - 2]
    return indexed.text in ")]}" if indexed.kind == "sign" else indexed.text not in RESERVED


def _literals(tokens: Sequence[Token]) -> Iterator[str]:
    """The texts that an expression holds, without the keys that it reads by."""
    texts = [
        token.text for at, token in enumerate(tokens) if token.kind == "text" and not _is_key(tokens, at)
    ]
    if texts:
        # Only here: the library takes half a second to load. It knows best what its escapes mean.
        import cel

        for text in texts:
            value = cel.evaluate(text)
            if isinstance(value, str):
                yield value
