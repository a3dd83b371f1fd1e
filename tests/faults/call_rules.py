"""What can be wrong with the effects that agents' runs call for, beside what can be wrong with any effect."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.known import Evidence
from tests.faults.records import Action, Orchestration
from tests.faults.runs import Called, Told
from tests.faults.verdict import Violation

TOLD_AFTER = {
    "": {"delivery_confirmed"},
    "tool_result_invalid": {"delivery_confirmed"},
    "outcome_unknown": {"delivery_in_doubt"},
    "not_delivered": {"delivery_failed", "delivery_probed", "action_settled"},
}
"""By what a run was told of its call: what has happened to the action before that."""
TOLD_OF_NOTHING = frozenset({"denied", "not_approved"})
SETTLED = frozenset({"confirmed", "failed", "in_doubt", "settled"})


def not_as_permitted(evidence: Evidence) -> list[Violation]:
    """A request under an action's key that is not exactly what was permitted: another tool, or other arguments."""
    actions = {(action.target, action.key): action for action in evidence.actions}
    found = []
    for request in evidence.requests:
        action = actions.get((request.sink, request.key))
        if action is not None and (request.tool, request.body_digest) != (action.tool, action.arguments):
            detail = f"{request.tool} with {request.body_digest[:12]} instead of {action.tool}"
            found.append(Violation("not_as_permitted", action.action_id, detail))
    return found


def not_as_called(evidence: Evidence) -> list[Violation]:
    """An action of a run that its model never called for so, or a call that its run's own chain knows nothing of."""
    found = []
    for one in evidence.database.orchestrations.values():
        for action in one.actions.values():
            call = one.calls.get(action.action_id)
            wanted = (action.run_id, action.tool, action.target, action.arguments)
            if action.run_id and (
                call is None or wanted != (call.run_id, call.tool, call.target, call.arguments)
            ):
                found.append(
                    Violation("not_as_called", action.action_id, f"{call} of {one.orchestration_id}")
                )
        for call in one.calls.values():
            run = evidence.database.runs.get(call.run_id)
            known = {called.action_id: called.arguments for called in run.called.values()} if run else {}
            if known.get(call.action_id) != call.arguments:
                detail = f"{call.run_id} knows nothing of it"
                found.append(Violation("not_as_called", call.action_id, detail))
    return found


def not_told(evidence: Evidence) -> list[Violation]:
    """A run went on without what its call came to, or was told something else."""
    return [
        violation
        for one in evidence.database.orchestrations.values()
        for run_id in {call.run_id for call in one.calls.values()}
        for violation in _of_run(evidence, one, run_id)
    ]


def _of_run(evidence: Evidence, one: Orchestration, run_id: str) -> Iterator[Violation]:
    run = evidence.database.runs.get(run_id)
    if run is None:
        return
    for place, called in run.called.items():
        told = run.told.get(place)
        if told is None and called.verdict != "denied" and run.has_proposal:
            yield Violation("not_told", run_id, f"of its call {place} at {one.orchestration_id}")
        elif told is not None and called.verdict == "handed_over" and not _fits(one, called, told):
            action = one.actions.get(called.action_id)
            story = [moment.kind for moment in action.moments] if action is not None else []
            yield Violation("told_otherwise", called.action_id, f"{told.code or 'a result'} after {story}")


def _fits(one: Orchestration, called: Called, told: Told) -> bool:
    if told.code in TOLD_OF_NOTHING:
        return called.action_id in one.denied
    action = one.actions.get(called.action_id)
    before = (
        {moment.kind for moment in action.moments if moment.at <= told.at} if action is not None else set()
    )
    return bool(before & TOLD_AFTER.get(told.code, set()))


def asked_again(evidence: Evidence) -> list[Violation]:
    """A model was asked a question whose answer was recorded before."""
    return [
        Violation(
            "asked_again", run.run_id, f"{len(run.answered)} answers to {len(set(run.answered))} questions"
        )
        for run in evidence.database.runs.values()
        if len(set(run.answered)) < len(run.answered)
    ]


def waits_for_ever(evidence: Evidence) -> list[Violation]:
    """A run waits for nothing any more and nobody wakes it, or its orchestration is over and its step is not."""
    found = []
    for run_id, orchestration in evidence.database.waiting.items():
        one = evidence.database.orchestrations[orchestration]
        calls = [call for call in one.calls.values() if call.run_id == run_id]
        if one.closed_at is not None:
            found.append(Violation("waits_for_ever", run_id, f"its orchestration is {one.status}"))
        elif all(_is_settled(one, one.actions.get(call.action_id), call.action_id) for call in calls):
            found.append(Violation("waits_for_ever", run_id, f"all of its {len(calls)} calls are settled"))
    return found


def _is_settled(one: Orchestration, action: Action | None, action_id: str) -> bool:
    return action_id in one.denied or (action is not None and action.state in SETTLED)


def broken_run_chains(evidence: Evidence) -> list[Violation]:
    """A run's own hashes do not follow each other."""
    return [
        Violation("broken_chain", run.run_id, "the run's hashes do not follow each other")
        for run in evidence.database.runs.values()
        if not run.chain_is_whole
    ]
