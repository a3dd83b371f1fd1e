"""What failed, and what a person can do about it: one sentence each, of ids, codes and numbers, never of content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.data_plane.dead_letters.letters import Cause
from app.kernel.errors import Fate

_TRANSIENT = frozenset(
    {
        "unavailable",
        "not_applied",
        "provider_busy",
        "provider_failed",
        "release_unavailable",
        "newer_version",
        "lost_worker",
    }
    | {"time_limit", "timed_out", "connect_timed_out", "too_many_attempts", "secret_unavailable"}
    | {"connection_refused", "name_not_resolved", "tls_failed"}
)
_BUSY_STATUSES = frozenset({"http_408", "http_425", "http_429"})

_ELSEWHERE = (
    "the target sent it to another address, and no redirect is followed",
    "Write the address where the target is now into the tenant's document (`url`), and publish it",
)
_NOT_SENT: dict[str, tuple[str, str]] = {
    "address_not_allowed": (
        "its target's name leads only to addresses that are not public and that the tenant does not allow",
        "Correct the target's `url` in the tenant's document, or name the network in its `allow`, and publish it;"
        " when neither is wrong, find out who changed where the name leads",
    ),
    "invalid_address": (
        "its target's URL cannot be read, or not in one way only",
        "Correct the target's `url` in the tenant's document, or what it refers to: http or https, a host in its"
        " usual spelling, no user, query or fragment",
    ),
    "invalid_network": (
        "what its target may lead to is no network",
        "Write each `allow` of the target in the tenant's document as 10.0.0.0/8, and publish it",
    ),
    "invalid_header": (
        "a value of its request cannot stand in a path or a header",
        "Look for line breaks, control characters or letters beyond ASCII in the target's secret and in the ids",
    ),
    "certificate_not_verified": (
        "who answered could not show to be its target",
        "Have the target's certificate mended (its names, its period, who issued it), or find out who answers there",
    ),
    "http_307": _ELSEWHERE,
    "http_308": _ELSEWHERE,
}
"""Why a target was not asked, or not a second time elsewhere, and what to do: where the code alone says too little."""

AGAIN = "look at `python -m app dead-letters plan {id}`, then replay it"


def fate_of(code: str) -> Fate:
    """Whether what met this code may work when it is tried again, as far as the code tells."""
    if code == "defect":
        return Fate.DEFECT
    transient = code in _TRANSIENT or code in _BUSY_STATUSES or code.startswith("http_5")
    return Fate.TRANSIENT if transient else Fate.PERMANENT


def attempts(number: int) -> str:
    """``1 attempt``, ``3 attempts``."""
    return f"{number} attempt{'' if number == 1 else 's'}"


def step_gave_up(cause: Cause, queue: str, code: str, tries: int) -> str:
    """What became of a step."""
    if cause is Cause.LOST_WORKER:
        return f"Workers were lost on a step of {queue} {tries} times, and it is not tried again."
    if cause is Cause.TIME_LIMIT:
        return f"A step of {queue} went past its time limit {tries} times, and it is not tried again."
    return f"A step of {queue} gave up after {attempts(tries)}: {code}."


def step_remedy(cause: Cause, code: str, orchestration: str, letter: str) -> str:
    """What to do about a step that gave up."""
    again = AGAIN.format(id=letter)
    if cause is Cause.LOST_WORKER:
        return f"Look for what ends the workers (memory, a crash in their logs); then {again}."
    if cause is Cause.TIME_LIMIT:
        return f"Look for what is slow, or publish a release with a longer limit; then {again}."
    if fate_of(code) is Fate.DEFECT:
        return f"A defect of Interlock: report it with the workers' log lines; when it is mended, {again}."
    return f"Look at `python -m app runs explain {orchestration}` and mend its reason; then {again}."


def run_gave_up(cause: Cause) -> str:
    """What became of a run; its orchestration goes on without its proposal."""
    if cause is Cause.LOST_WORKER:
        return "Workers were lost on a run each time it was tried; its stage went on without its proposal."
    return "A run went past its stage's limit; its stage went on without its proposal."


def run_remedy(cause: Cause, orchestration: str) -> str:
    """What to do about it."""
    anew = f"to decide it again: `python -m app replay {orchestration} --mode rerun`"
    if cause is Cause.LOST_WORKER:
        return f"Look for what ends the workers (memory, a crash in their logs); then, {anew}."
    return f"Look for what is slow, or publish a release with a longer limit; then, {anew}."


def undelivered(tries: int, code: str) -> str:
    """What became of an action that was given up."""
    why = f" ({_NOT_SENT[code][0]})" if code in _NOT_SENT else ""
    return f"An action was not delivered in {attempts(tries)}: {code}{why}."


def not_applied() -> str:
    """What is known of an action that was in doubt: it waits for a person to have it sent."""
    return "An action that was in doubt was not applied, and is not sent again by itself."


def undelivered_remedy(code: str, letter: str) -> str:
    """What to do about it."""
    if fate_of(code) is Fate.TRANSIENT:
        return f"When the target is well again, {AGAIN.format(id=letter)}: it is sent with the same key."
    if code in _NOT_SENT:
        return f"{_NOT_SENT[code][1]}; then {AGAIN.format(id=letter)}."
    return f"Mend what the target refuses; then {AGAIN.format(id=letter)}."


def in_doubt(attempt: int) -> str:
    """What is known of an action in doubt."""
    return f"Nobody knows whether attempt {attempt} at an action was applied: it is not sent again by itself."


def in_doubt_remedy(action: str) -> str:
    """What to do about it."""
    return f"Look whether the target has it, and say so: `python -m app actions settle {action}`."


def undecided(stage: str, code: str) -> str:
    """Why there is no decision."""
    if code == "review_expired":
        return f"The stage {stage} came to no outcome, and nobody completed its review in time."
    if code == "fallback_failed":
        return f"The stage {stage} came to no outcome, and its fallback gave no valid one."
    if stage:
        return f"The stage {stage} came to no outcome, and its template has no fallback."
    return "The decision's expressions could not be evaluated over the stages' outcomes."


def undecided_remedy(orchestration: str, code: str) -> str:
    """What to do about it: the same release would end the same way, unless a person is there in time."""
    if code == "review_expired":
        return (
            f"Start it anew, `python -m app replay {orchestration} --mode rerun`, and complete its review in time:"
            " `python -m app reviews list`."
        )
    return (
        f"Look at `python -m app runs explain {orchestration}`, publish a release that decides it, and start it"
        f" anew: `python -m app replay {orchestration} --mode rerun`."
    )


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a message: where it was, what it asked for, its size in bytes, its digest."""

    queue: str
    task: str
    code: str
    size: int
    digest: str


