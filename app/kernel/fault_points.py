"""Fault points: the named places where the fault harness may stop a process, to see that nothing is lost by it.

Nothing stands behind them in production: ``reached`` returns at once. What happens at a point is the harness's own code
(``tests/faults``), which puts itself behind them with ``arm`` when its environment says so.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class FaultPoint(StrEnum):
    """Where in one unit of work a process may die."""

    AFTER_RECEIVE = "after_receive"
    """The message or request is there, and nothing was claimed or recorded."""
    AFTER_CLAIM = "after_claim"
    """Steps are leased to this process."""
    BEFORE_EFFECT = "before_effect"
    """Its intent is committed, and nothing was sent: a model's call, a delivery."""
    AFTER_EFFECT_BEFORE_RECORD = "after_effect_before_record"
    """The outside world has answered, and the answer stands nowhere yet."""
    BEFORE_TOOL = "before_tool"
    """A call is permitted and recorded, and the tool that reads was not called yet."""
    AFTER_TOOL_BEFORE_RECORD = "after_tool_before_record"
    """A tool that reads has answered, and what it answered stands nowhere yet."""
    BEFORE_HAND_OVER = "before_hand_over"
    """A run's calls that write or send stand in its own facts, and its orchestration knows nothing of them."""
    AFTER_HAND_OVER = "after_hand_over"
    """The orchestration has them, and the run waits for what they come to without a worker."""
    AFTER_TOLD = "after_told"
    """A run that was woken has what its calls came to in its own facts, and no model has seen it."""
    BEFORE_COMMIT = "before_commit"
    """All is written, and the transaction is open."""
    AFTER_RECORD = "after_record"
    """It is committed, and nobody was told."""
    AFTER_PUBLISH = "after_publish"
    """The next queue was told."""
    AFTER_RECORD_BEFORE_ACK = "after_record_before_ack"
    """All is done, and the message is not acknowledged (the request not answered)."""


Hook = Callable[[FaultPoint, str], None]

_hook: Hook | None = None

_EVERY_STEP = (
    FaultPoint.AFTER_RECEIVE,
    FaultPoint.AFTER_CLAIM,
    FaultPoint.BEFORE_COMMIT,
    FaultPoint.AFTER_RECORD,
    FaultPoint.AFTER_RECORD_BEFORE_ACK,
)
_EFFECT = (FaultPoint.BEFORE_EFFECT, FaultPoint.AFTER_EFFECT_BEFORE_RECORD)
_CALLS = (
    FaultPoint.BEFORE_TOOL,
    FaultPoint.AFTER_TOOL_BEFORE_RECORD,
    FaultPoint.BEFORE_HAND_OVER,
    FaultPoint.AFTER_HAND_OVER,
    FaultPoint.AFTER_TOLD,
)

REGISTERED: dict[str, tuple[FaultPoint, ...]] = {
    "ingestion": (
        FaultPoint.AFTER_RECEIVE,
        FaultPoint.BEFORE_COMMIT,
        FaultPoint.AFTER_RECORD,
        FaultPoint.AFTER_PUBLISH,
        FaultPoint.AFTER_RECORD_BEFORE_ACK,
    ),
    "orchestration": (*_EVERY_STEP, FaultPoint.AFTER_PUBLISH),
    "agent_runs": (*_EVERY_STEP, *_EFFECT, *_CALLS, FaultPoint.AFTER_PUBLISH),
    "aggregation": (*_EVERY_STEP, FaultPoint.AFTER_PUBLISH),
    "dispatch": (*_EVERY_STEP, *_EFFECT, FaultPoint.AFTER_PUBLISH),
    "replay": (*_EVERY_STEP, FaultPoint.AFTER_PUBLISH),
    "maintenance": (FaultPoint.AFTER_RECEIVE, FaultPoint.AFTER_RECORD_BEFORE_ACK),
    "dead_letter": (
        FaultPoint.AFTER_RECEIVE,
        FaultPoint.BEFORE_COMMIT,
        FaultPoint.AFTER_RECORD_BEFORE_ACK,
    ),
}
"""By queue: the points that a unit of its work passes, each of them and no other. The harness crashes at each, and
compares this with what a running service passes."""


def arm(hook: Hook | None) -> None:
    """Let ``hook`` be called with every point that is reached and its queue; None takes it away again."""
    global _hook
    _hook = hook


def reached(point: FaultPoint, queue: str) -> None:
    """A unit of work of ``queue`` has come to this point."""
    if _hook is not None:
        _hook(point, queue)
