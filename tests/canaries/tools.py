"""The tools of that workflow: one answers with a secret, one dies of secrets, three pass on what they are given."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.data_plane.tools import Arguments, Content, Outgoing, Reading, Result, tool
from tests.canaries.markers import planted

Prose = Annotated[str, Field(max_length=4000), Content]


class Key(Arguments):
    """What is read, and for which event."""

    key: Prose
    number: int = Field(ge=0)


class Note(Arguments):
    """What is written."""

    about: Prose
    text: Prose


class Read(Result):
    """What was found."""

    text: str


class Done(Result):
    """The target took it."""

    applied: bool = True


@tool("notes.read", version=1, effect="read")
async def read_note(arguments: Key, _reading: Reading) -> Read:
    """Reads a note."""
    return Read(text=planted("tool result", arguments.number, content=True).text)


@tool("notes.break", version=1, effect="read")
async def break_note(arguments: Key, _reading: Reading) -> Read:
    """Fails, as libraries do: with what they were given in the error and in its cause."""
    try:
        raise ValueError(planted("exception's cause", arguments.number, content=False).text)
    except ValueError as error:
        raise RuntimeError(planted("exception", arguments.number, content=False).text) from error


@tool("notes.post", version=1, effect="write")
def post_note(arguments: Note) -> Outgoing[Done]:
    """Writes a note down."""
    return _posted("post", arguments)


@tool("notes.page", version=1, effect="write", idempotency="none")
def page_note(arguments: Note) -> Outgoing[Done]:
    """Has a note read out to whoever is on call."""
    return _posted("page", arguments)


@tool("notes.ask", version=1, effect="write")
def ask_note(arguments: Note) -> Outgoing[Done]:
    """Writes a note down that somebody has read."""
    return _posted("ask", arguments)


def _posted(where: str, arguments: Note) -> Outgoing[Done]:
    return Outgoing(f"/v1/effects/notes.{where}", arguments.model_dump(mode="json"))
