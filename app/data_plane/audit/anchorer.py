"""Anchoring: the heads of all chains that have grown since the last look are written outside the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from app.data_plane.audit.anchors import Anchors, Head, Position, Written, entries_of_a_look
from app.kernel.clock import Clock, to_text


class Look(Protocol):
    """One look at the journals, as they were at one moment."""

    @property
    def position(self) -> Position:
        """What this look sees."""
        ...

    def heads(self, since: Position | None) -> Iterator[Sequence[Head]]:
        """The heads of the chains with facts that were not seen at ``since`` (all chains without one), in pages."""
        ...


class Heads(Protocol):
    """Where the journals are."""

    def look(self) -> AbstractContextManager[Look | None]:
        """A look of our own; None while another process has one."""
        ...


class Anchorer:
    """Writes anchors. One at a time is enough, and several do no harm."""

    def __init__(self, heads: Heads, anchors: Anchors, clock: Clock) -> None:
        self._heads = heads
        self._anchors = anchors
        self._clock = clock

    def anchor(self) -> Written | None:
        """Look once, and write what is new; None while another process is doing so.

        Raises:
            TransientError: the database or the folder is not there; the next look begins where this one began.
        """
        with self._heads.look() as look:
            if look is None:
                return None
            since = self._anchors.position()
            if since is not None and not since.goes_on_to(look.position):
                since = None
            at = to_text(self._clock.now())
            return self._anchors.append(entries_of_a_look(look.heads(since), look.position, at))
