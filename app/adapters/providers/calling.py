"""What the vendors' protocols share of tools: their names on the wire, and how what a model called is read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from app.data_plane.models import ModelRequest, ToolCall
from interlock.canonical import JsonValue, NotCanonicalError, canonical_bytes

MOST_CALLS = 1000
"""In one answer. Whoever calls more gave no answer: to keep some of them would make another one of it."""
MOST_CALL_CHARACTERS = 1_000_000
"""Of the calls of one answer, with their names and ids."""

_LONGEST_NAME = 64
_NAME = re.compile(rf"[a-zA-Z0-9_-]{{1,{_LONGEST_NAME}}}")
_NO_LETTER = re.compile(r"[^a-zA-Z0-9_-]")
_DIGITS = 8


class TooMuchCalledError(ValueError):
    """More calls, or longer ones, than one answer may have."""


Written = tuple[JsonValue, JsonValue, JsonValue]
"""A call's id, name and arguments as they stand in an answer: whatever that is."""


def wire_name(tool: str) -> str:
    """The name that a provider is told: a dot, which none takes, becomes ``__``.

    What is too long for that, or might then be another tool's, ends in some digits of its digest. A name that a model
    invented is shown as it is, as far as it is one.
    """
    if _NAME.fullmatch(tool):
        return tool
    name = _NO_LETTER.sub("_", tool.replace(".", "__"))
    if len(name) <= _LONGEST_NAME and "__" not in tool:
        return name or "_"
    digits = hashlib.sha256(tool.encode("utf-8", "replace")).hexdigest()[:_DIGITS]
    return f"{name[: _LONGEST_NAME - _DIGITS - 1]}_{digits}"


def calls_of(written: Sequence[Written], request: ModelRequest) -> tuple[ToolCall, ...]:
    """The calls, as the model wrote them: none is dropped or mended, so that the gateway refuses it on the record.

    A name that was not offered stays as it is, and what is absent is empty text. What should be text and is not is
    its JSON.

    Raises:
        TooMuchCalledError: there are more than ``MOST_CALLS``, or of more than ``MOST_CALL_CHARACTERS``.
    """
    if len(written) > MOST_CALLS:
        raise TooMuchCalledError
    offered = {wire_name(tool.name): tool.name for tool in request.tools}
    calls: list[ToolCall] = []
    left = MOST_CALL_CHARACTERS
    for parts in written:
        call_id, name, arguments = map(_text, parts)
        left -= len(call_id) + len(name) + len(arguments)
        if left < 0:
            raise TooMuchCalledError
        calls.append(ToolCall(call_id, offered.get(name, name), arguments))
    return tuple(calls)


def _text(value: JsonValue) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return canonical_bytes(value).decode()
    except NotCanonicalError:
        # A number that is none, as 1e999 reads: the text is no JSON, and so nobody takes it for arguments.
        return json.dumps(value)
