"""Strings in quotes of any kind: where they end, and what they say.

A quote inside the text may be the string's end or belong to what it says. What follows decides: after the end of
a member's value comes a comma and another key, or a closing bracket; after the end of an item, the next item.
"""

from __future__ import annotations

import re
from enum import Enum

from app.data_plane.parsing.cursor import Cursor
from app.data_plane.parsing.outcome import UnreadableError

QUOTES = "\"'`\u00b4\u2018\u2019\u201c\u201d"
_SINGLE = "'`\u00b4\u2018\u2019"
_DOUBLE = '"\u201c\u201d'
_ENDS = {
    '"': '"',
    "'": "'",
    **dict.fromkeys("`\u00b4\u2018\u2019", _SINGLE),
    "\u201c": _DOUBLE,
    "\u201d": _DOUBLE,
}
_RUNS = {quote: re.compile(f"[^{ends}\\\\\x00-\x1f]*+") for quote, ends in _ENDS.items()}
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_TEXT_CONTROLS = "\b\f\n\r\t"
_HEX = re.compile(r"[0-9A-Fa-f]{0,4}")
_LOW_SURROGATE = re.compile(r"\\u([dD][c-fC-F][0-9A-Fa-f]{2})")

_KEY = re.compile(
    r"""\\?["'`\u00b4\u2018\u2019\u201c\u201d][^"\n]{0,200}?\\?["'`\u00b4\u2018\u2019\u201c\u201d]\s{0,20}:"""
    r"""|[A-Za-z_$][\w$.-]{0,100}["'`\u00b4\u2018\u2019\u201c\u201d]?\s{0,20}:(?!//)"""
)
_AFTER_CLOSING = re.compile(r"[\]})]\s{0,200}(?:$|[,\]})\];{\[`#]|//|/\*|\\)|[\]})][^\S\n]{0,100}(?:\n|$)")
_CLEAN = r'"([^"\\\x00-\x1f]*+)"'
# What needs no second look: the string as nearly every one is written, with what nearly always follows it.
_COMMON = {
    "key": re.compile(_CLEAN + r"(?=\s*+:)"),
    "member": re.compile(_CLEAN + r"""(?=\s*+(?:,\s*+"[^"\\\n]{1,100}+"\s*+:|\}\s*+(?:[,}\]]|$)))"""),
    "item": re.compile(_CLEAN + r"""(?=\s*+(?:,\s*+["{\[]|\]\s*+[,}\]]))"""),
    "root": re.compile(_CLEAN + r"\s*+$"),
}
_TRIPLED = re.compile("\"\"\"|'''")
_AFTER_TRIPLED = re.compile(r"\s*+(?:[,}\])]|$)")
_ONLY_CLOSINGS = re.compile(r"[ \t\r\n\]})`;,]*+$")
_KEYWORD = re.compile(r"(?:true|false|null|True|False|None|undefined)(?![\w$])")
_STOPS = re.compile(r"[,\]}\n+]|(?<!:)//|/\*")
_CLOSED = {"]": "[", "}": "{", ")": "("}


class Place(Enum):
    """Where a string stands, which tells what may follow it."""

    KEY = "key"
    MEMBER = "member"
    ITEM = "item"
    ROOT = "root"


def looks_like_key(text: str, at: int) -> bool:
    """Whether a name with its colon stands at ``at``."""
    return _KEY.match(text, at) is not None


