"""``audit verify``: is every recorded fact what it was when it was recorded?

Three readings, each in bounded pages: the anchors' own file, all journals in the order of (chain, seq), and what the
anchors tell of them. The journals are read as of one moment that is later than the last anchor read, so that whatever
was anchored must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.data_plane.audit.anchors import Head, Line, Position, line_digest
from app.data_plane.audit.chains import (
    Chain,
    Fault,
    JournalRow,
    Run,
    compare_with_fold,
    compare_with_head,
)

MOST_LISTED = 100
"""Bad rows that are listed; more are only counted."""
MOST_BAD = 10_000
"""Bad chains after which the rest is not looked at."""


class Journals(Protocol):
    """The journals and heads as they were at one moment."""

    def pages(self) -> Iterator[Sequence[JournalRow]]:
        """All facts in the order of (chain, seq), in which orchestrations' chains come before runs'."""
        ...

    def heads(self, chain_ids: Sequence[str]) -> Mapping[str, tuple[str, int, bytes]]:
        """Of those that are orchestrations: tenant, number of facts, and the last one's hash, as their rows say."""
        ...

    def without_facts(self) -> Iterator[str]:
        """The orchestrations that have no chain."""
        ...

    def unlike(self, heads: Sequence[Head]) -> list[tuple[Head, bool]]:
        """Those that are not in the journals with this hash, and whether there is a row in their place."""
        ...

    def lengths(self, chain_ids: Sequence[str]) -> Mapping[str, int]:
        """How many facts the chains have; a chain without any is absent."""
        ...


class Notes(Protocol):
    """What has to be remembered of all runs and of all removed chains: more than memory may hold."""

    def expect(self, runs: Iterable[Run]) -> None:
        """Remember runs that orchestrations call for."""
        ...

    def take(self, chain_ids: Sequence[str]) -> dict[str, Run]:
        """Those of the chains that are expected runs; they are not expected any more."""
        ...

    def left(self) -> Iterator[Run]:
        """The expected runs that nobody took."""
        ...

    def remove(self, chain_ids: Iterable[str]) -> None:
        """Remember chains that retention removed."""
        ...

    def removed(self, chain_ids: Sequence[str]) -> set[str]:
        """Those of the chains that were."""
        ...


@dataclass(frozen=True, slots=True)
class FoundLine:
    """One line of the anchors and where it stands; ``line`` is None for what a crash left of one."""

    place: str
    raw: bytes
    line: Line | None


class WrittenAnchors(Protocol):
    """The anchors' lines in order."""

    def lines(self) -> Iterator[FoundLine]:
        """Those that were there before the journals' moment."""
        ...

    def later_lines(self) -> Iterator[FoundLine]:
        """Those that were appended since."""
        ...


@dataclass(slots=True)
class AnchorsSeen:
    """How far the anchors reach."""

    lines: int = 0
    heads: int = 0
    cut_off: int = 0
    removed: int = 0
    until: str | None = None
    """When the last look was made; None while there was none."""
    facts_since: int = 0
    oldest_since: str | None = None
    """When the oldest fact was recorded that no anchor covers yet."""


@dataclass(slots=True)
class Audit:
    """What was checked, and what was found."""

    facts: int = 0
    orchestrations: int = 0
    runs: int = 0
    anchors: AnchorsSeen = field(default_factory=AnchorsSeen)
    faults: list[Fault] = field(default_factory=list)
    """The first bad row of each chain, in the order in which they were found; the first hundred of them."""
    bad: set[str] = field(default_factory=set)
    """The chains (and lines of anchors) that have one."""

    @property
    def whole(self) -> bool:
        """Whether nothing was found."""
        return not self.bad

    def find(self, fault: Fault | None) -> None:
        """Note a bad row; of one chain the first counts."""
        if fault is None or fault.place in self.bad:
            return
        self.bad.add(fault.place)
        if len(self.faults) < MOST_LISTED:
            self.faults.append(fault)


