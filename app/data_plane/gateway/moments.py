"""Days and times as people write them in a trusted text, to compare with the ISO 8601 form that tools take.

``May 15th, 2024``, ``15 May 2024``, ``15.05.2024`` and ``2024-05-15`` are one day; ``2:30 pm`` and ``14:30`` are one
time. Where numbers alone could be read as two days (``05/06/2024``), they are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

Day = tuple[int | None, int, int]
"""Year, month and day; no year when none was written."""
Time = tuple[int, int]
"""Hour and minute."""

_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
           "november", "december")  # fmt: skip
_NUMBERS = {name[:length]: number for number, name in enumerate(_MONTHS, 1) for length in (3, len(name))} | {
    "sept": 9
}
_MONTH = rf"(?P<month>{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})\b\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})(?!\d)"
_DAYS = (
    re.compile(r"(?<![\d-])(?P<year>\d{4})-(?P<number>\d{2})-(?P<day>\d{2})(?!\d)"),
    re.compile(r"(?<![\d.])(?P<day>\d{1,2})\.(?P<number>\d{1,2})\.(?P<year>\d{4})(?!\d)"),
    re.compile(rf"\b{_MONTH}\s{{1,3}}(?:the\s)?{_DAY}(?!\w)(?:,?\s{{1,3}}{_YEAR})?", re.IGNORECASE),
    re.compile(rf"(?<![\d.:]){_DAY}\s{{1,3}}(?:of\s)?{_MONTH}(?:,?\s{{1,3}}{_YEAR})?", re.IGNORECASE),
)
_TIME = re.compile(
    r"(?<![\d:.,])(?P<hour>\d{1,2})(?::(?P<minute>\d{2}))?(?!\d|:\d)\s?(?P<half>[ap]\.?m\b)?", re.IGNORECASE
)
_ISO = re.compile(
    r"(?P<year>\d{4})-(?P<number>\d{2})-(?P<day>\d{2})"
    r"(?:[Tt ](?P<hour>\d{2}):(?P<minute>\d{2})(?P<seconds>:\d{2}(?:\.\d{1,9})?)?(?P<zone>[Zz]|[+-]\d{2}:\d{2})?)?"
)
_NOTHING_MORE = re.compile(r"(?::00(?:\.0+)?)?(?:[Zz]|[+-]00:00)?")


class Moment(NamedTuple):
    """A value that is a day, with or without a time."""

    day: Day
    time: Time | None
    is_plain: bool = True
    """It says no seconds and no other zone, which no text tells in a way that is read here."""


def moment(value: str) -> Moment | None:
    """The moment that a value in ISO 8601 form tells; None for any other value."""
    found = _ISO.fullmatch(value) if len(value) <= 40 else None
    day = _day(found) if found else None
    if found is None or day is None:
        return None
    if found["hour"] is None:
        return Moment(day, None)
    more = f"{found['seconds'] or ''}{found['zone'] or ''}"
    return Moment(day, (int(found["hour"]), int(found["minute"])), _NOTHING_MORE.fullmatch(more) is not None)


def days(text: str) -> Iterator[Day]:
    """Every day that is written in a text."""
    for pattern in _DAYS:
        for found in pattern.finditer(text):
            if (day := _day(found)) is not None:
                yield day


def times(text: str) -> Iterator[Time]:
    """Every time of day that is written in a text: with minutes, or with am or pm."""
    for found in _TIME.finditer(text):
        half = (found["half"] or "").casefold()[:1]
        if not half and found["minute"] is None:
            continue
        hour, minute = int(found["hour"]), int(found["minute"] or 0)
        if half:
            hour = hour % 12 + (12 if half == "p" else 0) if hour <= 12 else 24
        if hour < 24 and minute < 60:
            yield hour, minute


def _day(found: re.Match[str]) -> Day | None:
    parts = found.groupdict()
    month = int(parts["number"]) if parts.get("number") else _NUMBERS[str(parts["month"]).casefold()]
    day = int(parts["day"])
    year = int(parts["year"]) if parts["year"] else None
    return (year, month, day) if 1 <= month <= 12 and 1 <= day <= 31 else None
