"""Carrying an orchestration on by pure code: an outside fact in, what follows from it and what is left to do out.

The same code runs when it happens and when it is verified, so a recorded history is decided the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.data_plane.aggregation.rules import Proposal, Result, aggregate
from app.data_plane.contents import Contents
from app.data_plane.expressions import ExpressionError, Scope
from app.data_plane.orchestration.authorisation import authorise, authorise_call, conclude_approval
from app.data_plane.orchestration.decide import (
    Aggregate,
    Authorise,
    AuthoriseCall,
    Close,
    Command,
    Complete,
    Conclude,
    ConcludeApproval,
    ConsiderStage,
    Deliver,
    TakeSnapshot,
    newly,
    outstanding,
)
from app.data_plane.orchestration.state import OrchestrationState, evolve
from app.kernel.document import Expression
from app.kernel.errors import DefectError
from app.kernel.facts import (
    AnyFact,
    DecisionMade,
    OrchestrationClosed,
    ReviewRequested,
    StageDecided,
    StageSkipped,
    StageStarted,
)
from app.kernel.release import ActionTemplate
from app.kernel.schema_words import misfits
from interlock.canonical import JsonObject, JsonValue, digest


@dataclass(frozen=True, slots=True)
class Progress:
    """The new state, all facts to append (the outside one first), and the commands that need the outside world."""

    state: OrchestrationState
    facts: tuple[AnyFact, ...]
    effects: tuple[TakeSnapshot | Deliver, ...]


def progress(state: OrchestrationState, fact: AnyFact, contents: Contents) -> Progress:
    """Everything that follows from ``fact``. A fact that cannot follow gives no facts and no effects.

    Args:
        state: what was known before.
        fact: what happened.
        contents: must hold the normalised event, the snapshot, the stages' outcomes and the folded runs'
            proposals, and what a person made of a stage; what is made here (outcomes, votes, arguments) is added to it.
    """
    facts: list[AnyFact] = []
    effects: list[TakeSnapshot | Deliver] = []
    waiting: list[AnyFact] = [fact]
    due = outstanding(state)
    while waiting:
        current = waiting.pop(0)
        after = evolve(state, current)
        if after is state:
            continue
        known, due = due, outstanding(after)
        state = after
        facts.append(current)
        for command in newly(known, due):
            if isinstance(command, (TakeSnapshot, Deliver)):
                effects.append(command)
            else:
                waiting += _perform(state, command, contents)
    return Progress(state, tuple(facts), tuple(effects))


def _perform(state: OrchestrationState, command: Command, contents: Contents) -> list[AnyFact]:
    match command:
        case ConsiderStage(stage=stage):
            return [_consider(state, stage, contents)]
        case Aggregate(stage=stage):
            return [_aggregate(state, stage, contents)]
        case Complete(stage=stage):
            return [_complete(state, stage, contents)]
        case Conclude():
            return [_conclude(state, contents)]
        case Authorise():
            return list(authorise(state, _decision(state, contents), contents))
        case AuthoriseCall(action_id=key):
            return [authorise_call(state, (state.calls or {})[key], contents)]
        case ConcludeApproval(action_id=key):
            return [conclude_approval(state, key)]
        case Close(status=status, reason=reason):
            return [OrchestrationClosed(status=status, reason=reason)]
    raise DefectError(f"No pure code performs {type(command).__name__}.")


def scope(state: OrchestrationState, contents: Contents) -> Scope:
    """What a template's expressions see: the event, the snapshot, each stage's outcome (null when there is none)."""
    if state.started is None or state.snapshot_digest is None:
        raise DefectError("An orchestration has no variables before its snapshot is taken.")
    return Scope(
        {
            "event": contents.value(state.started.event_digest),
            "snapshot": contents.value(state.snapshot_digest),
            "stages": {
                name: contents.value(stage.decided.outcome_digest) if stage.decided is not None else None
                for name, stage in state.stages.items()
            },
        }
    )


def _consider(state: OrchestrationState, name: str, contents: Contents) -> AnyFact:
    template = state.release.template.stage(name)
    verdict = scope(state, contents).holds(template.when) if template.when else True
    if isinstance(verdict, ExpressionError):
        return StageSkipped(stage=name, reason=f"condition_error: {verdict.reason}")
    if not verdict:
        return StageSkipped(stage=name, reason="condition_false")
    return StageStarted(stage=name, agents=template.agents)


def _aggregate(state: OrchestrationState, name: str, contents: Contents) -> AnyFact:
    """The winner's proposal, else the stage's fallback, else a clear end."""
    template = state.release.template.stage(name)
    result = _result(state, name, contents)
    if result.outcome is not None:
        return _decided(name, result, contents.add(result.outcome), contents)
    if template.fallback is not None:
        return _decided(name, result, contents.add(template.fallback), contents)
    if template.fallback_rule is not None:
        return _by_rule(state, name, template.fallback_rule, result, contents)
    if template.fallback_review is not None:
        return ReviewRequested(stage=name, expires_seconds=template.fallback_review.expires_seconds)
    return _without_outcome(name, result.reason)


def _by_rule(
    state: OrchestrationState,
    name: str,
    rule: Mapping[str, Expression],
    result: Result,
    contents: Contents,
) -> AnyFact:
    known = scope(state, contents)
    outcome: dict[str, JsonValue] = {}
    for field, expression in rule.items():
        value = known.evaluate(expression)
        if isinstance(value, ExpressionError):
            return _without_outcome(name, f"fallback rule: field {field}: {value.reason}")
        outcome[field] = value
    if (wrong := _misfitting(state, name, outcome)) is not None:
        return _without_outcome(name, f"fallback rule: {wrong}")
    return _decided(name, result, contents.add(outcome), contents, "rule")


def _complete(state: OrchestrationState, name: str, contents: Contents) -> AnyFact:
    resolved = state.stages[name].resolved
    if resolved is None:
        raise DefectError(f"Nobody has completed the stage {name}.")
    # Whoever recorded it has checked this; who reads a record anew trusts nobody.
    wrong = _misfitting(state, name, contents.object(resolved.outcome_digest))
    if wrong is not None:
        return _without_outcome(name, f"review: {wrong}")
    return _decided(name, _result(state, name, contents), resolved.outcome_digest, contents, "review")


def _misfitting(state: OrchestrationState, name: str, outcome: JsonObject) -> str | None:
    """The fields that do not fit; never the validator's words, as this is recorded and derived again."""
    found = misfits(state.release.template.stage(name).proposal, outcome)
    fields = dict.fromkeys(misfit.field for misfit in found)
    return f"its outcome is no valid proposal ({', '.join(sorted(fields))})" if found else None


