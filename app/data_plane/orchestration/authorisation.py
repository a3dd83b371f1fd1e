"""From what decisions and models ask for to what may happen: arguments checked, then the policy asked, then people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.data_plane.contents import Contents
from app.data_plane.gateway.gateway import decimals_of
from app.data_plane.gateway.hidden import check_hidden
from app.data_plane.gateway.judge import Principal, Question, Spend, Verdict, judge
from app.data_plane.gateway.origins import Provenance, as_json, from_json
from app.data_plane.gateway.provenance import Sources, sources_of, trace_action
from app.data_plane.orchestration.state import OrchestrationState
from app.data_plane.tools import check_arguments
from app.kernel.errors import DefectError
from app.kernel.facts import ActionAuthorised, ActionDenied, ApprovalRequested, CallProposed, StageDecided
from app.kernel.tool_spec import Approval
from interlock.canonical import JsonObject, JsonValue, digest
from interlock.identity import action_id, idempotency_key

Judged = ActionAuthorised | ActionDenied | ApprovalRequested


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One action before its verdict, with what every verdict says of it."""

    action_id: str
    name: str
    position: int
    tool: str
    target: str
    arguments_digest: str
    provenance_digest: str
    run_id: str
    idempotency_key: str
    expires_seconds: float


def authorise(state: OrchestrationState, outcome: JsonObject, contents: Contents) -> Iterator[Judged]:
    """The verdict on each action of the decision, in the decision's order."""
    actions = outcome["actions"]
    if not isinstance(actions, (list, tuple)):
        raise DefectError("The decision's actions are not a list.")
    sources = _sources(state, contents) if state.release.gateway and actions else Sources()
    for position, action in enumerate(actions):
        if not isinstance(action, Mapping):
            raise DefectError("An action of the decision is not an object.")
        yield _authorise_one(state, position, action, contents, sources)


def authorise_call(state: OrchestrationState, call: CallProposed, contents: Contents) -> Judged:
    """The verdict on what a run's model has called for; its arguments fit the tool already."""
    offered = {one.tool: one for one in state.release.agents[call.agent].tools}
    wanted = _Wanted(
        action_id=call.action_id,
        name=f"{call.agent}/{call.tool}",
        position=call.position,
        tool=call.tool,
        target=call.target,
        arguments_digest=call.arguments_digest,
        provenance_digest=call.provenance_digest,
        run_id=call.run_id,
        idempotency_key=idempotency_key(call.run_id, str(call.position), call.call, call.arguments_digest),
        expires_seconds=_expires(offered[call.tool].approval if call.tool in offered else None),
    )
    if call.tool not in offered or (offered[call.tool].target or "") != call.target:
        return _denied(wanted, Verdict("denied", reason="the agent may not call this tool"))
    arguments = contents.object(call.arguments_digest)
    provenance = from_json(contents.object(call.provenance_digest))
    problems = check_arguments(call.tool, arguments) or _hidden(state, call.tool, arguments, provenance)
    if problems:
        return _denied(wanted, Verdict("denied", reason=_misfitting(problems)))
    question = Question(
        Principal("Agent", call.agent),
        state.release.workflow,
        call.tool,
        call.target,
        state.tenant_id,
        arguments,
        provenance,
        spend=Spend(call.made, call.spent_nano_usd),
        decimals=_decimals(state, call.tool),
    )
    return _as_fact(state, wanted, judge(state.release.policy, question))


def conclude_approval(state: OrchestrationState, key: str) -> ActionAuthorised | ActionDenied:
    """What people's answers, or their absence, make of an action."""
    action = state.actions_by_id[key]
    asked = action.proposed
    if not isinstance(asked, ApprovalRequested):
        raise DefectError(f"Nobody was asked about the action {key}.")
    wanted = _Wanted(
        action_id=asked.action_id,
        name=asked.name,
        position=asked.position,
        tool=asked.tool,
        target=asked.target,
        arguments_digest=asked.arguments_digest,
        provenance_digest=asked.provenance_digest,
        run_id=asked.run_id,
        idempotency_key=asked.idempotency_key,
        expires_seconds=asked.expires_seconds,
    )
    if action.refused:
        refusal = Verdict("denied", asked.policies, action.refused)
        return _denied(wanted, refusal).model_copy(update={"was_asked": True})
    return _authorised(wanted, asked.policies, action.granted_by)


def action_digest(state: OrchestrationState, asked: _Wanted) -> str:
    """Of all that a person consents to; whatever of it changes makes another action of it."""
    policy = state.release.policy
    return digest(
        {
            "action": asked.action_id,
            "tool": asked.tool,
            "target": asked.target,
            "arguments": asked.arguments_digest,
            "provenance": asked.provenance_digest,
            "key": asked.idempotency_key,
            "policy": {"name": policy.name, "version": policy.version, "digest": digest(policy.cedar)},
        }
    )


