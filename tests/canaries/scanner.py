"""Looks for markers in what left the system, in every form that one may take there.

The text is looked at as it is and after each way of writing it was undone: base64 (both alphabets, at any offset),
hexadecimal, percent-encoding, JSON's escapes, UTF-16; again and again, as a message is base64 in JSON in a list.
Nothing less than eight characters in a row counts, and nothing more is asked for.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.canaries.markers import WINDOW, Marker

DEPTH = 4
"""How many ways of writing may lie inside each other."""

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{11,}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){8,}")
_PERCENT = re.compile(rb"%([0-9a-fA-F]{2})")
_ESCAPE = re.compile(rb"\\+(?:u00([0-9a-fA-F]{2})|x([0-9a-fA-F]{2})|([/\"'n\\]))")
_URLSAFE = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """Eight characters of a marker that stood in a sink."""

    sink: str
    place: str
    kind: str
    window: str


class Scanner:
    """Finds any of these markers.

    Raises ValueError when two of them share a window: a hit would not tell which one leaked.
    """

    def __init__(self, markers: Iterable[Marker]) -> None:
        self._by_window: dict[int, tuple[Marker, str]] = {}
        for one in markers:
            for window in one.windows():
                key = int.from_bytes(window.encode(), "little")
                known = self._by_window.setdefault(key, (one, window))
                if known[0] != one:
                    raise ValueError(f"{window!r} is of {one} and of {known[0]}")
        self._keys = frozenset(self._by_window)

    def scan(self, sink: str, content: bytes) -> set[Hit]:
        """What stands in ``content``, in whatever form."""
        found: set[Hit] = set()
        for form in _forms(content, DEPTH):
            for key in self._windows(form):
                one, window = self._by_window[key]
                found.add(Hit(sink, one.place, one.kind, window))
        return found

    def _windows(self, form: bytes) -> Iterator[int]:
        """The windows of markers in it: every eight bytes, read as a number."""
        for offset in range(WINDOW):
            whole = (len(form) - offset) // WINDOW * WINDOW
            numbers = memoryview(form)[offset : offset + whole].cast("B").cast("Q") if whole > 0 else ()
            if not self._keys.isdisjoint(numbers):
                yield from self._keys.intersection(numbers)


def _forms(content: bytes, depth: int) -> Iterator[bytes]:
    """The text, and whatever comes out when its ways of writing are undone; nothing of it twice."""
    waiting, known = [(content, depth)], {content}
    while waiting:
        form, left = waiting.pop()
        yield form
        if left == 0:
            continue
        written = (_without_nulls, _unescaped, _unquoted, _from_base64, _from_hex)
        for other in (undo(form) for undo in written):
            if len(other) >= WINDOW and other not in known:
                known.add(other)
                waiting.append((other, left - 1))


def _without_nulls(content: bytes) -> bytes:
    """UTF-16 and UTF-32 of these markers, which are all ASCII."""
    return content.replace(b"\0", b"")


def _unescaped(content: bytes) -> bytes:
    if b"\\" not in content:
        return content
    return _ESCAPE.sub(_character, content)


def _character(match: re.Match[bytes]) -> bytes:
    code = match[1] or match[2]
    if code:
        return bytes.fromhex(code.decode())
    return {b"n": b"\n"}.get(match[3], match[3])


def _unquoted(content: bytes) -> bytes:
    if b"%" not in content and b"+" not in content:
        return content
    decoded = _PERCENT.sub(lambda match: bytes.fromhex(match[1].decode()), content)
    return decoded.replace(b"+", b" ")


def _from_base64(content: bytes) -> bytes:
    pieces = []
    for match in _BASE64.finditer(content):
        run = match[0].translate(_URLSAFE)
        for offset in range(4):
            part = run[offset:]
            part = part[: len(part) // 4 * 4] if len(part) % 4 == 1 else part + b"=" * (-len(part) % 4)
            decoded = binascii.a2b_base64(part)
            if _is_mostly_text(decoded):
                pieces.append(decoded)
    return b"\n".join(pieces)


def _is_mostly_text(decoded: bytes) -> bool:
    """What is text for eight bytes somewhere; a digest that is taken for base64 hardly ever is."""
    return _TEXT.search(decoded) is not None


_TEXT = re.compile(rb"[\x20-\x7e\n]{8}|(?:[\x20-\x7e]\0){8}|(?:\0[\x20-\x7e]){8}")


def _from_hex(content: bytes) -> bytes:
    pieces = []
    for match in _HEX.finditer(content):
        decoded = bytes.fromhex(match[0].decode())
        if _is_mostly_text(decoded):
            pieces.append(decoded)
    return b"\n".join(pieces)