class Auditor:
    """One verification. ``advance`` is told how many more facts are done."""

    def __init__(
        self,
        journals: Journals,
        anchors: WrittenAnchors,
        notes: Notes,
        advance: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._journals = journals
        self._anchors = anchors
        self._notes = notes
        self._advance = advance
        self._audit = Audit()
        self._position: Position | None = None
        self._open: Chain | None = None

    def verify(self) -> Audit:
        """Compare everything; never raises for what is found."""
        for part in (
            self._read_anchors,
            self._look_for_chains,
            self._read_journals,
            self._compare_with_anchors,
        ):
            if len(self._audit.bad) < MOST_BAD:
                part()
        return self._audit

    def _read_anchors(self) -> None:
        seen = self._audit.anchors
        previous: bytes | None = None
        for found in self._anchors.lines():
            if found.line is None:
                seen.cut_off += 1
                continue
            if found.line.previous != line_digest(previous):
                self._audit.find(Fault(found.place, None, "the line before it was changed, or is gone"))
            previous = found.raw
            seen.lines += 1
            if found.line.kind == "removed":
                seen.removed += len(found.line.heads)
                self._notes.remove(found.line.heads)
            else:
                seen.heads += len(found.line.heads)
            if found.line.position not in (None, self._position):
                self._position, seen.until = found.line.position, found.line.at

    def _look_for_chains(self) -> None:
        for absent in self._journals.without_facts():
            self._audit.find(Fault(absent, 0, "the whole chain is gone: its orchestration is still there"))

    def _read_journals(self) -> None:
        for page in self._journals.pages():
            self._follow(page)
            self._advance(len(page))
            if len(self._audit.bad) >= MOST_BAD:
                return
        if self._open is not None:
            self._compare([self._open])
        for run in self._notes.left():
            if run.length:
                self._audit.find(
                    Fault(run.run_id, 0, f"the whole chain is gone: {run.orchestration_id} folded it")
                )

    def _follow(self, page: Sequence[JournalRow]) -> None:
        ended: list[Chain] = []
        position, seen = self._position, self._audit.anchors
        chain = self._open
        for row in page:
            if chain is None or chain.chain_id != row[0]:
                if chain is not None:
                    ended.append(chain)
                chain = Chain(row[0], row[2])
            at = chain.follow(row)
            if position is None or not position.covers(row[5]):
                seen.facts_since += 1
                if at and (seen.oldest_since is None or at < seen.oldest_since):
                    seen.oldest_since = at
        self._open = chain
        self._audit.facts += len(page)
        self._compare(ended)

    def _compare(self, ended: Sequence[Chain]) -> None:
        """Compare whole chains with the rows and folds that tell of them."""
        self._notes.expect(run for chain in ended for run in chain.runs.values())
        runs = self._notes.take([chain.chain_id for chain in ended])
        heads = self._journals.heads([chain.chain_id for chain in ended if chain.chain_id not in runs])
        for chain in ended:
            if (run := runs.get(chain.chain_id)) is not None:
                self._audit.runs += 1
                self._audit.find(compare_with_fold(chain, run))
            elif (head := heads.get(chain.chain_id)) is not None:
                self._audit.orchestrations += 1
                self._audit.find(compare_with_head(chain, *head))
            else:
                self._audit.find(chain.fault or Fault(chain.chain_id, 0, "no orchestration knows this chain"))

    def _compare_with_anchors(self) -> None:
        gone: list[tuple[Head, str]] = []
        for found in self._anchors.lines():
            if found.line is None or found.line.kind != "heads":
                continue
            at = found.line.at
            for head, there in self._journals.unlike(found.line.listed()):
                if there:
                    self._audit.find(
                        Fault(head.chain_id, head.seq, f"it is not the fact that was anchored at {at}")
                    )
                else:
                    gone.append((head, at))
            if len(gone) >= MOST_BAD:
                self._judge(gone)
                gone = []
            if len(self._audit.bad) >= MOST_BAD:
                return
        self._judge(gone)

    def _judge(self, gone: Sequence[tuple[Head, str]]) -> None:
        """Which anchored facts retention removed, and which somebody else did."""
        if not gone:
            return
        # Retention may have removed them since the anchors were read: it says so before it does.
        for found in self._anchors.later_lines():
            if found.line is not None and found.line.kind == "removed":
                self._notes.remove(found.line.heads)
        removed = self._notes.removed([head.chain_id for head, _ in gone])
        left = [(head, at) for head, at in gone if head.chain_id not in removed]
        lengths = self._journals.lengths([head.chain_id for head, _ in left])
        for head, at in left:
            length = lengths.get(head.chain_id, 0)
            what = "the whole chain is gone" if length == 0 else "it is missing"
            place = min(length, head.seq)
            self._audit.find(Fault(head.chain_id, place, f"{what}: #{head.seq} was anchored at {at}"))
