"""Characters that a person who approves cannot see, or that change what they see.

An argument that reads as one thing and is another defeats the person who is asked. So arguments that decide
(recipients, amounts, ids) hold none of them, and neither does text for people that a model or a tool wrote.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping

from app.data_plane.gateway.origins import Origin, Provenance
from app.kernel.tool_spec import ToolSpec
from interlock.canonical import JsonObject, JsonValue

MAX_DEPTH = 32
"""Containers inside containers that are looked into; deeper ones are refused by whoever checks arguments."""

# Control, format, surrogate, private-use and unassigned characters, and the separators that break lines.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Of letters and marks that show nothing, though Unicode counts them as visible: fillers, variation selectors.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# Needed to write Persian or Hindi, family emoji, and numbers inside Arabic or Hebrew text.
_IN_CONTENT = frozenset("\n\t\r\u200c\u200d\u200e\u200f\ufe0e\ufe0f")
_SUSPECT = re.compile(r"[^\x20-\x7e\xa1-\xac\xae-\u02ff]")


def hidden(text: str, *, content: bool = False) -> str | None:
    """The first hidden character of ``text`` as ``U+202E``, or nothing.

    Invisible, bidirectional, tag, control, private-use, unassigned and surrogate characters are hidden. In content,
    line breaks, tabs, joiners (U+200C, U+200D), direction marks (U+200E, U+200F) and the two variation
    selectors of emoji are not: languages are written with them.
    """
    if text.isascii() and text.isprintable():
        return None
    for found in _SUSPECT.finditer(text):
        character = found.group()
        if content and character in _IN_CONTENT:
            continue
        if unicodedata.category(character) in _HIDDEN or _BLANK.match(character):
            return f"U+{ord(character):04X}"
    return None


def check_hidden(spec: ToolSpec, arguments: JsonObject, provenance: Mapping[str, Provenance]) -> list[str]:
    """What hides in these arguments: a clause for each, with its path and code point and never its value.

    Control arguments may hold nothing hidden. Content may not either when a model or a tool's text is in it; names
    of members count as control, wherever they stand.
    """
    content = content_arguments(spec)
    return [
        problem
        for name, value in arguments.items()
        for problem in _problems(name, value, name in content, provenance.get(name))
    ]


def content_arguments(spec: ToolSpec) -> frozenset[str]:
    """The arguments that are text for people; all others decide what happens, and are control."""
    properties = spec.input_schema.get("properties")
    if not isinstance(properties, Mapping):
        return frozenset()
    return frozenset(
        name
        for name, schema in properties.items()
        if isinstance(schema, Mapping) and schema.get("x-interlock") == "content"
    )


def _problems(name: str, value: JsonValue, content: bool, known: Provenance | None) -> Iterator[str]:
    if (code := hidden(name)) is not None:
        yield f"an argument's name has the hidden character {code}"
        return
    if content and known is not None and not {Origin.MODEL, Origin.TOOL_TEXT} & set(known.origins):
        return
    for path, text, is_name in _texts(name, value, 0):
        if (code := hidden(text, content=content and not is_name)) is not None:
            yield f"{path}: it has the hidden character {code}"


def _texts(path: str, value: JsonValue, depth: int) -> Iterator[tuple[str, str, bool]]:
    """Every text with its path, and whether it is a member's name, which is not made a part of the path."""
    if isinstance(value, str):
        yield path, value, False
    elif depth >= MAX_DEPTH:
        return
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield path, name, True
            yield from _texts(f"{path}.*", item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(f"{path}[]", item, depth + 1)
