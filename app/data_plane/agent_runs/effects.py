"""What became of an effect that a run's model has called for, as the run is told."""

from __future__ import annotations

from app.data_plane.agent_runs.calls import failed
from app.data_plane.contents import Contents
from app.data_plane.orchestration.action_state import ActionState
from app.data_plane.orchestration.state import OrchestrationState
from app.data_plane.tools import read_result
from app.kernel.errors import InterlockError
from app.kernel.facts import ToolAnswered, ToolCalled, ToolFailed
from interlock.canonical import canonical_bytes

DENIED = "denied"
NOT_APPROVED = "not_approved"
NOT_DELIVERED = "not_delivered"
OUTCOME_UNKNOWN = "outcome_unknown"
RESULT_INVALID = "tool_result_invalid"
"""It was applied, and what the target answered is not what the tool declares, or was never heard."""


def told(state: OrchestrationState, called: ToolCalled, contents: Contents) -> ToolAnswered | ToolFailed:
    """The fact of the run's own chain that ends the call. Its action is settled."""
    action = state.actions_by_id[called.action_id]
    if action.status == "confirmed":
        receipt = contents.body(action.receipt_digest)
    elif action.status == "settled" and action.applied:
        # A probe or a person says that it was applied; what the target answered then, nobody has heard.
        receipt = b""
    else:
        return failed(called, _why(action))
    result = read_result(called.tool, receipt)
    if isinstance(result, InterlockError):
        return failed(called, RESULT_INVALID)
    return ToolAnswered(
        position=called.position,
        call=called.call,
        result_digest=contents.add_bytes(canonical_bytes(result)),
        duration_ms=0,
    )


def _why(action: ActionState) -> str:
    match action.status:
        case "denied":
            return NOT_APPROVED if getattr(action.proposed, "was_asked", False) else DENIED
        case "in_doubt":
            return OUTCOME_UNKNOWN
    return NOT_DELIVERED
