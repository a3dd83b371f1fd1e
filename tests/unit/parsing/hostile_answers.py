"""Answers that would be quadratic, deep or huge for a careless reader: one short piece, over and over."""

from __future__ import annotations

_PIECES = (
    "{", "[", "(", "}", "]", '"', "'", "`", "\\", ",", ":", "-", ".", "+", "/", "#", "$", "<", "|", "*", "0", "9", "a",
    " ", "\n", "\t", "\u201c", "\u00a0", "/*", "//", "```", "```\n", "```json\n{", "~~~", "...", "\\u", '\\"', '"a',
    '" ', '"\n', '",', '",\n', '", ', '"+', '"a"+', '["', '{"', "{'", '{"a":', '{"a": "x ', '["a, x "b', "['a' 'b",
    '{a":', '{"a:', '{"a":1,b":2,', '{"a" ', '{a=', '"a, "b": ', '"a": ', '"a":1,', "{}", "[]", "{},", "[{", "[}",
    '{"a":[}', "1,", "x,", "x y,", "1 ", "-1e", "f(", "a[", "u'", '("', "(1,", '"/*', '" // ', "# c\n", "// c\n",
    "/a", "http://", 'the {"a": "b ', 'x {"a":', "\n{", "a: b\n", "severity: high\n", "**severity**", "<severity>",
    "- a\n", "| severity |\n", "<think>", "</think", 'final: {"a":1}\n', '{"severity":"high"} ', "high ", "1,000,",
    '"""', "'''", '""a""', "\u2026", "\U0001f600", '{"a":"b","a":', "null", "tru", "NaN,", "{...", "+-", "\x00", "\x7f",
    '{"a": /[/', '```\n{"a": "```', '[{"a":1}}]', '{"a": "b, c: "', "''a", '{"a": """b\n"', '{"a": "\\s\\d(',
    "severity is ", '{"a": {"b": "c"}, d', '{"a": 1}, "b": ', "| severity |\n|---|\n", "**severity**\n",
    "\u201ea\u201c: ",
)  # fmt: skip
_BEFORE = ("", "[", '{"k": "', "{")
NAMES = tuple(f"{before!r} then {piece!r}" for piece in _PIECES for before in _BEFORE)


def hostile_answer(name: str, size: int) -> str:
    """The text of ``size`` characters that one of ``NAMES`` names."""
    position = NAMES.index(name)
    piece, before = _PIECES[position // len(_BEFORE)], _BEFORE[position % len(_BEFORE)]
    return (before + piece * (size // len(piece) + 1))[:size]
