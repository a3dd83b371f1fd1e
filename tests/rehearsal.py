"""Carries one event through a release by the data plane's pure code alone: no database, broker or network.

It shows what the shipped documents decide; how the pieces are carried is what the integration tests are for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from app.adapters.providers.scripted import ScriptedModel
from app.data_plane.agent_runs.proposals import Proposal, read_answer
from app.data_plane.contents import Contents
from app.data_plane.expressions import ExpressionError, Scope
from app.data_plane.models import ModelRequest, ToolCall, ToolResult, Turn
from app.data_plane.orchestration.decide import Command, outstanding
from app.data_plane.orchestration.progress import progress, scope
from app.data_plane.orchestration.state import OrchestrationState, initial
from app.kernel.errors import InterlockError
from app.kernel.facts import AnyFact, OrchestrationStarted, RunFolded, SnapshotTaken, StageDecided
from app.kernel.release import Release, ScriptedProvider, Stage
from interlock.canonical import JsonObject, JsonValue

Lookup = Callable[[str, str], JsonObject]
"""Collection and key to the entry; empty when there is none."""


@dataclass(frozen=True)
class Rehearsed:
    """Where the event ended."""

    state: OrchestrationState
    facts: tuple[AnyFact, ...]
    outcome: JsonObject
    votes: Mapping[str, JsonObject]
    """By stage: what each agent voted for."""

    @property
    def decision(self) -> JsonObject:
        """The decision's fields."""
        decision = self.outcome["decision"]
        assert isinstance(decision, Mapping)
        return decision


def rehearse(release: Release, event: JsonObject, lookup: Lookup) -> Rehearsed:
    """The orchestration of ``event`` up to the point where its actions would be sent."""
    contents = Contents({})
    state = initial("orc_rehearsal", "demo", release)
    facts: list[AnyFact] = []

    def carry(fact: AnyFact) -> None:
        nonlocal state
        advanced = progress(state, fact, contents)
        state = advanced.state
        facts.extend(advanced.facts)

    carry(_started(release, event, contents))
    carry(SnapshotTaken(snapshot_digest=contents.add(_snapshot(release, event, lookup))))
    while running := [
        release.template.stage(name) for name, stage in state.stages.items() if stage.status == "running"
    ]:
        for stage in running:
            for agent in stage.agents:
                carry(_run(state, stage, agent, contents, lookup))
    assert state.decision is not None, [fact for fact in facts if fact.kind == "orchestration_closed"]
    votes = {
        fact.stage: contents.object(fact.votes_digest) for fact in facts if isinstance(fact, StageDecided)
    }
    return Rehearsed(state, tuple(facts), contents.object(state.decision.outcome_digest), votes)


def left_to_do(rehearsed: Rehearsed) -> tuple[Command, ...]:
    """What the outside world would be asked for next."""
    return outstanding(rehearsed.state)


def _started(release: Release, event: JsonObject, contents: Contents) -> OrchestrationStarted:
    return OrchestrationStarted(
        workflow=release.workflow,
        release=release.digest,
        channel="stable",
        lane="live",
        ordinal=0,
        source="https://github.com/rehearsal",
        event_id="rehearsal",
        event_type=str(event["type"]),
        raw_digest=contents.add(event),
        event_digest=contents.add(event),
        normaliser="github/1",
    )


def _snapshot(release: Release, event: JsonObject, lookup: Lookup) -> JsonObject:
    known = Scope({"event": event})
    snapshot: dict[str, JsonValue] = {}
    for question in release.template.lookups:
        collection = known.evaluate(question.arguments["collection"])
        key = known.evaluate(question.arguments["key"])
        assert isinstance(collection, str)
        assert isinstance(key, str)
        entry = lookup(collection, key)
        snapshot[question.name] = {"found": bool(entry), "entry": entry}
    return snapshot


def _run(state: OrchestrationState, stage: Stage, name: str, contents: Contents, lookup: Lookup) -> RunFolded:
    agent = state.release.agents[name]
    provider = state.release.providers[agent.providers[0]]
    assert isinstance(provider, ScriptedProvider)
    known = scope(state, contents)
    inputs: dict[str, JsonValue] = {}
    for key, expression in agent.inputs.items():
        value = known.evaluate(expression)
        assert not isinstance(value, ExpressionError), f"{name}.{key}: {value}"
        inputs[key] = value
    request = ModelRequest(name, provider.model, agent.instructions, inputs, stage.proposal, 0.0, 1024, 1.0)
    proposal, failure = None, None
    try:
        answer = read_answer(_answer(provider, request, lookup), stage.proposal)
    except InterlockError as error:
        failure = error.code
    else:
        if isinstance(answer, Proposal):
            proposal = contents.add_bytes(answer.body)
        else:
            failure = "invalid_answer"
    return RunFolded(
        stage=stage.name,
        agent=name,
        run_id=f"run_{stage.name}_{name}",
        proposal_digest=proposal,
        failure=failure,
        chain_length=1,
        chain_hash="0" * 64,
    )


def _answer(provider: ScriptedProvider, request: ModelRequest, lookup: Lookup) -> str:
    """The text that ends the conversation; every call that comes before it is permitted and answered."""
    while True:
        answer = asyncio.run(ScriptedModel(provider).ask(request))
        if not answer.calls:
            return answer.text
        results = tuple(ToolResult(call, _result(call, lookup)) for call in answer.calls)
        request = replace(request, turns=(*request.turns, Turn(answer.text, results)))


def _result(call: ToolCall, lookup: Lookup) -> str:
    arguments = json.loads(call.arguments)
    if call.tool != "directory.lookup":
        return json.dumps({"applied": True})
    entry = lookup(arguments["collection"], arguments["key"])
    return json.dumps({"found": bool(entry), "entry": dict(entry)})
