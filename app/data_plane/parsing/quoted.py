"""Strings in quotes of any kind: where they end, and what they say.

A quote inside the text may be the string's end or belong to what it says. What follows decides: after the end of
a member's value comes a comma and another key, or a closing bracket; after the end of an item, the next item.
"""

from __future__ import annotations

import re
from enum import Enum

from app.data_plane.parsing.cursor import Cursor
from app.data_plane.parsing.escapes import unescaped, with_backslashes
from app.data_plane.parsing.outcome import UnreadableError

QUOTES = "\"'`\u00b4\u2018\u2019\u201c\u201d\u201e\uff02"
_SINGLE = "'`\u00b4\u2018\u2019"
_DOUBLE = '"\u201c\u201d'
_ENDS = {
    '"': '"',
    "'": "'",
    **dict.fromkeys("`\u00b4\u2018\u2019", _SINGLE),
    "\u201c": _DOUBLE,
    "\u201d": _DOUBLE,
    "\u201e": _DOUBLE,
    "\uff02": "\uff02",
}
_RUNS = {quote: re.compile(f"[^{ends}\\\\\x00-\x1f]*+") for quote, ends in _ENDS.items()}
_TEXT_CONTROLS = "\b\f\n\r\t"

_KEY = re.compile(
    r"""\\?["'`\u00b4\u2018\u2019\u201c\u201d][^"\n]{0,200}?\\?["'`\u00b4\u2018\u2019\u201c\u201d]\s{0,20}:"""
    r"""|(?:[^\W\d]|\$)[\w$.-]{0,100}["'`\u00b4\u2018\u2019\u201c\u201d]?\s{0,20}:(?!//)"""
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
_TRIPLED = re.compile("\"\"\"|'''|```")
_AFTER_TRIPLED = re.compile(r"\s*+(?:[,}\])]|$)|[^\S\n]*+\n\s*+[\"'\w]")
_LANGUAGE = re.compile(r"[^\S\n]*[\w+#.-]*[^\n`]{0,80}\n")
_DOUBLED_SINGLE = re.compile(r"''([^'\\\n]++)''(?=\s*+[:,}\]])")
_FENCE_BEHIND = re.compile(r"`{3}[\s`\]})]*+$")
_FENCE_AT_END = re.compile(r"\s*+`{3,}\s*+$")
_WORD_AND_KEY = re.compile(r"[\w ]{1,40}[\"'][^\"'\n]{1,60}[\"']\s{0,20}:")
_NUMBER_AS_KEY = re.compile(r"\d{1,9}\s{0,20}:\s")
_BARE_KEY_BEFORE = re.compile(r",\s{0,20}[A-Za-z_]\w{0,60}\s{0,20}:\s{0,20}$")
_BARE_KEY_INSIDE = re.compile(r",\s{0,20}[A-Za-z_]\w{0,60}\s{0,20}:(?!//)")
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
        self.names_key = False
        """Whether its first inner quote stands behind what may be the next key."""
        self.itself = False
        """Whether a backslash stands for itself."""

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
                    if self.names_key and self.inner % 2:
                        raise UnreadableError("it has a string of which the end cannot be told")
                    cursor.spend(at - self.start)
                    cursor.at = at + 1
                    return "".join(self.parts)
                if (end := self._missing_end(at)) is not None:
                    return self._ended_before(end)
                if not self.inner and self.place is Place.MEMBER:
                    self.names_key = _BARE_KEY_BEFORE.search(text, max(self.start, at - 150), at) is not None
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
        said, length, code = unescaped(self.text, at, _ENDS[self.quote])
        self.parts.append(said)
        if code:
            self.cursor.notes["bad_escape" if code == "backslash" else code] += 1
            self.itself |= code == "backslash"
        return at + length

    def _is_end(self, at: int) -> bool:
        """Whether the quote at ``at`` ends the string, judged by what follows it."""
        text, cursor = self.text, self.cursor
        next_at = cursor.follows(at + 1, in_line=True)
        character = text[next_at : next_at + 1]
        if self.place is Place.KEY:
            return self._ends_key(at, next_at, character)
        if not character:
            return True
        if text[at] != self.quote == "`" and next_at == at + 1 and character in QUOTES:
            return False
        if character == "\n":
            return self._ends_line(cursor.follows(next_at))
        if character == ",":
            return self._ends_before_comma(next_at)
        if character in "]})":
            return self._ends_before_closing(at, next_at, character)
        if character == "`" and _FENCE_BEHIND.match(text, next_at):
            return True
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
                if self.inner % 2 and character not in QUOTES and character != "{" and self.quote in _DOUBLE:
                    raise UnreadableError("it has a string of which the end cannot be told")
                return True
            if self.inner % 2:
                return False
            if _WORD_AND_KEY.match(text, next_at):
                raise UnreadableError("it has a word that is neither a key nor a value")
            return (
                "\n" in text[comma:next_at]
                or character in QUOTES
                or character == "["
                or _NUMBER_AS_KEY.match(text, next_at) is not None
            )
        if character in QUOTES or character in "{[(-\u2026" or character.isdigit():
            return True
        return not self.inner % 2

    def _ends_before_closing(self, at: int, next_at: int, closing: str) -> bool:
        """A closing bracket after the quote: it must be one that is open, and not one that the string opened."""
        opening = _CLOSED[closing]
        if opening not in self.open_brackets:
            rest = _ONLY_CLOSINGS.match(self.text, next_at)
            return closing != ")" and not self.inner % 2 and rest is not None
        text, cursor = self.text, self.cursor
        if _AFTER_CLOSING.match(text, next_at) and not self.inner:
            return True
        cursor.spend(at - self.start)
        if text.count(opening, self.start, at) <= text.count(closing, self.start, at):
            return True
        # The string opened this bracket itself, so that it may well be the string's own.
        comma = cursor.follows(next_at + 1)
        if text[comma : comma + 1] != ",":
            return _AFTER_CLOSING.match(text, next_at) is not None
        behind = cursor.follows(comma + 1)
        return text[behind : behind + 1] in ("", *QUOTES, "{", "[") or looks_like_key(text, behind)

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
        if previous == "," and (last < at - 1 or not self.inner % 2):
            if self.inner:
                raise UnreadableError("it has a string of which the end cannot be told")
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
        fence = _FENCE_AT_END.search(text, max(self.start, len(text) - 200))
        behind = fence.start() if fence and self.open_brackets else len(text)
        last = cursor.before(behind, self.start)
        final = text[last] if last >= self.start else ""
        if self.place is Place.KEY and (colon := text.find(":", self.start)) >= 0:
            return self._ended_before(colon)
        if self.inner and (self.place is Place.KEY or (final and final in "]}")):
            raise UnreadableError("it has a string of which the end cannot be told")
        if (
            self.place is Place.ITEM
            and final
            and final in ",]}+"
            and (stop := self._stop(behind)) is not None
        ):
            return self._ended_before(stop)
        if self.place is Place.MEMBER and final and final in "]}":
            end = cursor.before(self._before_closings(behind), self.start)
            if _BARE_KEY_INSIDE.search(text, self.start, end):
                raise UnreadableError("it has a string of which the end cannot be told")
            said = self._ended_before(end + (text[end] != ","))
            return said[:-1] if said[-1:] == "\u201d" and "\u201c" not in said else said
        if final == "+" and self.place is not Place.KEY:
            return self._ended_before(last)
        cursor.notes["truncated"] += 1
        cursor.notes["cut_text"] += 1
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
            if tripled[0] == "```" and (language := _LANGUAGE.match(said)):
                # A fenced block as a value: its code is meant.
                said = said[language.end() :].rstrip(" \t").removesuffix("\n")
            return said
    if quote != '"':
        cursor.notes["single_quotes" if quote == "'" else "other_quotes"] += 1
    if doubled := _DOUBLED_SINGLE.match(cursor.text, cursor.at):
        cursor.at = doubled.end()
        cursor.notes["doubled_quotes"] += 1
        return doubled[1]
    quoted = _Quoted(cursor, place, open_brackets)
    said = quoted.read()
    if quoted.itself:
        said = with_backslashes(said, cursor.text[quoted.start : cursor.at - 1])
    if quoted.inner == 1 and said[0] == quote and len(said) > 1:
        # One quote too many where the string begins.
        said = said[1:]
    if quoted.inner:
        cursor.notes["inner_quote"] += 1
    return said
