"""Retention: what was closed long enough ago is archived and removed, a batch at a time.

The order within a batch is what keeps everything: lock, archive, flush the archive to the disk, delete, say in the
anchors what was removed, commit. A crash anywhere leaves an archive too many, never one too few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from app.data_plane.audit.anchors import HEADS_PER_LINE, Anchors, Entry, Head
from app.data_plane.audit.chains import Fault
from app.data_plane.retention.archive import Kept
from app.kernel.clock import Clock, to_text
from app.kernel.errors import TransientError

PART = 25
"""Orchestrations whose facts and content are in memory at once."""
MOST_TRIES = 3
"""How often a batch is tried whose orchestrations others write meanwhile."""


class Reason(StrEnum):
    """Why an orchestration that was closed long enough ago stays."""

    EVENT = "of an event with an orchestration that is open or younger"
    WRITTEN = "being written at that moment"
    STEP = "with a step that is not finished"
    REPLAY = "with a replay that is not finished"
    DOUBT = "with an action in doubt"
    DEAD_LETTER = "with an open dead letter"
    FAULT = "with a record that is not whole"


class WrittenMeanwhileError(TransientError):
    """Something was added to an orchestration between its archiving and its removal; nothing was removed."""

    code = "written_meanwhile"


@dataclass(frozen=True, slots=True)
class Cut:
    """What is old enough: closed before ``closed_before``.

    Args:
        open_dead_letters: whether those with an open dead letter go as well.
    """

    closed_before: datetime
    open_dead_letters: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Up to where candidates were looked at."""

    closed_at: datetime
    orchestration_id: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """What one look at the oldest candidates found.

    Args:
        last: the last candidate; None when there was none.
        families: what may go, by event: orchestration ids that go together or not at all.
        facts: about how many facts they have, when only counted.
        stays: the candidates that stay, by why.
        oldest: by tenant, the creation of the oldest candidate that stays.
    """

    last: Place | None
    families: tuple[tuple[str, ...], ...]
    facts: int
    stays: Mapping[str, Reason]
    oldest: Mapping[str, datetime]


class Batch(Protocol):
    """One transaction over a batch of candidates, which are locked."""

    @property
    def chosen(self) -> Chosen:
        """What may go, and what stays."""
        ...

    def read(self, orchestration_ids: Sequence[str]) -> list[Kept]:
        """Everything that is kept of them, in their order."""
        ...

    def remove(self, removed: Removal) -> None:
        """Delete exactly what was archived. Raises WrittenMeanwhileError when there is something else."""
        ...


@dataclass(slots=True)
class Removal:
    """What was archived of a batch, and is to be deleted: counted, so that nothing else is."""

    orchestration_ids: list[str] = field(default_factory=list)
    chain_ids: list[str] = field(default_factory=list)
    facts: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    heads: list[Head] = field(default_factory=list)

    def add(self, kept: Kept) -> None:
        """One more orchestration."""
        heads = kept.heads()
        self.orchestration_ids.append(kept.orchestration_id)
        self.chain_ids += [head.chain_id for head in heads]
        self.heads += heads
        self.facts += len(kept.facts)
        self.rows.update({table: len(rows) for table, rows in kept.rows.items()})


class Closed(Protocol):
    """The closed orchestrations in the store."""

    def count(self, cut: Cut) -> int:
        """How many candidates there are."""
        ...

    def batch(self, cut: Cut, after: Place | None, size: int, *, lock: bool) -> AbstractContextManager[Batch]:
        """The next candidates in one transaction, with the others of their events; unlocked, to be counted only.

        Raises ConflictError while another retention is at work.
        """
        ...

    def count_contents(self, cut: Cut, oldest: Mapping[str, datetime]) -> int:
        """How many contents nothing would name if only what is as old as ``oldest`` (by tenant) or younger stayed."""
        ...

    def remove_contents(self, cut: Cut, size: int) -> Iterator[int]:
        """Remove the contents that nothing names any more, a batch at a time; yields how many."""
        ...


class ArchiveWriter(Protocol):
    """One archive that is being written."""

    def add(self, kept: Kept) -> None:
        """One more orchestration."""
        ...

    def finish(self) -> str:
        """Flush it to the disk and give it its name, which is returned."""
        ...


class Archives(Protocol):
    """Where archives are written."""

    def begin(self) -> AbstractContextManager[ArchiveWriter]:
        """A new archive; one that is not finished leaves nothing."""
        ...