class _Quoted:
    """One string, as far as it has been read."""

    def __init__(self, cursor: Cursor, place: Place, open_brackets: str) -> None:
        self.cursor = cursor
        self.text = cursor.text
        self.place = place
        self.open_brackets = open_brackets
        self.quote = self.text[cursor.at]
        self.start = cursor.at + 1
        self.parts: list[str] = []
        self.inner = 0

    def read(self) -> str:
        cursor, text, ends, run = self.cursor, self.text, _ENDS[self.quote], _RUNS[self.quote]
        at = self.start
        while True:
            match = run.match(text, at)
            assert match is not None
            if match.end() > at:
                self.parts.append(match[0])
            at = match.end()
            if at >= len(text):
                return self._unended()
            character = text[at]
            if character == "\\":
                at = self._escape(at)
            elif character in ends:
                if self._is_end(at):
                    cursor.spend(at - self.start)
                    cursor.at = at + 1
                    return "".join(self.parts)
                if (end := self._missing_end(at)) is not None:
                    return self._ended_before(end)
                self.inner += 1
                cursor.step()
                self.parts.append(character)
                at += 1
            else:
                if character not in _TEXT_CONTROLS:
                    raise UnreadableError("it has a control character that no text has")
                cursor.notes["control_character"] += 1
                self.parts.append(character)
                at += 1

    def _escape(self, at: int) -> int:
        text, cursor = self.text, self.cursor
        character = text[at + 1 : at + 2]
        if character == "u":
            return self._unicode_escape(at)
        if not character:
            cursor.notes["truncated"] += 1
        elif character in _ESCAPES:
            self.parts.append(_ESCAPES[character])
        else:
            if character not in '"\\/' and character not in _ENDS[self.quote]:
                cursor.notes["bad_escape"] += 1
            self.parts.append(character)
        return at + 2

    def _unicode_escape(self, at: int) -> int:
        text = self.text
        digits = _HEX.match(text, at + 2)
        assert digits is not None
        if len(digits[0]) < 4:
            if digits.end() < len(text):
                raise UnreadableError("it has a broken \\u escape")
            self.cursor.notes["truncated"] += 1
            return len(text)
        code = int(digits[0], 16)
        if 0xD800 <= code < 0xDC00 and (low := _LOW_SURROGATE.match(text, at + 6)):
            self.parts.append(chr(0x10000 + ((code - 0xD800) << 10) + int(low[1], 16) - 0xDC00))
            return at + 12
        self.parts.append(chr(code))
        return at + 6

    def _is_end(self, at: int) -> bool:
        """Whether the quote at ``at`` ends the string, judged by what follows it."""
        text, cursor = self.text, self.cursor
        next_at = cursor.follows(at + 1, in_line=True)
        character = text[next_at : next_at + 1]
        if self.place is Place.KEY:
            return self._ends_key(at, next_at, character)
        if not character:
            return True
        if character == "\n":
            return self._ends_line(cursor.follows(next_at))
        if character == ",":
            return self._ends_before_comma(next_at)
        if character in "]})":
            return self._ends_before_closing(at, next_at, character)
        if character in QUOTES:
            return self._ends_before_quote(at, next_at)
        if character == "/":
            return text[next_at + 1 : next_at + 2] in ("/", "*")
        if character == "#":
            return text[next_at + 1 : next_at + 2].isspace()
        if character == "+":
            after = cursor.follows(next_at + 1)
            return after >= len(text) or text[after] in QUOTES or text.startswith("/*", after)
        if self.place is Place.MEMBER:
            return not self.inner % 2 and next_at > at + 1 and looks_like_key(text, next_at)
        if self.place is Place.ITEM:
            return character in "{[:" or (character.isdigit() and not self.inner % 2)
        return character in ":`" or (character == "\\" and next_at + 1 == len(text))

    def _ends_key(self, at: int, next_at: int, character: str) -> bool:
        text = self.text
        if character == "\n":
            next_at = self.cursor.follows(next_at)
            character = text[next_at : next_at + 1]
        if not character or character in ":=,}]":
            return True
        if character in QUOTES:
            return next_at > at + 1
        return character in "{[-" or character.isdigit() or _KEYWORD.match(text, next_at) is not None

    def _ends_line(self, next_at: int) -> bool:
        """The quote is the last of its line: an end, unless it closes a phrase inside the string."""
        text = self.text
        character = text[next_at : next_at + 1]
        if not self.inner % 2 or not character or character in ",]})+":
            return True
        if self.place is Place.MEMBER:
            return looks_like_key(text, next_at)
        return character in QUOTES or character in "{["

    def _ends_before_comma(self, comma: int) -> bool:
        text, cursor = self.text, self.cursor
        next_at = cursor.follows(comma + 1)
        character = text[next_at : next_at + 1]
        if not character or character in "]})," or text.startswith(("//", "/*", "..."), next_at):
            return True
        if self.place is Place.MEMBER:
            if looks_like_key(text, next_at) or character == "{":
                return True
            return not self.inner % 2 and ("\n" in text[comma:next_at] or character in QUOTES)
        if character in QUOTES or character in "{[(-\u2026" or character.isdigit():
            return True
        return not self.inner % 2

    def _ends_before_closing(self, at: int, next_at: int, closing: str) -> bool:
        """A closing bracket after the quote: it must be one that is open, and not one that the string opened."""
        opening = _CLOSED[closing]
        if opening not in self.open_brackets:
            rest = _ONLY_CLOSINGS.match(self.text, next_at)
            return closing != ")" and not self.inner % 2 and rest is not None
        if _AFTER_CLOSING.match(self.text, next_at):
            return True
        self.cursor.spend(at - self.start)
        return self.text.count(opening, self.start, at) <= self.text.count(closing, self.start, at)

    def _ends_before_quote(self, at: int, next_at: int) -> bool:
        """Another quote follows: the next key or item, or the real end of this string."""
        text, cursor = self.text, self.cursor
        if self.place is Place.MEMBER:
            return looks_like_key(text, next_at)
        if self.place is Place.ROOT:
            return not self.inner % 2 and next_at > at + 1
        after = cursor.follows(next_at + 1)
        real_end = after >= len(text) or text[after] in ",]}:)\n"
        return not self.inner % 2 and not real_end

    def _missing_end(self, at: int) -> int | None:
        """Where the string ended if the quote at ``at`` opens the next one; nothing if it is just inside."""
        text, cursor = self.text, self.cursor
        last = cursor.before(at, self.start)
        if last < self.start:
            return None
        previous = text[last]
        if self.place is Place.KEY:
            colon = text.find(":", self.start, at)
            cursor.spend(at - self.start)
            return colon if colon >= 0 else None
        if self.place is Place.MEMBER:
            if not looks_like_key(text, at):
                return self._stop(at) if previous == "+" and not self.inner else None
            if previous == ",":
                return self._before_closings(last)
            return self._before_closings(last + 1) if "\n" in text[last:at] else None
        if previous == "," and not self.inner % 2:
            return last
        if self.inner == 0 and (previous == "+" or text[last - 1 : last + 1] == "*/"):
            return self._stop(at)
        if self.place is Place.ITEM and not self.inner % 2 and "\n" in text[last:at]:
            return last + 1
        return None

    def _stop(self, before: int) -> int | None:
        self.cursor.spend(before - self.start)
        match = _STOPS.search(self.text, self.start, before)
        return match.start() if match else None

    def _before_closings(self, end: int) -> int:
        """``end``, or in front of closing brackets there that the string itself did not open."""
        text = self.text
        self.cursor.spend(4 * (end - self.start))
        surplus = {
            closing: text.count(closing, self.start, end) - text.count(opening, self.start, end)
            for closing, opening in _CLOSED.items()
        }
        while (last := self.cursor.before(end, self.start)) >= self.start:
            closing = text[last]
            if closing not in "]}" or surplus[closing] <= 0:
                break
            surplus[closing] -= 1
            end = last
        return end

    def _unended(self) -> str:
        """The text ended inside the string: either it is cut off, or only this string's end is missing."""
        text, cursor = self.text, self.cursor
        cursor.spend(2 * (len(text) - self.start))
        last = cursor.before(len(text), self.start)
        final = text[last] if last >= self.start else ""
        if self.place is Place.KEY and (colon := text.find(":", self.start)) >= 0:
            return self._ended_before(colon)
        if self.inner and (self.place is Place.KEY or (final and final in "]}")):
            raise UnreadableError("it has a string of which the end cannot be told")
        if (
            self.place is Place.ITEM
            and final
            and final in ",]}+"
            and (stop := self._stop(len(text))) is not None
        ):
            return self._ended_before(stop)
        if self.place is Place.MEMBER and final and final in "]}":
            end = cursor.before(self._before_closings(len(text)), self.start)
            return self._ended_before(end + (text[end] != ","))
        if final == "+" and self.place is not Place.KEY:
            return self._ended_before(last)
        cursor.notes["truncated"] += 1
        cursor.at = len(text)
        return "".join(self.parts).rstrip()

    def _ended_before(self, end: int) -> str:
        """The string again, now that its end is known."""
        cursor, text = self.cursor, self.text
        cursor.notes["missing_quote"] += 1
        cursor.spend(end - self.start)
        self.parts, self.inner = [], 0
        at = self.start
        while at < end:
            slash = text.find("\\", at, end)
            stop = end if slash < 0 else slash
            self.parts.append(text[at:stop])
            at = stop if slash < 0 else self._escape(slash)
        cursor.at = end
        return "".join(self.parts).rstrip()


def read_quoted(cursor: Cursor, place: Place, open_brackets: str) -> str:
    """The string whose opening quote stands at the cursor, which then stands behind its end.

    ``open_brackets`` are those of the containers around it, one character each.
    """
    cursor.step()
    if common := _COMMON[place.value].match(cursor.text, cursor.at):
        cursor.at = common.end()
        return common[1]
    quote = cursor.peek()
    if (tripled := _TRIPLED.match(cursor.text, cursor.at)) and place is not Place.KEY:
        end = cursor.text.find(tripled[0], tripled.end())
        cursor.spend((len(cursor.text) if end < 0 else end) - cursor.at)
        if end >= 0 and _AFTER_TRIPLED.match(cursor.text, end + 3):
            cursor.notes["triple_quotes"] += 1
            said, cursor.at = cursor.text[tripled.end() : end], end + 3
            return said
    if quote != '"':
        cursor.notes["single_quotes" if quote == "'" else "other_quotes"] += 1
    quoted = _Quoted(cursor, place, open_brackets)
    said = quoted.read()
    if quoted.inner:
        cursor.notes["inner_quote"] += 1
    return said
