"""Reads an answer: text in, a value that fits the schema out, or a rejection with path and reason.

Pure, linear in the text, and it never raises. A wrong value is worse than a rejection: what may mean two things is
rejected.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.data_plane.parsing.candidates import (
    Candidate,
    candidates_in_blocks,
    candidates_in_prose,
    fenced_blocks,
    only_brackets_around,
    without_reasoning,
)
from app.data_plane.parsing.cursor import Steps, TooMuchError
from app.data_plane.parsing.documents import Document, read_document
from app.data_plane.parsing.outcome import PARSER, Parsed, Rejection, Repair, UnreadableError, counted
from app.data_plane.parsing.plain import MAX_CHARACTERS, NotPlainError, read_plain, same

__all__ = ["MAX_CHARACTERS", "PARSER", "Parsed", "Rejection", "Repair", "read"]


def read(text: str) -> Parsed | Rejection:
    """The value of an answer of which nothing is known: any JSON.

    Plain JSON gives what the standard parser gives, and everything else what it most plainly means.
    """
    if len(text) > MAX_CHARACTERS:
        return Rejection("", f"the answer is longer than {MAX_CHARACTERS} characters")
    if not text.strip():
        return Rejection("", "the answer is empty")
    try:
        found = _document(text)
    except UnreadableError as error:
        return Rejection("", f"the answer cannot be read: {error}")
    return Parsed(found.value, counted(found.notes))


def _document(text: str) -> Document:
    try:
        return Document(read_plain(text))
    except NotPlainError:
        text = without_reasoning(text)
    steps = Steps()
    blocks = fenced_blocks(text)
    if len(blocks) == 1 and only_brackets_around(text, blocks[0]):
        found = read_document(blocks[0].body, steps)
        return Document(found.value, {**found.notes, "fence": 1})
    reason: UnreadableError
    try:
        return read_document(text, steps)
    except TooMuchError:
        raise
    except UnreadableError as error:
        reason = error
    fenced = candidates_in_blocks(text, blocks, steps, once=False)
    chosen = _only(fenced) or _only(_weighty(candidates_in_prose(text, blocks, steps, once=False)))
    if chosen is None:
        raise reason
    code = "fence" if chosen.fenced else "prose_around"
    return Document(chosen.value, {**chosen.notes, code: 1})


def _weighty(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates that say something; a list beside an object is taken for a part of the prose."""
    full: list[Candidate] = []
    behind = -1
    for candidate in candidates:
        # An empty object in prose says nothing, unless another value touches it.
        if candidate.size or candidate.start == behind:
            full.append(candidate)
        behind = candidate.end
    objects = [candidate for candidate in full if isinstance(candidate.value, dict)]
    return objects or [candidate for candidate in full if candidate.size > 1]


def _only(candidates: list[Candidate]) -> Candidate | None:
    """The candidate that all are equal to, or the last one if it alone is said to be final."""
    if not candidates:
        return None
    if all(same(candidates[0].value, other.value) for other in candidates[1:]):
        return candidates[0]
    if candidates[-1].final and not any(other.final for other in candidates[:-1]):
        return candidates[-1]
    raise UnreadableError("it has several values that differ")
