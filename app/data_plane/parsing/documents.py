"""A text that is one document as a whole: a value, several lines of values, or words without quotes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.data_plane.parsing.cursor import Cursor, Steps
from app.data_plane.parsing.outcome import UnreadableError
from app.data_plane.parsing.plain import NotPlainError, read_plain
from app.data_plane.parsing.quoted import QUOTES, looks_like_key
from app.data_plane.parsing.tolerant import TolerantReader
from interlock.canonical import JsonValue

_FIRST_QUOTE = re.compile(r"[\[{\s\\rnt]*?(\\?)[\"']")
_MAX_LAYERS = 3
_ESCAPE = re.compile(r"\\([^u])", re.DOTALL)
_DOUBLED = re.compile(r'\s*+[\[{]\s*+""\w')
_UNESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_REST = re.compile(r"[\s\]}`;]*+")
_SENTENCE = re.compile(r"\s.*[.!?]$|.{200}|\n", re.DOTALL)
_START = re.compile(f"[{QUOTES}\\[{{(\\w./-]")


@dataclass(frozen=True, slots=True)
class Document:
    """A value read from a text, and how often what was repaired."""

    value: JsonValue
    notes: Mapping[str, int] = field(default_factory=dict)


def read_document(text: str, steps: Steps, *, once: bool = False) -> Document:
    """The value that the whole of ``text`` is.

    Raises:
        UnreadableError: it is not one document.
    """
    try:
        return Document(read_plain(text, once=once))
    except NotPlainError:
        pass
    if _is_escaped(text):
        for _ in range(_MAX_LAYERS):
            text = _ESCAPE.sub(lambda match: _UNESCAPED.get(match[1], match[1]), text)
            if not _is_escaped(text):
                break
        found = _read(text, steps, once=once)
        return Document(found.value, {**found.notes, "escaped": 1})
    if _DOUBLED.match(text):
        found = _read(text.replace('""', '"'), steps, once=once)
        return Document(found.value, {**found.notes, "doubled_quotes": 1})
    return _read(text, steps, once=once)


def _is_escaped(text: str) -> bool:
    """Whether the text is one level too deep in backslashes: its first quote already has one."""
    first = _FIRST_QUOTE.match(text)
    return first is not None and first[1] == "\\"


def _read(text: str, steps: Steps, *, once: bool) -> Document:
    cursor = Cursor(text, steps)
    cursor.skip_blank()
    start = cursor.at
    first = cursor.peek()
    if not first:
        raise UnreadableError("it is empty")
    if not _START.match(first):
        raise UnreadableError("it is no JSON")
    if first == '"' and looks_like_key(text, start):
        try:
            return _whole(cursor, once=once)
        except UnreadableError:
            cursor = Cursor("{" + text[start:], steps)
            cursor.notes["bracket"] += 1
    return _whole(cursor, once=once)


def _whole(cursor: Cursor, *, once: bool) -> Document:
    reader = TolerantReader(cursor, once=once)
    values = [reader.read_root()]
    while True:
        end = cursor.at
        cursor.skip_blank()
        comma = cursor.peek() == ","
        if comma:
            cursor.at += 1
            cursor.skip_blank()
        rest = _REST.match(cursor.text, cursor.at)
        assert rest is not None
        if rest.end() == len(cursor.text):
            if rest[0].strip():
                cursor.notes["fence" if "`" in rest[0] else "bracket"] += 1
            if comma:
                cursor.notes["trailing_comma"] += 1
            break
        if not comma and "\n" not in cursor.text[end : cursor.at]:
            raise UnreadableError("it goes on behind its value")
        cursor.spend(cursor.at - end)
        values.append(reader.read_root())
    return Document(_joined(values, cursor), dict(cursor.notes))


def _joined(values: list[JsonValue], cursor: Cursor) -> JsonValue:
    bare = "unquoted_string" in cursor.notes and any(isinstance(value, str) for value in values)
    if len(values) == 1:
        if bare and isinstance(values[0], str) and _SENTENCE.search(values[0]):
            raise UnreadableError("it is a sentence and no JSON")
        return values[0]
    containers = [isinstance(value, dict | list) for value in values]
    if any(containers) and not all(containers):
        raise UnreadableError("it goes on behind its value")
    if bare and any(isinstance(value, str) and re.search(r"\s", value) for value in values):
        raise UnreadableError("it is text and no JSON")
    cursor.notes["several_values"] += 1
    return values