def _what(message: Told) -> str:
    return f"A message of {message.size} bytes in {message.queue} (SHA-256 {message.digest[:12]})"


def _task(message: Told) -> str:
    return message.task or "no readable name"


_MESSAGES: dict[Cause, Callable[[Told], str]] = {
    Cause.UNKNOWN_TASK: lambda told: f"{_what(told)} asks for the task {_task(told)}, which no worker knows.",
    Cause.UNDECODABLE_MESSAGE: lambda told: f"{_what(told)} cannot be read: {told.code}.",
    Cause.REJECTED_MESSAGE: lambda told: f"{_what(told)} for {_task(told)} was refused: {told.code}.",
    Cause.LOST_WORKER: lambda told: (
        f"{_what(told)} for {_task(told)} lost its worker each time it was tried."
    ),
    Cause.TIME_LIMIT: lambda told: f"{_what(told)} for {_task(told)} went past its time limit.",
    Cause.FAILED_STEP: lambda told: f"{_what(told)} for {_task(told)} met an error in its task: {told.code}.",
}

_NOT_KEPT = "its content is not kept here"
_REMEDIES: dict[Cause, str] = {
    Cause.UNKNOWN_TASK: "Start workers of the version that has the task, or correct the sender; then send it again:"
    f" {_NOT_KEPT}.",
    Cause.UNDECODABLE_MESSAGE: f"Find what writes to this queue and is no client of Interlock's: {_NOT_KEPT}.",
    Cause.REJECTED_MESSAGE: f"Correct it where it was sent, by its code, and send it again: {_NOT_KEPT}.",
    Cause.LOST_WORKER: "Look for what ends the workers (memory, a crash in their logs); steps that it named are"
    " found again by themselves.",
    Cause.TIME_LIMIT: "Look for what is slow; steps that it named are found again by themselves.",
    Cause.FAILED_STEP: f"A defect of Interlock: report it with the workers' log lines; send it again: {_NOT_KEPT}.",
}

_BY_CODE: dict[str, str] = {
    "bad_signature": "Check the tenant's signing key on both sides (`signing_key` in its document); its client sends"
    " the event again.",
    "unknown_workflow": "Publish a release of the workflow that it asks for (`python -m app releases publish`), or"
    " correct the sender; then send the event again.",
    "unknown_type": "Correct the event's type where it was sent, and send it again under a new id.",
    "event_conflict": "Give the event an id of its own where it was sent, and send it again.",
    "event_routed_elsewhere": "Enqueue it under another id for each workflow, or publish it once for all subscribers.",
    "content_disallowed": "Only JSON is taken: correct the sender's serializer, and send it again.",
}


def message_gave_up(cause: Cause, message: Told) -> str:
    """What became of a message."""
    return _MESSAGES[cause](message)


def message_remedy(cause: Cause, code: str, letter: str) -> str:
    """What to do about it."""
    remedy = _BY_CODE.get(code) or _REMEDIES[cause]
    return f"{remedy} When that is done: `python -m app dead-letters settle {letter}`."
