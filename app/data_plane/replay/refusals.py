"""Why a replay is refused: each with a stable code, and each without any effect."""

from __future__ import annotations

from app.kernel.errors import ConflictError, InterlockError, NotFoundError, PermanentError


class ReasonMissingError(PermanentError):
    """A replay without a reason cannot be explained later."""

    code = "reason_missing"

    def __init__(self) -> None:
        super().__init__("No reason was given.", "Say why with --reason; it is kept with the replay.")


class ActorMissingError(PermanentError):
    """A replay that nobody answers for."""

    code = "actor_missing"

    def __init__(self) -> None:
        super().__init__("It is not said who replays.", "Say who you are with --actor.")


class TooLongError(PermanentError):
    """An actor or a reason that is no name or no sentence any more."""

    code = "too_long"


class UnknownOrchestrationError(NotFoundError):
    """No orchestration goes by that id."""

    code = "unknown_orchestration"


class NothingToReplayError(ConflictError):
    """It ended well, was cancelled, still runs, or only a person can tell how it goes on."""

    code = "nothing_to_replay"


class ReplayInProgressError(ConflictError):
    """Somebody else is replaying the same orchestration."""

    code = "replay_in_progress"


class AlreadyReplayedError(ConflictError):
    """Somebody has replayed it before."""

    code = "already_replayed"


class NotReplayableError(PermanentError):
    """What was named is itself a replay, or no work of an orchestration."""

    code = "not_replayable"


class ReleaseNotPublishedError(NotFoundError):
    """A rerun needs a published release of the same workflow."""

    code = "release_not_published"


class KeyExpiredError(ConflictError):
    """All that would be sent may have been applied, and the targets may have forgotten its keys."""

    code = "key_expired"


class ContentGoneError(ConflictError):
    """The event's content was removed, so that it cannot be started anew."""

    code = "content_gone"


_OF_A_PLAN: dict[str, type[InterlockError]] = {
    kind.code: kind
    for kind in (
        NothingToReplayError,
        ReplayInProgressError,
        AlreadyReplayedError,
        NotReplayableError,
        KeyExpiredError,
    )
}


def error_of(code: str, what: str, remedy: str) -> InterlockError:
    """The refusal that a plan foresees, as the error that it is."""
    return _OF_A_PLAN[code](what, remedy)
