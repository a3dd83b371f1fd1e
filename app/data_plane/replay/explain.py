"""``explain``: what happened, why, which version decided, and how to replay it safely; from the record alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import orjson

from app.data_plane.dispatch.doubts import can_be_asked
from app.data_plane.orchestration.action_state import ActionState, ActionStatus
from app.data_plane.orchestration.state import MOST_PROBES, OrchestrationState, StageState, fold, initial
from app.data_plane.projections import ActionRow, read_model
from app.data_plane.replay.narrate import WHO_ANSWERED, tell
from app.data_plane.replay.narrate_run import tell_run, total
from app.data_plane.replay.record import Record, read_chain
from app.kernel.facts import (
    ActionAuthorised,
    ActionDenied,
    ApprovalRequested,
    DecisionMade,
    ModelAnswered,
    ProposalMade,
    Recorded,
    RunFailed,
)
from app.kernel.release import Release, Stage
from app.telemetry.redaction import redact_value
from interlock.canonical import JsonObject, JsonValue
from interlock.identity import run_id


@dataclass(frozen=True, slots=True)
class DecisionTold:
    """The decision's fields and its reason; empty while there is none, or when its content was erased."""

    digest: str = ""
    fields: JsonObject = field(default_factory=dict)
    reason: str = ""
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """One recorded fact in plain words."""

    at: str
    seq: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Voice:
    """What one agent of a stage said, and who answered for it."""

    agent: str
    run_id: str
    proposal: JsonValue
    failure: str
    side: str
    """What its vote was for, under the stage's rule."""
    weight: int
    model: str
    provider: str
    parser: str
    way: tuple[str, ...]
    """Whom it asked, what came back, and why it turned to somebody else: a sentence each."""
    tokens: int
    nano_usd: int
    """What it cost; what is presumed counts."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """An agent whose run has begun and is not final, and its way so far."""

    agent: str
    run_id: str
    way: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageTold:
    """One stage and its outcome."""

    name: str
    status: str
    why: str
    """Why it was skipped, or how its votes were counted."""
    condition: str
    rule: str
    winner: str
    degraded: bool
    answered: str
    """Who or what answered when nobody won, in words."""
    outcome: JsonValue
    voices: tuple[Voice, ...]
    under_way: tuple[UnderWay, ...] = ()


@dataclass(frozen=True, slots=True)
class ActionTold:
    """One action, what the policy said of it, and what became of it."""

    action_id: str
    name: str
    tool: str
    target: str
    state: str
    permitted: bool
    policies: tuple[str, ...]
    reason: str
    attempts: int
    idempotency_key: str
    arguments: JsonValue
    replayed: str
    """What carrying on from here would do with it."""
    approval: str = ""
    """Who consented, or what it waits for, where the policy wants people's consent."""


