"""From the actions that a decision asks for to those that may happen: arguments checked, then the policy asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.data_plane.contents import Contents
from app.data_plane.gateway.judge import Principal, Question, judge
from app.data_plane.orchestration.state import OrchestrationState
from app.data_plane.tools import check_arguments
from app.kernel.errors import DefectError
from app.kernel.facts import ActionAuthorised, ActionDenied
from interlock.canonical import JsonObject, JsonValue
from interlock.identity import action_id, idempotency_key


def authorise(
    state: OrchestrationState, outcome: JsonObject, contents: Contents
) -> Iterator[ActionAuthorised | ActionDenied]:
    """The verdict on each action of the decision, in the decision's order."""
    actions = outcome["actions"]
    if not isinstance(actions, (list, tuple)):
        raise DefectError("The decision's actions are not a list.")
    for position, action in enumerate(actions):
        if not isinstance(action, Mapping):
            raise DefectError("An action of the decision is not an object.")
        yield _authorise_one(state, position, action, contents)


def _authorise_one(
    state: OrchestrationState, position: int, action: JsonObject, contents: Contents
) -> ActionAuthorised | ActionDenied:
    name, tool, target = str(action["name"]), str(action["tool"]), str(action["target"])
    arguments = _object(action["arguments"])
    identity = action_id(state.orchestration_id, name, position)
    arguments_digest = contents.add(arguments)
    problems = [str(problem) for problem in _list(action["problems"])] or check_arguments(tool, arguments)
    policies: tuple[str, ...] = ()
    reason = f"arguments: {'; '.join(problems)}"[:500] if problems else ""
    if not problems:
        workflow = state.release.workflow
        principal = Principal("Workflow", workflow)
        question = Question(principal, workflow, tool, target, state.tenant_id, arguments)
        verdict = judge(state.release.policy, question)
        policies, reason = verdict.policies, verdict.reason
    if reason:
        return ActionDenied(
            action_id=identity,
            name=name,
            position=position,
            tool=tool,
            target=target,
            arguments_digest=arguments_digest,
            reason=reason,
            policies=policies,
        )
    return ActionAuthorised(
        action_id=identity,
        name=name,
        position=position,
        tool=tool,
        target=target,
        arguments_digest=arguments_digest,
        idempotency_key=idempotency_key(state.orchestration_id, "decision", position, arguments_digest),
        policies=policies,
    )


def _object(value: JsonValue) -> JsonObject:
    if not isinstance(value, Mapping):
        raise DefectError("An action's arguments are not an object.")
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    return list(value) if isinstance(value, (list, tuple)) else []
