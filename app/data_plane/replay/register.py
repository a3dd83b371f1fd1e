"""The register of replays: who had what done again, why, what was planned, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from app.kernel.facts import OrchestrationStarted
from interlock.canonical import digest

Mode = Literal["resume", "rerun"]
"""The modes that have effects; ``verify`` has none and leaves no row."""

ReplayState = Literal["requested", "done", "refused", "failed"]

REPLAY_PREFIX = "rpl_"


def replay_id(orchestration_id: str, before: int) -> str:
    """The id of one replay; ``before`` counts those of the same orchestration that it was planned after.

    Whatever their modes, of two that were planned after the same ones only one can be registered: a resume beside a
    rerun would have the same effects under other keys.
    """
    return f"{REPLAY_PREFIX}{digest([orchestration_id, before])[:32]}"


@dataclass(frozen=True, slots=True)
class ReplayRow:
    """One replay. ``outcome`` is words; for one that was refused or failed it begins with the code and a colon."""

    replay_id: str
    tenant_id: str
    orchestration_id: str
    dead_letter_id: str
    mode: Mode
    release: str
    """The release that decides: the pinned one, or for a rerun the one it was requested under."""
    actor: str
    reason_digest: str
    plan_digest: str
    state: ReplayState
    outcome: str
    new_orchestration_id: str
    requested_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewReplay:
    """A replay to be registered, with the step that carries it out. Its repr tells no reason: it may hold a secret."""

    replay_id: str
    tenant_id: str
    orchestration_id: str
    dead_letter_id: str
    mode: Mode
    release: str
    actor: str
    reason_digest: str
    plan_digest: str
    contents: Mapping[str, bytes]
    due_in_seconds: float = 0.0

    def __repr__(self) -> str:
        return f"NewReplay({self.replay_id!r}, {self.orchestration_id!r}, {self.mode!r})"


@dataclass(frozen=True, slots=True)
class ReplayEnd:
    """How a replay came out: its row ends in the commit that also records what it did."""

    replay_id: str
    state: Literal["done", "refused", "failed"]
    outcome: str
    new_orchestration_id: str = ""
    """Of a rerun: what it started. The original's dead letters are replayed by it."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """An orchestration that a rerun starts: its id, its first fact, and the trace that it begins."""

    orchestration_id: str
    started: OrchestrationStarted
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which replays to list: the newest first, those older than ``before`` (a row seen last); None is any.

    Args:
        reason_digest: those that were asked for with the very same reason by the same person, as one go is.
        since: asked for at that time or later; ``until``: before it.
    """

    state: ReplayState | None = None
    actor: str | None = None
    orchestration_id: str | None = None
    mode: Mode | None = None
    reason_digest: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 20
    before: ReplayRow | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a replay stands in the work index."""

    due: bool
    """Whether its time has come."""
    attempts: int
    """How often a worker took it."""


class Replays(Protocol):
    """The register, as the data plane needs it."""

    def register(self, requested: Sequence[NewReplay]) -> dict[str, ReplayRow]:
        """Register replays with their contents and steps in one commit.

        By orchestration: the row that stood in the way of those that were not registered, as another replay of the
        same orchestration is not finished, or was requested since they were planned.
        """
        ...

    def of(
        self, tenants: Sequence[str], orchestration_ids: Sequence[str]
    ) -> dict[str, tuple[ReplayRow, ...]]:
        """The replays of these orchestrations, the oldest first; one without any is absent."""
        ...

    def named(self, tenants: Sequence[str], replay_ids: Sequence[str]) -> dict[str, ReplayRow]:
        """Replays by id."""
        ...

    def newest(self, tenants: Sequence[str], wanted: Wanted) -> tuple[ReplayRow, ...]:
        """One page of replays, the newest first."""
        ...

    def standing(self, replay_ids: Sequence[str]) -> dict[str, Standing]:
        """Where these replays stand, as far as they are not finished."""
        ...

    def last_ordinals(self, tenants: Sequence[str], orchestration_ids: Sequence[str]) -> dict[str, int]:
        """By original: the highest ordinal of its reruns; one without any is absent."""
        ...

    def releases_beginning(self, digest: str) -> dict[str, str]:
        """By digest, up to a few: the workflows of the published releases whose digest begins so."""
        ...
