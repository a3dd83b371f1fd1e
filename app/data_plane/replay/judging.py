"""Whether an orchestration may be replayed now, and if not, why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.data_plane.orchestration.decide import Close, outstanding
from app.data_plane.orchestration.state import OrchestrationState, evolve
from app.data_plane.ports import History
from app.data_plane.replay.refusals import (
    AlreadyReplayedError,
    KeyExpiredError,
    NothingToReplayError,
    NotReplayableError,
    ReplayInProgressError,
)
from app.data_plane.replay.register import Mode, ReplayRow
from app.kernel.clock import to_text
from app.kernel.errors import InterlockError
from app.kernel.facts import (
    TERMINAL,
    ActionAuthorised,
    ActionDenied,
    ApprovalRequested,
    OrchestrationClosed,
    OrchestrationResumed,
    OrchestrationStarted,
    Recorded,
    ReviewRequested,
    StageDecided,
)


def why_not_resumed(
    state: OrchestrationState, earlier: Sequence[ReplayRow], *, again: bool
) -> InterlockError | None:
    """Why this orchestration cannot go on; None when it can.

    Args:
        again: although its event was started anew already, so that its effects may be there under other keys.
    """
    key = state.orchestration_id
    if (open_one := _unfinished(earlier)) is not None:
        return in_progress(open_one)
    if (reran := _last_done(earlier, "rerun")) is not None and not again:
        return _already_rerun(reran)
    if state.status != "dead_lettered":
        resumed_before = _last_done(earlier, "resume")
        if resumed_before is not None and state.status != "failed":
            return already_replayed(resumed_before, f"It {_IS[state.status]} now.")
        return NothingToReplayError(f"{key} {_IS[state.status]}.", _REMEDY[state.status].format(id=key))
    match outstanding(resumed(state)):
        case (Close(status="cancelled"),):
            return NothingToReplayError(
                f"{key} was cancelled by {state.cancelled_by}: what is unsent stays unsent.",
                f"Start its event anew if it is wanted after all: `python -m app replay {key} --mode rerun`.",
            )
        case (Close(status="dead_lettered"),):
            return NothingToReplayError(
                f"All that {key} has not done is in doubt: it may have been applied.",
                "Look at the target, and say what became of it: `python -m app actions settle ID`.",
            )
    return None


def why_not_rerun(history: History, earlier: Sequence[ReplayRow], *, again: bool) -> InterlockError | None:
    """Why its event cannot be started anew; None when it can."""
    key, started = history.orchestration_id, started_fact(history)
    if started is None:
        return NothingToReplayError(
            f"{key} has no first fact.", f"Verify it: `python -m app runs verify {key}`."
        )
    if started.lane != "live":
        original = started.replay_of or "its original"
        return NotReplayableError(f"{key} is itself a {started.lane} of {original}.", f"Replay {original}.")
    if (open_one := _unfinished(earlier)) is not None:
        return in_progress(open_one)
    if (status := status_of(history.facts)) not in TERMINAL:
        return NothingToReplayError(
            f"{key} {_IS[status]}.", f"Wait for its end, or cancel it: `runs cancel {key}`."
        )
    if (reran := _last_done(earlier, "rerun")) is not None and not again:
        return _already_rerun(reran)
    return None


def in_progress(row: ReplayRow) -> ReplayInProgressError:
    """Somebody else is at it: by name, and since when."""
    return ReplayInProgressError(
        f"{row.actor} is replaying {row.orchestration_id} ({row.mode}) since {to_text(row.requested_at)}.",
        f"Wait for what comes out: `python -m app audit replays {row.replay_id}`.",
    )


def already_replayed(row: ReplayRow, more: str) -> AlreadyReplayedError:
    """Somebody was faster: by name, and when."""
    at = to_text(row.finished_at or row.requested_at)
    return AlreadyReplayedError(
        f"{row.actor} has replayed {row.orchestration_id} ({row.mode}) at {at}: {row.outcome}.",
        f"{more} Look at `python -m app audit replays {row.replay_id}`.",
    )


def key_expired(after: OrchestrationState) -> KeyExpiredError:
    """Nothing is left that could be sent safely."""
    late = sum(action.status == "authorised" for action in after.actions_by_id.values())
    return KeyExpiredError(
        f"Nothing can be sent safely: {late} of {len(after.actions_by_id)} actions may have been applied, and their"
        " targets may have forgotten the keys.",
        "They are in doubt: a probe finds out, or a person says so with `python -m app actions settle ID`.",
    )


def _already_rerun(row: ReplayRow) -> AlreadyReplayedError:
    return already_replayed(
        row, f"Its event was started anew as {row.new_orchestration_id}; --again replays it all the same."
    )


def _last_done(earlier: Sequence[ReplayRow], mode: Mode) -> ReplayRow | None:
    return next((row for row in reversed(earlier) if row.state == "done" and row.mode == mode), None)


def _unfinished(earlier: Sequence[ReplayRow]) -> ReplayRow | None:
    return next((row for row in earlier if row.finished_at is None), None)


def refusal_in_words(error: InterlockError) -> str:
    """As the register keeps it: the code, a colon, and what."""
    return f"{error.code}: {error.what}"


def resumed(state: OrchestrationState) -> OrchestrationState:
    """The state as a resume would leave it, before anything follows from that."""
    return evolve(state, OrchestrationResumed(replay_id="", actor="", reason_digest=""))


def started_fact(history: History) -> OrchestrationStarted | None:
    """How it began."""
    first = history.facts[0].fact if history.facts else None
    return first if isinstance(first, OrchestrationStarted) else None


def status_of(facts: Iterable[Recorded]) -> str:
    """What the orchestration is, known without its release."""
    status = "running"
    in_review: set[str] = set()
    awaited: set[str] = set()
    for recorded in facts:
        match recorded.fact:
            case OrchestrationClosed(status=closed):
                status = closed
            case OrchestrationResumed():
                status = "running"
            case ReviewRequested(stage=stage):
                in_review.add(stage)
            case StageDecided(stage=stage):
                in_review.discard(stage)
            case ApprovalRequested(action_id=action):
                awaited.add(action)
            case ActionAuthorised(action_id=action) | ActionDenied(action_id=action):
                awaited.discard(action)
    if status != "running":
        return status
    return "in_review" if in_review else "awaiting_approval" if awaited else "running"


_IS = {
    "completed": "is completed",
    "failed": "ended without a decision, and would end so again under the same release",
    "cancelled": "was cancelled",
    "running": "still runs",
    "waiting_for_release": "waits for its release",
    "awaiting_approval": "waits for an approval",
    "in_review": "is in review",
}
_REMEDY = {
    "completed": "There is nothing to repair. To start its event anew: `python -m app replay {id} --mode rerun`.",
    "failed": "Start its event anew under a release that decides it: `python -m app replay {id} --mode rerun`.",
    "cancelled": "To start its event anew: `python -m app replay {id} --mode rerun`.",
    "running": "Wait for its end; `python -m app runs show {id}` tells how far it is.",
    "waiting_for_release": "Run a worker that can load its release; it then goes on by itself.",
    "awaiting_approval": "It goes on when people answer (`python -m app approvals list` names what waits), or when"
    " the approval expires.",
    "in_review": "It goes on when a person completes its review (`python -m app reviews show {id}`), or when that"
    " expires.",
}