def _without_outcome(name: str, reason: str) -> OrchestrationClosed:
    return OrchestrationClosed(status="failed", reason=f"stage {name}: {reason}")


def _decided(
    name: str,
    result: Result,
    outcome_digest: str,
    contents: Contents,
    fallback: Literal["", "rule", "review"] = "",
) -> StageDecided:
    return StageDecided(
        stage=name,
        rule=result.rule,
        winner=result.winner,
        degraded=result.winner is None,
        outcome_digest=outcome_digest,
        votes_digest=contents.add(result.as_json()),
        fallback=fallback,
    )


def _result(state: OrchestrationState, name: str, contents: Contents) -> Result:
    template = state.release.template.stage(name)
    runs = {run.agent: run for run in state.stages[name].runs}
    proposals = [
        Proposal(
            agent,
            contents.object(proposal) if (proposal := runs[agent].proposal_digest) is not None else None,
            runs[agent].failure,
        )
        for agent in template.agents
    ]
    return aggregate(template.aggregation, proposals)


def _conclude(state: OrchestrationState, contents: Contents) -> AnyFact:
    known = scope(state, contents)
    template = state.release.template
    decision: dict[str, JsonValue] = {}
    for name, expression in template.decision.items():
        value = known.evaluate(expression)
        if isinstance(value, ExpressionError):
            return OrchestrationClosed(status="failed", reason=f"decision field {name}: {value.reason}")
        decision[name] = value
    known.add("decision", decision)
    reason = known.evaluate(template.reason)
    actions = [_propose(action, known) for action in template.actions]
    outcome: JsonObject = {
        "decision": decision,
        "reason": reason if isinstance(reason, str) else f"(no reason: {reason})",
        "actions": [action for action in actions if action is not None],
    }
    outcome_digest = contents.add(outcome)
    return DecisionMade(
        decision_digest=decision_digest(state, outcome_digest),
        outcome_digest=outcome_digest,
        degraded=any(stage.decided.degraded for stage in state.stages.values() if stage.decided is not None),
        actions=sum(action is not None for action in actions),
    )


def _propose(action: ActionTemplate, known: Scope) -> JsonObject | None:
    """One action that the decision asks for; an argument without a value makes it one that will be denied."""
    wanted = known.holds(action.when)
    if wanted is False:
        return None
    problems: list[str] = [f"when: {wanted.reason}"] if isinstance(wanted, ExpressionError) else []
    arguments: dict[str, JsonValue] = {}
    for name, expression in action.arguments.items():
        value = known.evaluate(expression)
        if isinstance(value, ExpressionError):
            problems.append(f"{name}: {value.reason}")
        else:
            arguments[name] = value
    return {
        "name": action.name,
        "tool": action.tool,
        "target": action.target,
        "arguments": arguments,
        "problems": problems,
    }


def _decision(state: OrchestrationState, contents: Contents) -> JsonObject:
    if state.decision is None:
        raise DefectError("There is no decision to authorise the actions of.")
    return contents.object(state.decision.outcome_digest)


def decision_digest(state: OrchestrationState, outcome_digest: str) -> str:
    """SHA-256 over everything the decision rests on.

    It covers the release, the normalised event, the snapshot, each stage's proposals, recorded failures, rule and
    outcome, and the decision itself; never times, attempts, sequence numbers, cost or fences.
    """
    if state.started is None or state.snapshot_digest is None:
        raise DefectError("There is nothing to decide on yet.")
    stages: list[JsonValue] = []
    for template in state.release.template.stages:
        stage = state.stages[template.name]
        runs = {run.agent: run for run in stage.runs}
        stages.append(
            {
                "stage": template.name,
                "status": stage.status,
                "skipped_because": stage.skipped_because,
                "rule": stage.decided.rule if stage.decided is not None else None,
                "outcome": stage.decided.outcome_digest if stage.decided is not None else None,
                "proposals": [
                    {"agent": agent, "proposal": runs[agent].proposal_digest, "failure": runs[agent].failure}
                    for agent in template.agents
                    if agent in runs
                ],
            }
        )
    return digest(
        {
            "release": state.started.release,
            "event": state.started.event_digest,
            "snapshot": state.snapshot_digest,
            "stages": stages,
            "outcome": outcome_digest,
        }
    )
