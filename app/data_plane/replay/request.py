"""Asking for a replay: the plan first, then a row in the register and a step for a worker, in one commit.

Whoever is refused is told why and by whom, and nothing is left of the asking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from app.data_plane.orchestration.recorder import Loaded, Recorder
from app.data_plane.ports import Carrier, History, Queue, Releases, Store, Subscription
from app.data_plane.replay.judging import already_replayed, in_progress, started_fact
from app.data_plane.replay.plan import ReplayPlan, plan_rerun, plan_resume
from app.data_plane.replay.refusals import (
    ActorMissingError,
    KeyExpiredError,
    ReasonMissingError,
    ReleaseNotPublishedError,
    TooLongError,
    UnknownOrchestrationError,
    error_of,
)
from app.data_plane.replay.register import Mode, NewReplay, ReplayRow, Replays, replay_id
from app.kernel.clock import Clock
from app.kernel.errors import InterlockError, TransientError
from interlock.canonical import JsonObject, canonical_bytes, digest_bytes

BATCH = 64
"""Orchestrations that are planned and requested at once."""

LONGEST_ACTOR = 200
LONGEST_REASON = 4_000
SHORTEST_RELEASE = 8
"""Characters of a release's digest."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be replayed: an orchestration, and the dead letter that led there, if one did."""

    tenant_id: str
    orchestration_id: str
    dead_letter_id: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """How it is to be replayed.

    Args:
        release: of a rerun: a digest or the beginning of one; empty for the release that is now routed to the
            original's channel.
        again: although the event was started anew before.
    """

    mode: Mode
    release: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, and why. Its repr tells no reason: it may hold a secret."""

    actor: str
    reason: str

    def __repr__(self) -> str:
        return f"Person({self.actor!r})"


@dataclass(frozen=True, slots=True)
class Requested:
    """A replay that a worker will carry out."""

    replay_id: str
    subject: Subject
    plan: ReplayPlan


class ReplayDesk:
    """Where replays are planned and asked for.

    Args:
        carrier: rings for the replays that were requested; a lost ring is repeated by the reconciler.
    """

    def __init__(
        self,
        store: Store,
        recorder: Recorder,
        replays: Replays,
        releases: Releases,
        carrier: Carrier,
        clock: Clock,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._replays = replays
        self._releases = releases
        self._carrier = carrier
        self._clock = clock

    def plan(self, subjects: Sequence[Subject], way: Way) -> list[ReplayPlan | InterlockError]:
        """What replaying each of them would do now, in their order; an error for one that cannot be planned.

        Raises ReleaseNotPublishedError for a release that no rerun can have.
        """
        plans: list[ReplayPlan | InterlockError] = []
        for start in range(0, len(subjects), BATCH):
            part = subjects[start : start + BATCH]
            plans += [plan for plan, _ in self._plans(part, way)]
        return plans

    def request(
        self, subjects: Sequence[Subject], way: Way, person: Person, *, rate: float = 0.0, before: int = 0
    ) -> list[Requested | InterlockError]:
        """Have each of them replayed; in their order, what was requested or why it was refused.

        Args:
            subjects: each orchestration once.
            rate: how many may begin in a second; 0 lets all begin at once.
            before: how many were requested in the same go already.

        Raises:
            ReasonMissingError, ActorMissingError, TooLongError: nobody could say later who did this, and why.
            ReleaseNotPublishedError: no rerun can have that release.
        """
        checked = _checked(person)
        answers: list[Requested | InterlockError] = []
        for start in range(0, len(subjects), BATCH):
            asked = self._request(subjects[start : start + BATCH], way, checked, rate, before)
            before += sum(isinstance(answer, Requested) for answer in asked)
            answers += asked
        return answers

    def ring(self) -> None:
        """Ring for requested replays once more: some of them may have become due."""
        self._carrier.ring(Queue.REPLAY)

    def _request(
        self, subjects: Sequence[Subject], way: Way, person: Person, rate: float, before: int
    ) -> list[Requested | InterlockError]:
        answers: dict[str, Requested | InterlockError] = {}
        new: list[NewReplay] = []
        reason = canonical_bytes({"actor": person.actor, "reason": person.reason})
        for subject, (plan, earlier) in zip(subjects, self._plans(subjects, way), strict=True):
            key = subject.orchestration_id
            if isinstance(plan, InterlockError):
                answers[key] = plan
                continue
            if (refusal := _refusal(plan)) is not None:
                answers[key] = refusal
                continue
            seconds = (before + len(new)) / rate if rate > 0 else 0.0
            one = _new(subject, way.mode, plan, earlier, person, reason, seconds)
            new.append(one)
            answers[key] = Requested(one.replay_id, subject, plan)
        in_the_way = self._replays.register(new)
        for key, row in in_the_way.items():
            answers[key] = _too_late(row)
        if len(in_the_way) < len(new):
            self._carrier.ring(Queue.REPLAY)
        return [answers[subject.orchestration_id] for subject in subjects]

    def _plans(
        self, subjects: Sequence[Subject], way: Way
    ) -> list[tuple[ReplayPlan | InterlockError, tuple[ReplayRow, ...]]]:
        tenants = sorted({subject.tenant_id for subject in subjects})
        ids = [subject.orchestration_id for subject in subjects]
        if not ids:
            return []
        earlier = self._replays.of(tenants, ids)
        make = self._reruns if way.mode == "rerun" else self._resumes
        plans = make(tenants, ids, way, earlier)
        return [(plans[key], earlier.get(key, ())) for key in ids]

    def _resumes(
        self,
        tenants: Sequence[str],
        ids: Sequence[str],
        way: Way,
        earlier: Mapping[str, tuple[ReplayRow, ...]],
    ) -> dict[str, ReplayPlan | InterlockError]:
        loaded = self._recorder.load(tenants, ids)
        there = self._store.histories(tenants, [key for key in ids if key not in loaded])
        now = self._clock.now()

        def planned(key: str) -> ReplayPlan | InterlockError:
            one: Loaded | None = loaded.get(key)
            if one is None:
                return _cannot_be_loaded(key) if key in there else _unknown(key)
            return plan_resume(one, earlier.get(key, ()), now, again=way.again)

        return {key: planned(key) for key in ids}

    def _reruns(
        self,
        tenants: Sequence[str],
        ids: Sequence[str],
        way: Way,
        earlier: Mapping[str, tuple[ReplayRow, ...]],
    ) -> dict[str, ReplayPlan | InterlockError]:
        originals = self._store.histories(tenants, ids)
        ordinals = self._replays.last_ordinals(tenants, ids)
        named = self._named_release(way.release) if way.release else None
        routes = self._releases.routes() if named is None else ()

        def planned(key: str) -> ReplayPlan | InterlockError:
            original = originals.get(key)
            if original is None:
                return _unknown(key)
            if not original.readable:
                return _cannot_be_loaded(key)
            release = _release_of(original, named, routes)
            if isinstance(release, InterlockError):
                return release
            return plan_rerun(original, earlier.get(key, ()), release, ordinals.get(key, 0), again=way.again)

        return {key: planned(key) for key in ids}

    def _named_release(self, beginning: str) -> tuple[str, str]:
        found = self._replays.releases_beginning(beginning) if len(beginning) >= SHORTEST_RELEASE else {}
        if len(found) == 1:
            return next(iter(found.items()))
        what = "More than one published release begins" if found else "No published release begins"
        raise ReleaseNotPublishedError(
            f"{what} with {beginning!r}.",
            f"Give {SHORTEST_RELEASE} characters or more of one that `releases list` shows.",
        )


def _release_of(
    original: History, named: tuple[str, str] | None, routes: Sequence[Subscription]
) -> str | InterlockError:
    """The release that a rerun of it has; an error when there is none."""
    started = started_fact(original)
    workflow = started.workflow if started is not None else ""
    if named is not None:
        if named[1] == workflow:
            return named[0]
        return ReleaseNotPublishedError(
            f"The release {named[0][:12]} is of the workflow {named[1]}, and not of {workflow}.",
            f"Name one of {workflow}: see `python -m app releases list`.",
        )
    routed = [one for one in routes if one.workflow == workflow]
    channel = started.channel if started is not None else "stable"
    routed.sort(key=lambda one: (one.channel != channel, one.channel != "stable"))
    if routed:
        return routed[0].release
    return ReleaseNotPublishedError(
        f"No release of {workflow} takes traffic now.", "Name a published one with --release."
    )


def _new(
    subject: Subject,
    mode: Mode,
    plan: ReplayPlan,
    earlier: Sequence[ReplayRow],
    person: Person,
    reason: bytes,
    due_in_seconds: float,
) -> NewReplay:
    planned = canonical_bytes(plan_as_json(plan))
    reason_digest, plan_digest = digest_bytes(reason), digest_bytes(planned)
    return NewReplay(
        replay_id=replay_id(subject.orchestration_id, len(earlier)),
        tenant_id=subject.tenant_id,
        orchestration_id=subject.orchestration_id,
        dead_letter_id=subject.dead_letter_id,
        mode=mode,
        release=plan.release,
        actor=person.actor,
        reason_digest=reason_digest,
        plan_digest=plan_digest,
        contents={reason_digest: reason, plan_digest: planned},
        due_in_seconds=due_in_seconds,
    )


def plan_as_json(plan: ReplayPlan) -> JsonObject:
    """A plan as programs read it, and as the register keeps it."""
    told: JsonObject = asdict(plan)
    return told


def _checked(person: Person) -> Person:
    actor, reason = person.actor.strip(), person.reason.strip()
    if not actor:
        raise ActorMissingError
    if not reason:
        raise ReasonMissingError
    for name, value, most in (("actor", actor, LONGEST_ACTOR), ("reason", reason, LONGEST_REASON)):
        if len(value) > most:
            raise TooLongError(
                f"The {name} has {len(value)} characters.", f"{most} are enough: say it shorter."
            )
    return Person(actor, reason)


def _refusal(plan: ReplayPlan) -> InterlockError | None:
    """Why nothing is requested. That all keys have expired is no such reason: carrying it out records the doubt."""
    refused = plan.refused
    if refused is None or refused.code == KeyExpiredError.code:
        return None
    return error_of(refused.code, refused.what, refused.remedy)


def _too_late(row: ReplayRow) -> InterlockError:
    if row.finished_at is None:
        return in_progress(row)
    return already_replayed(row, "It was requested and carried out a moment before.")


def _unknown(key: str) -> UnknownOrchestrationError:
    return UnknownOrchestrationError(
        f"There is no orchestration {key}.", "Look at `python -m app runs list`."
    )


def _cannot_be_loaded(key: str) -> TransientError:
    return TransientError(
        f"The release of {key} cannot be loaded here, or a newer version of Interlock wrote to it.",
        "Run this with the version of Interlock that its workers have.",
    )