@dataclass(frozen=True, slots=True)
class VersionTold:
    """Which documents and programs decided."""

    release: str
    workflow: str
    policy: str
    agents: tuple[str, ...]
    providers: tuple[str, ...]
    tools: tuple[str, ...]
    models: tuple[str, ...]
    normaliser: str
    rules: tuple[str, ...]
    parsers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The four answers."""

    orchestration_id: str
    status: str
    ended_because: str
    happened: tuple[Moment, ...]
    decision: DecisionTold
    stages: tuple[StageTold, ...]
    actions: tuple[ActionTold, ...]
    version: VersionTold
    replay: tuple[str, ...]


def decision_of(record: Record) -> DecisionTold:
    """The decision, if there is one."""
    for recorded in read_chain(record.chain):
        if isinstance(recorded.fact, DecisionMade):
            outcome = _content(record, recorded.fact.outcome_digest)
            known = outcome if isinstance(outcome, Mapping) else {}
            fields = known.get("decision")
            return DecisionTold(
                digest=recorded.fact.decision_digest,
                fields=fields if isinstance(fields, Mapping) else {},
                reason=str(known.get("reason", "")),
                degraded=recorded.fact.degraded,
            )
    return DecisionTold()


def explain(record: Record, release: Release) -> Explanation:
    """The four answers of one orchestration, however far it came."""
    facts = read_chain(record.chain)
    state = fold(initial(record.orchestration_id, record.tenant_id, release), facts)
    runs = {run: read_chain(links) for run, links in record.runs.items()}
    stages = tuple(_stage(record, state, template, runs) for template in release.template.stages)
    actions = tuple(_action(record, row, state) for row in read_model(facts).actions)
    return Explanation(
        orchestration_id=record.orchestration_id,
        status=state.status,
        ended_because=state.closed.reason if state.closed is not None else "",
        happened=tuple(Moment(item.at, item.seq, item.fact.kind, tell(item.fact)) for item in facts),
        decision=decision_of(record),
        stages=stages,
        actions=actions,
        version=_version(state, release, stages),
        replay=_replay(state, actions),
    )


def _stage(
    record: Record, state: OrchestrationState, template: Stage, runs: Mapping[str, tuple[Recorded, ...]]
) -> StageTold:
    stage = state.stages[template.name]
    decided = stage.decided
    votes = _content(record, decided.votes_digest) if decided is not None else None
    counted = votes if isinstance(votes, Mapping) else {}
    return StageTold(
        name=template.name,
        status=stage.status,
        why=stage.skipped_because or str(counted.get("reason", "")),
        condition=template.when or "",
        rule=decided.rule if decided is not None else "",
        winner=(decided.winner or "") if decided is not None else "",
        degraded=decided.degraded if decided is not None else False,
        answered=_answered(stage),
        outcome=_content(record, decided.outcome_digest) if decided is not None else None,
        voices=tuple(_voices(record, stage, _by_agent(counted.get("votes")), runs)),
        under_way=tuple(_under_way(record, stage, template, runs)),
    )


def _under_way(
    record: Record, stage: StageState, template: Stage, runs: Mapping[str, tuple[Recorded, ...]]
) -> Iterator[UnderWay]:
    for agent in stage.missing(template.agents):
        key = run_id(record.orchestration_id, template.name, agent)
        if key in runs:
            yield UnderWay(agent, key, tell_run(item.fact for item in runs[key]))


def _answered(stage: StageState) -> str:
    if stage.decided is None or stage.decided.winner is not None:
        return ""
    if stage.resolved is not None:
        return f"{stage.resolved.actor} completed it"
    return WHO_ANSWERED[stage.decided.fallback]


def _voices(
    record: Record,
    stage: StageState,
    votes: Mapping[str, JsonObject],
    runs: Mapping[str, tuple[Recorded, ...]],
) -> list[Voice]:
    voices: list[Voice] = []
    for folded in stage.runs:
        facts = [item.fact for item in runs.get(folded.run_id, ())]
        answers = [fact for fact in facts if isinstance(fact, ModelAnswered)]
        ends = [fact for fact in facts if isinstance(fact, (ProposalMade, RunFailed))]
        vote = votes.get(folded.agent, {})
        weight = vote.get("weight", 0)
        tokens, nano_usd = total(facts)
        voices.append(
            Voice(
                agent=folded.agent,
                run_id=folded.run_id,
                proposal=_content(record, folded.proposal_digest),
                failure=_failure(folded.failure, ends[-1] if ends else None),
                side=str(vote.get("side", "")),
                weight=weight if isinstance(weight, int) else 0,
                model=answers[-1].model if answers else "",
                provider=answers[-1].provider if answers else "",
                parser=ends[-1].parser if ends else "",
                way=tell_run(facts),
                tokens=tokens,
                nano_usd=nano_usd,
            )
        )
    return voices


def _failure(code: str | None, end: ProposalMade | RunFailed | None) -> str:
    if code is None:
        return ""
    return f"{code}: {end.detail}" if isinstance(end, RunFailed) and end.detail else code


def _by_agent(votes: JsonValue) -> dict[str, JsonObject]:
    listed = votes if isinstance(votes, (list, tuple)) else []
    return {str(vote["agent"]): vote for vote in listed if isinstance(vote, Mapping)}


def _action(record: Record, row: ActionRow, state: OrchestrationState) -> ActionTold:
    action = state.actions_by_id[row.action_id]
    verdict = action.proposed
    return ActionTold(
        action_id=row.action_id,
        name=row.name,
        tool=row.tool,
        target=row.target,
        state=row.state,
        permitted=isinstance(verdict, ActionAuthorised),
        policies=verdict.policies,
        reason=row.reason,
        attempts=row.attempts,
        idempotency_key=row.idempotency_key,
        arguments=_content(record, row.arguments_digest),
        replayed=_if_carried_on(state, action),
        approval=_approval(action),
    )


def _approval(action: ActionState) -> str:
    match action.proposed:
        case ActionAuthorised(approved_by=people) if people:
            return f"{' and '.join(people)} consented"
        case ActionDenied(was_asked=True):
            return "people were asked, and did not consent"
        case ApprovalRequested(persons=persons):
            return f"{len(action.granted_by)} of {persons} consented"
    return ""


def _if_carried_on(state: OrchestrationState, action: ActionState) -> str:
    if action.status == "settled":
        return _IF_SETTLED[action.applied]
    if can_be_asked(state, action.proposed.action_id):
        return f"in doubt: its target is asked what became of it ({action.probes} of {MOST_PROBES} times until now)"
    if action.status == "authorised" and action.ambiguous:
        return "an attempt may have been applied: it is sent again, with its key, only while its target keeps that"
    return _IF_CARRIED_ON[action.status]


_IF_SETTLED = {
    True: "settled: it was applied, and is not sent again",
    False: "settled: it was not applied; it is sent again, with its key, when a person resumes the orchestration",
}
_IF_CARRIED_ON: Mapping[ActionStatus, str] = {
    "confirmed": "confirmed: it is not sent again",
    "denied": "denied: it is never sent under this release",
    "awaiting_approval": "waits for people's consent: it is sent, as it was shown, once they have given it",
    "authorised": "not sent yet: it will be sent, with its key",
    "sending": "on its way: a target that honours keys may see its key again, any other does not",
    "failed": "gave up: it is not sent again by itself",
    "in_doubt": "in doubt: it is not sent again before a person has told what became of it (`actions settle`)",
}


def _version(state: OrchestrationState, release: Release, stages: Sequence[StageTold]) -> VersionTold:
    voices = [voice for stage in stages for voice in stage.voices]
    return VersionTold(
        release=release.digest,
        workflow=f"{release.workflow}/{release.template.version}",
        policy=f"{release.policy.name}/{release.policy.version}",
        agents=tuple(f"{name}/{agent.version}" for name, agent in sorted(release.agents.items())),
        providers=tuple(
            f"{name}/{provider.version} ({provider.kind}, {provider.model})"
            for name, provider in sorted(release.providers.items())
        ),
        tools=tuple(f"{name}/{tool.version}" for name, tool in sorted(release.tools.items())),
        models=tuple(sorted({f"{voice.model} of {voice.provider}" for voice in voices if voice.model})),
        normaliser=state.started.normaliser if state.started is not None else "",
        rules=tuple(sorted({stage.rule for stage in stages if stage.rule})),
        parsers=tuple(sorted({voice.parser for voice in voices if voice.parser})),
    )


def _replay(state: OrchestrationState, actions: Sequence[ActionTold]) -> tuple[str, ...]:
    orchestration_id = state.orchestration_id
    lines = [
        f"`python -m app runs verify {orchestration_id}` decides it again from the record and compares the digests.",
        "It reads the database and nothing else: it asks no model, calls no target, and sends nothing.",
    ]
    again = [action for action in actions if action.state == "confirmed"]
    if again:
        lines.append(
            f"{len(again)} of {len(actions)} actions are confirmed; their keys stay theirs, so that a target which "
            "honours keys would apply none of them a second time."
        )
    lines += [
        f"`python -m app actions show {action.action_id}` tells of {action.name} what can be done about it."
        for action in actions
        if action.state in {"in_doubt", "failed"}
    ]
    if state.closed is None:
        lines += [
            f"It waits for people's consent: `python -m app approvals show {action.action_id}` says to what, and until"
            " when."
            for action in actions
            if action.state == "awaiting_approval"
        ]
    if state.status == "in_review":
        lines.append(
            f"It waits for a person: `python -m app reviews show {orchestration_id}` says for what, and until when."
        )
    if state.status == "dead_lettered":
        lines.append(
            f"`python -m app replay {orchestration_id} --mode resume --dry-run` tells what going on from where it"
            " gave up would send, and what not; with --actor and --reason instead of --dry-run it does so."
        )
    if state.closed is not None and state.started is not None and state.started.lane == "live":
        lines.append(
            f"`python -m app replay {orchestration_id} --mode rerun --dry-run` tells what starting its event anew"
            " would do, under a release of your choice and with keys of its own."
        )
    return tuple(lines)


def _content(record: Record, digest: str | None) -> JsonValue:
    """The JSON value as people may see it, redacted; None when it was erased or never written."""
    body = record.contents.get(digest) if digest is not None else None
    if body is None:
        return None
    try:
        value: JsonValue = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return cast(JsonValue, redact_value(value))
