"""The tolerant reader: one value of what is nearly JSON, by a stack of open containers and no recursion."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from app.data_plane.parsing.bare import call_at, read_bare, read_bare_key
from app.data_plane.parsing.cursor import Cursor, TooMuchError
from app.data_plane.parsing.outcome import UnreadableError
from app.data_plane.parsing.plain import MAX_DEPTH, same
from app.data_plane.parsing.quoted import QUOTES, Place, looks_like_key, read_quoted
from interlock.canonical import JsonValue

_REGEX = re.compile(r"/(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.){0,200}+\]){1,2000}+/[a-z]*+")
_PATH = re.compile(r"/[\w.~%@/-]*+(?=\s{0,100}(?:[,}\]\n]|$))")
_PREFIX = re.compile(r"""[uUbBrRfF]{1,2}(?=(["'])[^"'\n]*+\1\s*+[:,}\])])""")
_QUOTED_KEY = re.compile(r"""(["'])[^"'\n]{1,60}\1\s{0,20}:""")
_FENCE_END = re.compile(r"`{3,}\s*+$")
_PREFIXES = frozenset("uUbBrRfF")
_NO_KEY = re.compile(r"[,:][^\S\n]*+(?:$|[\n\"'}\]]|//)|[^\n]*+\n.*[\"']", re.DOTALL)
_CLOSINGS = {"}": "{", "]": "[", ")": "("}


class Kind(Enum):
    """What a container is, by its opening character; a call is a tuple behind a name."""

    OBJECT = "{"
    ARRAY = "["
    TUPLE = "("
    CALL = "f("


@dataclass(slots=True)
class _Frame:
    """An open container."""

    kind: Kind
    items: list[JsonValue] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    key: str = ""
    commas: int = 0
    is_set: bool = False


class _MissingError(Exception):
    """No value begins here."""


class TolerantReader:
    """Reads one value at a cursor.

    With ``once``, a key with two different values is refused, and what is cut off is left out instead of guessed:
    a number that the end of the text may have shortened, a member without its value.
    """

    def __init__(self, cursor: Cursor, *, once: bool = False) -> None:
        self.cursor = cursor
        self.once = once
        self.stack: list[_Frame] = []
        self.brackets = ""
        self.reopened = False
        """Whether members went on behind the outermost brace."""

    def read_root(self) -> JsonValue:
        """The value at the cursor, which then stands behind it.

        Raises:
            UnreadableError: there is none, or it may mean more than one thing.
        """
        self.stack, self.brackets, self.reopened = [], "", False
        try:
            value, complete = self._begin()
        except _MissingError:
            raise UnreadableError("it is no JSON") from None
        while True:
            if complete:
                if not self.stack:
                    return value
                self._add(self.stack[-1], value)
            value, complete = self._continue(self.stack[-1])

    def _begin(self) -> tuple[JsonValue, bool]:
        """A whole scalar, or the container that opens here."""
        cursor = self.cursor
        cursor.skip_blank()
        self._skip_prefix()
        character = cursor.peek()
        cursor.cut = False
        if character in ("{", "[", "("):
            self._open(Kind(character), cursor.at + 1)
            return None, False
        if character and character in QUOTES:
            return self._string(), True
        if character == "/":
            return self._regex(), True
        if (argument := call_at(cursor)) is not None:
            cursor.notes["call"] += 1
            self._open(Kind.CALL, argument)
            return None, False
        in_call = self.brackets.endswith("(")
        found = read_bare(cursor, self._place(), in_call=in_call)
        if found is None:
            raise _MissingError
        return found.value, True

    def _skip_prefix(self) -> None:
        """Passes over the letter that Python has before some strings, as in ``u'a'``."""
        cursor = self.cursor
        if cursor.text[cursor.at : cursor.at + 1] in _PREFIXES and (
            match := _PREFIX.match(cursor.text, cursor.at)
        ):
            cursor.at = match.end()
            cursor.notes["python_literal"] += 1

    def _open(self, kind: Kind, behind: int) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise TooMuchError(f"it is nested deeper than {MAX_DEPTH} levels")
        self.cursor.step()
        self.stack.append(_Frame(kind))
        self.brackets += kind.value[-1]
        self.cursor.at = behind

    def _place(self) -> Place:
        if not self.stack:
            return Place.ROOT
        return Place.MEMBER if self.stack[-1].kind is Kind.OBJECT else Place.ITEM

    def _string(self) -> str:
        """A string in quotes, with what ``+`` joins to it."""
        cursor = self.cursor
        place, brackets = self._place(), self.brackets
        said = read_quoted(cursor, place, brackets)
        behind = cursor.at
        cursor.skip_blank()
        while cursor.peek() == "+":
            cursor.at += 1
            cursor.notes["concatenation"] += 1
            cursor.skip_blank()
            if cursor.peek() and cursor.peek() in QUOTES:
                said += read_quoted(cursor, place, brackets)
            behind = cursor.at
            cursor.skip_blank()
        # The root needs the line ends behind it: they tell lines of values from a value with text behind it.
        if not self.stack:
            cursor.at = behind
        return said

    def _regex(self) -> str:
        self.cursor.step()
        text, at = self.cursor.text, self.cursor.at
        match = (_PATH.match(text, at) if self.stack else None) or _REGEX.match(text, at)
        if match is None:
            raise UnreadableError("it has a value that begins with a slash")
        self.cursor.notes["regex"] += 1
        self.cursor.at = match.end()
        return match[0]

    def _add(self, frame: _Frame, value: JsonValue) -> None:
        if self.once and self.cursor.cut:
            raise UnreadableError("it is cut off inside a value")
        if frame.kind is Kind.OBJECT and not frame.is_set:
            frame.keys.append(frame.key)
        frame.items.append(value)

    def _continue(self, frame: _Frame) -> tuple[JsonValue, bool]:
        """The next value of an open container, or the container itself once it is closed."""
        cursor = self.cursor
        commas = self._commas()
        if (frame.items and commas > 1) or (not frame.items and commas):
            cursor.notes["extra_comma"] += 1
        frame.commas += commas
        character = cursor.peek()
        if character == "`" and _FENCE_END.match(cursor.text, cursor.at):
            cursor.notes["fence"] += 1
            cursor.at = len(cursor.text)
            character = ""
        if not character:
            if self.reopened:
                raise UnreadableError("it goes on behind its value")
            cursor.notes["truncated"] += 1
            return self._close()
        if character in _CLOSINGS:
            return self._closing(frame, character, commas)
        if frame.kind is Kind.CALL and (frame.items or commas):
            raise UnreadableError("it has a call that is no single value")
        if frame.items and not commas:
            cursor.notes["missing_comma"] += 1
        if frame.kind is Kind.OBJECT and not frame.is_set:
            return self._member(frame, character)
        try:
            value, complete = self._begin()
        except _MissingError:
            raise UnreadableError("it has an item that is no value") from None
        if complete and cursor.peek() == ":":
            raise UnreadableError("it has a key in a list")
        return value, complete

    def _commas(self) -> int:
        """Passes over commas, ellipses and blanks between items; how many commas there were."""
        cursor, commas, elided = self.cursor, 0, False
        while True:
            cursor.skip_blank()
            character = cursor.peek()
            if character == ",":
                commas += 1
                cursor.at += 1
            elif character == "\u2026" or (character == "." and cursor.text.startswith("...", cursor.at)):
                cursor.at += 1 if character == "\u2026" else 3
                cursor.notes["ellipsis"] += 1
                elided = True
            else:
                return 1 if elided else commas
            cursor.step()

    def _closing(self, frame: _Frame, character: str, commas: int) -> tuple[JsonValue, bool]:
        """A closing bracket: of this container, of one around it, or of none."""
        cursor = self.cursor
        opening = _CLOSINGS[character]
        if frame.kind.value[-1] == opening:
            cursor.at += 1
            if (
                len(self.stack) == 1
                and frame.kind is Kind.OBJECT
                and not frame.is_set
                and self._closed_early()
            ):
                cursor.notes["bracket"] += 1
                self.reopened = True
                return None, False
            if frame.items and commas and frame.kind is not Kind.TUPLE:
                cursor.notes["trailing_comma"] += 1
            if frame.kind is Kind.CALL and cursor.peek() == ";":
                cursor.at += 1
            return self._close()
        cursor.notes["bracket"] += 1
        cursor.step()
        if character == ")" and opening not in self.brackets:
            raise UnreadableError("it has a bracket of another kind")
        if opening not in self.brackets or self._is_stray(character):
            cursor.at += 1
            return None, False
        if opening not in self.brackets[1:] and self._goes_on(cursor.at + 1):
            cursor.at += 1
        return self._close()

    def _goes_on(self, at: int) -> bool:
        """Whether another member follows, so that a closing bracket here cannot be the outermost one."""
        cursor = self.cursor
        comma = cursor.follows(at)
        return cursor.text[comma : comma + 1] == "," and looks_like_key(
            cursor.text, cursor.follows(comma + 1)
        )

    def _closed_early(self) -> bool:
        """Whether quoted members go on behind the outermost brace, so that it cannot be the last."""
        cursor = self.cursor
        comma = cursor.follows(cursor.at)
        return cursor.text[comma : comma + 1] == "," and (
            _QUOTED_KEY.match(cursor.text, cursor.follows(comma + 1)) is not None
        )

    def _is_stray(self, closing: str) -> bool:
        """Whether a closing bracket is one too many: the one that belongs here follows it."""
        cursor = self.cursor
        kind = self.stack[-1].kind
        behind = cursor.follows(cursor.at + 1)
        if kind not in (Kind.OBJECT, Kind.ARRAY) or closing == ")":
            return False
        if cursor.text[behind : behind + 1] != ("}" if kind is Kind.OBJECT else "]"):
            return False
        cursor.spend(len(cursor.text) // 8)
        return cursor.text.count(closing) > cursor.text.count(_CLOSINGS[closing])

    def _close(self) -> tuple[JsonValue, bool]:
        frame = self.stack.pop()
        self.brackets = self.brackets[:-1]
        self.cursor.cut = False
        if frame.kind is Kind.OBJECT and not frame.is_set:
            return self._object(frame), True
        if frame.kind is Kind.CALL:
            return (frame.items[0] if frame.items else None), True
        if frame.kind is Kind.TUPLE:
            self.cursor.notes["tuple"] += 1
            return (frame.items[0] if len(frame.items) == 1 and not frame.commas else frame.items), True
        return frame.items, True

    def _object(self, frame: _Frame) -> JsonValue:
        members = dict(zip(frame.keys, frame.items, strict=True))
        if len(members) != len(frame.keys):
            self.cursor.notes["duplicate_key"] += 1
            if self.once:
                for key, item in zip(frame.keys, frame.items, strict=True):
                    if not same(members[key], item):
                        raise UnreadableError("it has an object with the same key twice")
        return members

    def _member(self, frame: _Frame, character: str) -> tuple[JsonValue, bool]:
        """The next key of an object, and the value that belongs to it if it is a scalar."""
        cursor = self.cursor
        if character in "{[":
            # An object whose end is missing, and the next one after it.
            if len(self.stack) > 1 and self.stack[-2].kind is Kind.ARRAY:
                cursor.notes["bracket"] += 1
                return self._close()
            raise UnreadableError("it has an object with a value where a key should be")
        key = self._key(character)
        if _NO_KEY.match(key):
            raise UnreadableError("it has an object without a key where one should be")
        cursor.skip_blank()
        following = cursor.peek()
        if following == ":" or following == "=":
            cursor.at += 1
            if following == "=" or cursor.peek() in (">", "="):
                cursor.notes["colon"] += 1
                cursor.at += cursor.peek() == ">"
            return self._value_of(frame, key)
        if not following:
            cursor.notes["truncated"] += 1
            # A name that was cut off says nothing where it is empty, or is one that has its value.
            return self._valueless(frame, key) if key and key not in frame.keys else (None, False)
        if following in ",}" and not frame.items and character in QUOTES:
            return self._becomes_set(frame, key, following)
        if following in QUOTES and looks_like_key(cursor.text, cursor.at):
            raise UnreadableError("it has a word that is neither a key nor a value")
        if following in QUOTES or following in "{[-" or following.isalnum():
            cursor.notes["missing_colon"] += 1
            return self._value_of(frame, key)
        raise UnreadableError("it has a key without a value")

    def _key(self, character: str) -> str:
        cursor = self.cursor
        if character in _PREFIXES:
            self._skip_prefix()
            character = cursor.peek()
        if character in QUOTES:
            return read_quoted(cursor, Place.KEY, self.brackets)
        key = read_bare_key(cursor)
        if key is None:
            raise UnreadableError("it has an object without a key where one should be")
        return key

    def _becomes_set(self, frame: _Frame, first: str, following: str) -> tuple[JsonValue, bool]:
        """``{"a", "b"}`` is a set in Python; with one member or without its end it may be anything."""
        cursor = self.cursor
        next_at = cursor.follows(cursor.at + 1)
        if following != "," or cursor.text[next_at : next_at + 1] in ("", "}", "]"):
            raise UnreadableError("it has a key without a value")
        cursor.notes["set"] += 1
        frame.is_set = True
        return first, True

    def _value_of(self, frame: _Frame, key: str) -> tuple[JsonValue, bool]:
        cursor = self.cursor
        cursor.skip_blank()
        following = cursor.peek()
        frame.key = key
        if not following:
            cursor.notes["truncated"] += 1
            return self._valueless(frame, key)
        if following in ",}]":
            cursor.notes["missing_value"] += 1
            return self._valueless(frame, key)
        try:
            return self._begin()
        except _MissingError:
            raise UnreadableError("it has a key without a value") from None

    def _valueless(self, frame: _Frame, key: str) -> tuple[JsonValue, bool]:
        """A member without its value: nothing is known of it, so it is null or left out."""
        frame.key = key
        self.cursor.cut = False
        return None, not self.once
