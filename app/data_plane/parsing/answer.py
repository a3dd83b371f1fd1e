"""Reads an answer: text in, a value that fits the schema out, or a rejection with path and reason.

Pure, linear in the text, and it never raises. A wrong value is worse than a rejection: what may mean two things is
rejected.
"""

from __future__ import annotations

from app.data_plane.parsing.choosing import fitting_value, plainest_value
from app.data_plane.parsing.outcome import (
    PARSER,
    Parsed,
    Rejection,
    Repair,
    UnreadableError,
    counted,
    path_of,
)
from app.data_plane.parsing.plain import MAX_CHARACTERS
from app.kernel.proposal_schema import UnsupportedSchemaError, compiled
from app.kernel.schema_check import Misfit
from interlock.canonical import JsonObject

__all__ = ["MAX_CHARACTERS", "PARSER", "Parsed", "Rejection", "Repair", "read", "read_as"]


def read(text: str) -> Parsed | Rejection:
    """The value of an answer of which nothing is known: any JSON.

    Plain JSON gives what the standard parser gives, and everything else what it most plainly means.
    """
    if (refused := _refused(text)) is not None:
        return refused
    try:
        found = plainest_value(text)
    except UnreadableError as error:
        return Rejection("", f"the answer cannot be read: {error}")
    return Parsed(found.value, counted(found.notes))


def read_as(text: str, schema: JsonObject) -> Parsed | Rejection:
    """The one value of an answer that fits ``schema``, which ``app.kernel.proposal_schema`` describes.

    What fits strictly is taken as it stands. Else a value is changed only where the schema says what it should be,
    and every change is told in ``repairs``.
    """
    try:
        node = compiled(schema)
    except UnsupportedSchemaError as error:
        return Rejection("", error.what)
    if (refused := _refused(text)) is not None:
        return refused
    try:
        found = fitting_value(text, node)
    except UnreadableError as error:
        return Rejection("", f"the answer cannot be read: {error}")
    if isinstance(found, Misfit):
        return Rejection(path_of(found.path), found.reason)
    return found


def _refused(text: str) -> Rejection | None:
    if len(text) > MAX_CHARACTERS:
        return Rejection("", f"the answer is longer than {MAX_CHARACTERS} characters")
    return None if text.strip() else Rejection("", "the answer is empty")
