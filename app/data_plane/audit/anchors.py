"""Anchors: what the heads of chains were, written outside the database.

Who rewrites the one has not rewritten the other. The file is itself a chain: each line holds the SHA-256 of the line
before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from interlock.canonical import canonical_bytes

HEADS_PER_LINE = 1_000


@dataclass(frozen=True, slots=True)
class Head:
    """The last fact of a chain, when somebody looked."""

    chain_id: str
    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """What one look had seen: all transactions that are numbered below ``end``, except those still ``running`` then.

    Args:
        server: which database server numbers them: numbers of another one say nothing here.
    """

    server: str
    end: int
    running: tuple[int, ...]

    def covers(self, written_in: int | None) -> bool:
        """Whether what that transaction wrote had been seen; None is from before transactions were noted."""
        return written_in is None or (written_in < self.end and written_in not in self.running)

    def goes_on_to(self, later: Position) -> bool:
        """False when the numbers began anew, as after a restore: then nothing counts as seen."""
        return self.server == later.server and self.end <= later.end


@dataclass(frozen=True, slots=True)
class Entry:
    """What one line tells: heads that were seen, or the heads of chains that retention removed.

    Args:
        position: what has been seen with this line; None when it is as before.
        archive: for removed chains, the file that holds them now.
    """

    kind: Literal["heads", "removed"]
    at: str
    heads: Sequence[Head]
    position: Position | None = None
    archive: str = ""


class Line(BaseModel):
    """One line as it is written: canonical JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["heads", "removed"]
    at: str
    heads: dict[str, tuple[int, str]]
    server: str
    end: int
    running: tuple[int, ...]
    archive: str
    previous: str
    """SHA-256 of the line before, without its end of line; empty in the first."""

    @property
    def position(self) -> Position | None:
        """What has been seen up to this line."""
        return Position(self.server, self.end, self.running) if self.server else None

    def listed(self) -> list[Head]:
        """The heads it tells of."""
        return [Head(chain, seq, bytes.fromhex(digest)) for chain, (seq, digest) in self.heads.items()]


@dataclass(frozen=True, slots=True)
class Written:
    """How much was appended."""

    lines: int
    heads: int


class Anchors(Protocol):
    """Where anchors are written."""

    def position(self) -> Position | None:
        """What has been seen, according to the last whole line."""
        ...

    def append(self, entries: Iterable[Entry]) -> Written:
        """Write lines, one for each entry, that outlive a power cut; nothing at all without an entry."""
        ...


def write_line(entry: Entry, previous: bytes | None) -> bytes:
    """The bytes of one line, without its end of line, behind the line before it."""
    before = read_line(previous) if previous is not None else None
    position = entry.position or (before.position if before is not None else None)
    line = Line(
        kind=entry.kind,
        at=entry.at,
        heads={head.chain_id: (head.seq, head.hash.hex()) for head in entry.heads},
        server=position.server if position is not None else "",
        end=position.end if position is not None else 0,
        running=position.running if position is not None else (),
        archive=entry.archive,
        previous=line_digest(previous),
    )
    return canonical_bytes(line.model_dump(mode="json"))


def read_line(raw: bytes) -> Line:
    """A whole line. Raises pydantic.ValidationError for what is none, such as one that a crash cut off."""
    return Line.model_validate_json(raw)


def line_digest(raw: bytes | None) -> str:
    """What the next line holds of this one."""
    return sha256(raw).hexdigest() if raw is not None else ""


def entries_of_a_look(
    pages: Iterable[Sequence[Head]], position: Position, at: str, *, per_line: int = HEADS_PER_LINE
) -> Iterator[Entry]:
    """The heads that one look found, over as many lines as they need.

    Only the last line moves the position: a crash before it has the next look begin where this one began.
    """
    parts = (page[start : start + per_line] for page in pages for start in range(0, len(page), per_line))
    nothing: Sequence[Head] = ()
    for part, following in pairwise(_then(parts, nothing)):
        yield Entry("heads", at, part, position if not following else None)


def _then(parts: Iterable[Sequence[Head]], last: Sequence[Head]) -> Iterator[Sequence[Head]]:
    yield from parts
    yield last