def _authorise_one(
    state: OrchestrationState, position: int, action: JsonObject, contents: Contents, sources: Sources
) -> Judged:
    release = state.release
    name, tool, target = str(action["name"]), str(action["tool"]), str(action["target"])
    arguments = _object(action["arguments"])
    arguments_digest = contents.add(arguments)
    template = next((one for one in release.template.actions if one.name == name), None)
    provenance = trace_action(release, name, arguments, sources) if release.gateway else {}
    wanted = _Wanted(
        action_id=action_id(state.orchestration_id, name, position),
        name=name,
        position=position,
        tool=tool,
        target=target,
        arguments_digest=arguments_digest,
        provenance_digest=contents.add(as_json(provenance)) if release.gateway else "",
        run_id="",
        idempotency_key=idempotency_key(state.orchestration_id, "decision", position, arguments_digest),
        expires_seconds=_expires(template.approval if template is not None else None),
    )
    problems = (
        [str(problem) for problem in _list(action["problems"])]
        or check_arguments(tool, arguments)
        or (_hidden(state, tool, arguments, provenance) if release.gateway else [])
    )
    if problems:
        return _denied(wanted, Verdict("denied", reason=_misfitting(problems)))
    question = Question(
        Principal("Workflow", release.workflow),
        release.workflow,
        tool,
        target,
        state.tenant_id,
        arguments,
        provenance,
        sources.asked,
        decimals=_decimals(state, tool),
    )
    return _as_fact(state, wanted, judge(release.policy, question))


def outcomes_before(state: OrchestrationState, stage: str) -> dict[str, StageDecided]:
    """What the stages decided that this one comes after, directly or not: what its agents may have seen."""
    earlier = ((name, state.stages[name].decided) for name in state.release.template.earlier(stage))
    return {name: decided for name, decided in earlier if decided is not None}


def _decimals(state: OrchestrationState, tool: str) -> frozenset[str]:
    spec = state.release.tools.get(tool)
    return decimals_of(spec.input_schema) if spec is not None else frozenset()


def _sources(state: OrchestrationState, contents: Contents) -> Sources:
    """All that the decision has seen."""
    if state.started is None or state.snapshot_digest is None:
        raise DefectError("There is nothing yet that an action could come from.")
    outcomes = {
        name: contents.object(stage.decided.outcome_digest) if stage.decided is not None else None
        for name, stage in state.stages.items()
    }
    return sources_of(
        state.release,
        contents.object(state.started.event_digest),
        contents.object(state.snapshot_digest),
        outcomes,
    )


def _hidden(
    state: OrchestrationState, tool: str, arguments: JsonObject, provenance: Mapping[str, Provenance]
) -> list[str]:
    spec = state.release.tools.get(tool)
    return check_hidden(spec, arguments, provenance) if spec is not None else []


def _as_fact(state: OrchestrationState, wanted: _Wanted, verdict: Verdict) -> Judged:
    match verdict.outcome:
        case "permitted":
            return _authorised(wanted, verdict.policies)
        case "needs_approval":
            return ApprovalRequested(
                action_id=wanted.action_id,
                name=wanted.name,
                position=wanted.position,
                tool=wanted.tool,
                target=wanted.target,
                arguments_digest=wanted.arguments_digest,
                idempotency_key=wanted.idempotency_key,
                policies=verdict.policies,
                provenance_digest=wanted.provenance_digest,
                action_digest=action_digest(state, wanted),
                persons=verdict.persons,
                expires_seconds=wanted.expires_seconds,
                run_id=wanted.run_id,
            )
    return _denied(wanted, verdict)


def _authorised(
    wanted: _Wanted, policies: tuple[str, ...], approved_by: tuple[str, ...] = ()
) -> ActionAuthorised:
    return ActionAuthorised(
        action_id=wanted.action_id,
        name=wanted.name,
        position=wanted.position,
        tool=wanted.tool,
        target=wanted.target,
        arguments_digest=wanted.arguments_digest,
        idempotency_key=wanted.idempotency_key,
        policies=policies,
        provenance_digest=wanted.provenance_digest,
        run_id=wanted.run_id,
        approved_by=approved_by,
    )


def _denied(wanted: _Wanted, verdict: Verdict) -> ActionDenied:
    return ActionDenied(
        action_id=wanted.action_id,
        name=wanted.name,
        position=wanted.position,
        tool=wanted.tool,
        target=wanted.target,
        arguments_digest=wanted.arguments_digest,
        reason=verdict.reason,
        policies=verdict.policies,
        provenance_digest=wanted.provenance_digest,
        run_id=wanted.run_id,
    )


def _misfitting(problems: list[str]) -> str:
    return f"arguments: {'; '.join(problems)}"[:500]


def _expires(approval: Approval | None) -> float:
    return (approval or Approval()).expires_seconds


def _object(value: JsonValue) -> JsonObject:
    if not isinstance(value, Mapping):
        raise DefectError("An action's arguments are not an object.")
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    return list(value) if isinstance(value, (list, tuple)) else []
