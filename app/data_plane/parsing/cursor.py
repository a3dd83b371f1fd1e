"""A place in a text that is being read, what was repaired so far, and how much work is left."""

from __future__ import annotations

import re
from collections import Counter

from app.data_plane.parsing.outcome import UnreadableError

_SPACE = "\\s\u180e\u200b-\u200d\u2060\ufeff"
_PLAIN_SPACES = re.compile(r"[ \t\r\n]*+")
_SPACES = re.compile(f"[{_SPACE}]*+")
_SPACES_IN_LINE = re.compile("(?:[^\\S\n]|[\u180e\u200b-\u200d\u2060\ufeff])*+")
_LINE = re.compile(r"[^\n]*+")

_WORK_PER_CHARACTER = 12
_WORK_AT_LEAST = 5_000
_MAX_STEPS = 120_000
_AT_ONCE = frozenset('"{}[]:,abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-')


class TooMuchError(UnreadableError):
    """The answer as a whole is too much to read: no other reading of it is tried."""


class Steps:
    """Counts the tokens that reading one answer took; shared by all attempts at it."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _MAX_STEPS


class Cursor:
    """Reads forward through ``text`` from ``at``.

    ``work`` is what all looking ahead and all going back may cost together. It makes the reader linear by
    construction, whatever the text.
    """

    __slots__ = ("at", "cut", "notes", "steps", "text", "work")

    def __init__(self, text: str, steps: Steps | None = None) -> None:
        self.text = text
        self.at = 0
        self.steps = steps or Steps()
        self.notes: Counter[str] = Counter()
        self.work = _WORK_AT_LEAST + _WORK_PER_CHARACTER * len(text)
        self.cut = False
        """Whether the number or word that was read last ends where the text does, so that it may have gone on."""

    def spend(self, characters: int) -> None:
        """Account for characters that were looked at; refuses when it becomes too much."""
        self.work -= characters
        if self.work < 0:
            raise TooMuchError("too much of it is broken")

    def step(self) -> None:
        """Account for one token."""
        self.steps.left -= 1
        if self.steps.left < 0:
            raise TooMuchError("it is broken and has too many parts")

    def peek(self) -> str:
        """The next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def follows(self, start: int, *, in_line: bool = False) -> int:
        """Where the first character from ``start`` stands that is no space."""
        match = (_SPACES_IN_LINE if in_line else _SPACES).match(self.text, start)
        end = match.end() if match else start
        if end > start:
            self.spend(end - start)
        return end

    def before(self, start: int, low: int) -> int:
        """Where the last character before ``start`` stands that is no space, or ``low - 1``."""
        place = start - 1
        while place >= low and self.text[place].isspace():
            place -= 1
        self.spend(start - place)
        return place

    def skip_blank(self) -> None:
        """Pass over spaces and comments."""
        text = self.text
        if text[self.at : self.at + 1] in _AT_ONCE:
            return
        while True:
            match = _PLAIN_SPACES.match(text, self.at)
            start, self.at = self.at, match.end() if match else self.at
            character = text[self.at : self.at + 1]
            if character == "/":
                if not self._skip_comment():
                    return
            elif character == "#":
                if not self._skip_hash_comment(start):
                    return
            elif character > "~" and (match := _SPACES.match(text, self.at)) and match.end() > self.at:
                self.notes["special_space"] += 1
                self.at = match.end()
            else:
                return

    def _skip_comment(self) -> bool:
        text = self.text
        if text.startswith("/*", self.at):
            end = text.find("*/", self.at + 2)
            self.at = len(text) if end < 0 else end + 2
        elif text.startswith("//", self.at):
            self._skip_line()
        else:
            return False
        self.notes["comment"] += 1
        return True

    def _skip_hash_comment(self, start: int) -> bool:
        alone = start == 0 or "\n" in self.text[start - 1 : self.at]
        following = self.text[self.at + 1 : self.at + 2]
        if not alone and following and not following.isspace():
            return False
        self._skip_line()
        self.notes["comment"] += 1
        return True

    def _skip_line(self) -> None:
        match = _LINE.match(self.text, self.at)
        self.at = match.end() if match else self.at