@dataclass(slots=True)
class Retained:
    """What was done (or, of a dry run, would be)."""

    orchestrations: int = 0
    facts: int = 0
    contents: int = 0
    batches: int = 0
    archives: list[str] = field(default_factory=list)
    stays: Counter[Reason] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    """Of orchestrations whose record is not whole: they stay, as evidence."""


class Retention:
    """Archives and removes. One at a time; a service may run beside it.

    Args:
        advance: told how many more candidates are done.
    """

    def __init__(
        self,
        closed: Closed,
        archives: Archives,
        anchors: Anchors,
        clock: Clock,
        advance: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._closed = closed
        self._archives = archives
        self._anchors = anchors
        self._clock = clock
        self._advance = advance

    def count(self, cut: Cut, *, size: int) -> Retained:
        """What ``remove`` would do now; records are not checked, and nothing is locked."""
        counted, oldest = Retained(), dict[str, datetime]()
        place: Place | None = None
        while True:
            with self._closed.batch(cut, place, size, lock=False) as batch:
                chosen = batch.chosen
            if chosen.last is None:
                break
            place = chosen.last
            going = sum(len(family) for family in chosen.families)
            counted.orchestrations += going
            counted.facts += chosen.facts
            counted.batches += going > 0
            counted.stays.update(chosen.stays.values())
            for tenant, created in chosen.oldest.items():
                oldest[tenant] = min(created, oldest.get(tenant, created))
            self._advance(going + len(chosen.stays))
        counted.contents = self._closed.count_contents(cut, oldest)
        return counted

    def remove(self, cut: Cut, *, size: int) -> Retained:
        """Archive and remove, ``size`` candidates in a transaction, and then the contents that nothing names any more.

        Raises:
            TransientError: the database or a folder is not there; what was committed stays removed and archived.
            ConflictError: another retention is at work.
        """
        done = Retained()
        place: Place | None = None
        while (chosen := self._remove_batch(cut, place, size, done)).last is not None:
            place = chosen.last
            self._advance(sum(len(family) for family in chosen.families) + len(chosen.stays))
        for count in self._closed.remove_contents(cut, size):
            done.contents += count
        return done

    def _remove_batch(self, cut: Cut, after: Place | None, size: int, done: Retained) -> Chosen:
        for turn in range(MOST_TRIES):
            try:
                with self._closed.batch(cut, after, size, lock=True) as batch:
                    removal, archive, faults = self._archive(batch)
                    if archive is not None:
                        batch.remove(removal)
                        self._anchors.append(self._told(removal, archive))
                break
            except WrittenMeanwhileError:
                if turn == MOST_TRIES - 1:
                    raise
        done.faults += faults
        done.stays.update(batch.chosen.stays.values())
        if archive is not None:
            done.batches += 1
            done.archives.append(archive)
            done.orchestrations += len(removal.orchestration_ids)
            done.facts += removal.facts
        staying = sum(len(family) for family in batch.chosen.families) - len(removal.orchestration_ids)
        done.stays[Reason.FAULT] += staying
        return batch.chosen

    def _archive(self, batch: Batch) -> tuple[Removal, str | None, list[Fault]]:
        removal, faults = Removal(), list[Fault]()
        if not batch.chosen.families:
            return removal, None, faults
        with self._archives.begin() as archive:
            for part in _parts(batch.chosen.families):
                kept = {
                    one.orchestration_id: one
                    for one in batch.read([name for family in part for name in family])
                }
                for family in part:
                    found = [fault for name in family if (fault := kept[name].fault()) is not None]
                    faults += found
                    for name in family if not found else ():
                        archive.add(kept[name])
                        removal.add(kept[name])
            finished = archive.finish() if removal.orchestration_ids else None
        return removal, finished, faults

    def _told(self, removal: Removal, archive: str) -> Iterator[Entry]:
        at = to_text(self._clock.now())
        for start in range(0, len(removal.heads), HEADS_PER_LINE):
            heads = removal.heads[start : start + HEADS_PER_LINE]
            yield Entry("removed", at, heads, archive=archive)


def _parts(families: Sequence[tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
    """Families, some at a time; one that is larger than a part is a part of its own."""
    part: list[tuple[str, ...]] = []
    for family in families:
        if part and sum(map(len, part)) + len(family) > PART:
            yield part
            part = []
        part.append(family)
    if part:
        yield part
