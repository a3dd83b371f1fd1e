"""``resume``: a dead-lettered orchestration goes on from where it gave up, as facts and steps. Pure.

What is confirmed is not sent again. What gave up is sent again with the same key, unless an earlier attempt may have
been applied and its target may have forgotten the key: that is recorded as in doubt instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from app.data_plane.dispatch.doubts import can_be_asked
from app.data_plane.orchestration.recorder import Loaded, Plan
from app.data_plane.orchestration.state import OrchestrationState, evolve
from app.data_plane.orchestration.steps import to_go_on
from app.data_plane.replay.judging import key_expired, refusal_in_words, why_not_resumed
from app.data_plane.replay.plan import all_past_their_keys, past_their_keys
from app.data_plane.replay.register import ReplayEnd, ReplayRow
from app.kernel.facts import OrchestrationResumed


def resume(
    loaded: Loaded,
    row: ReplayRow,
    others: Sequence[ReplayRow],
    contents: Mapping[str, bytes],
    now: datetime,
) -> Plan:
    """What carrying out the replay records.

    Args:
        others: the other replays of the same orchestration.
        contents: the replay's reason, by digest; kept once more, as the fact names it from now on.
    """
    refusal = why_not_resumed(loaded.state, others, again=True)
    if refusal is not None:
        return Plan(ends_replay=ReplayEnd(row.replay_id, "refused", refusal_in_words(refusal)))
    resumed = OrchestrationResumed(replay_id=row.replay_id, actor=row.actor, reason_digest=row.reason_digest)
    facts = loaded.history.facts
    after = evolve(loaded.state, resumed)
    late = past_their_keys(after, facts, now)
    if all_past_their_keys(after, facts, now):
        end = ReplayEnd(row.replay_id, "refused", refusal_in_words(key_expired(after)))
    else:
        end = ReplayEnd(row.replay_id, "done", _in_words(after, len(late)))
    for fact in late:
        after = evolve(after, fact)
    asked_about = [key for key in after.actions_by_id if can_be_asked(after, key)]
    return Plan((resumed, *late), contents, reopen=to_go_on(after, asked_about), ends_replay=end)


def _in_words(after: OrchestrationState, late: int) -> str:
    """What goes on, for the register."""
    actions = [action for action in after.actions_by_id.values() if action.status != "denied"]
    if after.decision is None:
        return "resumed: it goes on towards its decision"
    sent = sum(action.status == "authorised" for action in actions) - late
    confirmed = sum(action.status == "confirmed" or action.applied for action in actions)
    doubts = late + sum(action.status == "in_doubt" for action in actions)
    told = f"resumed: {sent} of {len(actions)} actions are sent again, {confirmed} were confirmed before"
    return f"{told}, {doubts} are in doubt" if doubts else told
