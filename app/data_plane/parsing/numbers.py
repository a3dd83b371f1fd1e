"""Numbers and truth values that stand in texts: separators, currencies, units, percent, ``yes``.

What can be read in two ways is read in neither: ``1.234 €`` may be a thousand or one and a bit, ``5k`` may be
kelvin, ``3-5`` is two numbers. ``1.234`` alone is JSON's notation, and ``1,234`` English grouping.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

_MAX_LENGTH = 120
_CURRENCY = r"(?:US\$|[$\u20ac\u00a3\u00a5\u20b9]|[A-Z]{3}\b)"
_NUMBER = re.compile(
    rf"\s*(?P<before>{_CURRENCY})?\s*(?P<sign>[-+\u2212]?)\s?(?P<inside>[$\u20ac\u00a3\u00a5\u20b9])?\s?"
    r"(?P<digits>\d[\d.,'_\u00a0\u202f\u2009]*(?:[ ]\d{3}(?!\d))*(?:[.,]\d+)?|\.\d+)(?P<exponent>[eE][-+]?\d{1,3})?"
    r"(?P<after>\s*\S.*)?",
    re.ASCII | re.DOTALL,
)
_UNIT = re.compile(
    r"\s*(?:[^\W\d_]|[\u00b0\u00b5$\u20ac\u00a3\u00a5\u20b9\u00b2\u00b3])[^\W\d_\u00b0\u00b2\u00b3]*\.?"
    r"(?:[\s/-][^\W\d_]+[\u00b2\u00b3]?){0,2}[.]?\s*"
)
_PERCENT = re.compile(r"\s*(?:%|percent|per\s?cent)\s*\.?\s*", re.IGNORECASE)
_SCALES = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
}  # fmt: skip
_DOUBTFUL = frozenset(
    ("k", "m", "b", "bn", "mn", "mm", "tn", "or", "to", "and", "plus", "about", "than", "more", "less", "least",
     "most", "ish", "out", "of", "per")
)  # fmt: skip
_GROUPED = (
    (
        re.compile(r"\d{1,3}(?:,\d{3}){2,}|[1-9]\d{0,2}(?:,\d{3})+\.\d+|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?"),
        ",",
        ".",
    ),
    (re.compile(r"\d{1,3}(?:\.\d{3}){2,}|[1-9]\d{0,2}(?:\.\d{3})+,\d+"), ".", ","),
    (re.compile(r"\d{1,3}(?:[ '_\u00a0\u202f\u2009]\d{3})+(?:[.,]\d+)?"), " '_\u00a0\u202f\u2009", ".,"),
)
_WORDS = {
    word: number
    for number, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
        ]
    )
}
_TRUTH = {
    "true": True, "yes": True, "y": True, "on": True, "1": True,
    "false": False, "no": False, "n": False, "off": False, "0": False,
}  # fmt: skip
_TRUTH_HEAD = re.compile(
    r"[\s*_`\"']*(true|false|yes|no)\b[*_`\"']*\s*(?:[,.;:!(\u2013\u2014-]|$)", re.IGNORECASE
)
_TRUTH_WORD = re.compile(r"\b(?:true|false|yes|no|not|but|however|unless|except)\b|n't\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a text as a number, and what had to be understood for it."""

    value: int | float
    code: str


def readings(text: str) -> list[Reading]:
    """All ways in which ``text`` may be one number; several that differ mean doubt."""
    if len(text) > _MAX_LENGTH:
        return []
    if (word := _WORDS.get(text.strip().casefold())) is not None:
        return [Reading(word, "number_word")]
    match = _NUMBER.fullmatch(text)
    if match is None:
        return []
    after = match["after"] or ""
    unit = after.strip().casefold()
    euro = "\u20ac" in text or "EUR" in text
    digits = match["digits"].rstrip(".,' ")
    if digits != match["digits"] and unit:
        return []
    values = _decimals(digits, euro=euro)
    if match["exponent"]:
        values = (
            [value * Decimal(10) ** int(match["exponent"][1:]) for value in values]
            if "," not in digits
            else []
        )
    if match["sign"] in ("-", "\u2212"):
        values = [-value for value in values]
    if unit and _PERCENT.fullmatch(after):
        return [
            reading
            for value in values
            for reading in (Reading(_plain(value), "percent"), Reading(_plain(value / 100), "percent"))
        ]
    code = "number_in_string"
    if unit:
        scale = _scale(after, unit)
        if scale is None:
            return []
        values, code = [value * scale for value in values], "unit"
    elif match["before"] or match["inside"]:
        code = "unit"
    elif digits.replace(".", "").isdigit() is False:
        code = "number_format"
    return [Reading(_plain(value), code) for value in values]


def _scale(after: str, unit: str) -> int | None:
    """What a unit multiplies by: 1 for a plain one, nothing for what is none."""
    words = re.findall(r"[^\W\d_]+", unit)
    if words and words[0] in _SCALES and (len(words) == 1 or not _DOUBTFUL & set(words)):
        return _SCALES[words[0]]
    if _DOUBTFUL & set(words) or any(word in _SCALES or word in _WORDS for word in words):
        return None
    return 1 if _UNIT.fullmatch(after) else None


def _decimals(digits: str, *, euro: bool) -> list[Decimal]:
    for pattern, grouping, points in _GROUPED:
        if pattern.fullmatch(digits):
            whole = "".join("" if character in grouping else character for character in digits)
            for point in points:
                whole = whole.replace(point, ".")
            return [Decimal(whole)]
    if re.fullmatch(r"\d+", digits):
        return [Decimal(digits)] if digits == "0" or not digits.startswith("0") else []
    groups = re.fullmatch(r"[1-9]\d{0,2}([.,])\d{3}", digits)
    if groups is None:
        simple = re.fullmatch(r"\d*[.,]\d+", digits)
        return [Decimal(digits.replace(",", "."))] if simple else []
    decimal, thousands = Decimal(digits.replace(",", ".")), Decimal(digits.replace(",", "").replace(".", ""))
    if euro:
        return [decimal, thousands]
    return [decimal] if groups[1] == "." else [thousands]


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def truth(text: str) -> bool | None:
    """The truth value that ``text`` is, or begins with before a remark that does not contradict it."""
    word = text.strip(" \t\r\n*_`\"'.!").casefold()
    if word in _TRUTH:
        return _TRUTH[word]
    head = _TRUTH_HEAD.match(text)
    if head is None or len(text) > 5 * _MAX_LENGTH or _TRUTH_WORD.search(text, head.end()):
        return None
    return _TRUTH[head[1].casefold()]
