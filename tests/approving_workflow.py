"""Orchestrations that wait for people's consent, and what tests ask about them.

The actions are those of ``tests.calling_workflow``: ``risky`` needs a person's consent, ``grave`` that of two.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from app.adapters.postgresql.reading import Reading
from app.data_plane.orchestration.approvals import Answer, Answered, give
from app.data_plane.replay.record import Record
from app.data_plane.replay.request import Subject
from app.data_plane.replay.verify import verify
from app.kernel.facts import ApprovalRequested, OrchestrationStarted
from app.kernel.release import Policy, Release
from app.kernel.tool_spec import Reads
from interlock.canonical import JsonObject, JsonValue, canonical_bytes
from tests.accepted_events import accepted_event, orchestration_of
from tests.calling_workflow import calling_release, record
from tests.repairing import Workshop

HOUR = 3600.0
READS = {
    "record": {
        "subject": Reads(literals=("risky", "grave")),
        "verdict": Reads(paths=("stages.classify.level",)),
    }
}
"""What the action's expressions read, as compiling them would tell."""
DECIDED = calling_release(action="risky").model_copy(update={"reads": READS})
"""The decision asks for the action."""
CALLED = calling_release([record("risky")])
"""An agent's model calls for it, and its run waits."""
GRAVE = calling_release(action="grave").model_copy(update={"reads": READS})
"""The decision asks for it, and two people must consent."""


def another_policy(release: Release) -> Release:
    """The same workflow under another version of its policy."""
    changed = Policy(name=release.policy.name, version=2, cedar=release.policy.cedar + '@id("x") forbid (principal, action, resource) when { false };')  # fmt: skip  # noqa: E501
    return release.model_copy(update={"policy": changed})


def accept(place: Workshop, event_id: str, **more: JsonValue) -> Subject:
    """An orchestration that the workers have brought as far as they can; ``more`` is in its event as well."""
    event = accepted_event(event_id, release=place.release.digest, workflows=("calling",))
    body: JsonObject = {"type": event.type, "issue": {"title": "low"}, **more}
    place.store.accept([replace(event, normalised=canonical_bytes(body))])
    place.carry_on()
    return Subject("demo", orchestration_of(event))


def asked(place: Workshop, subject: Subject) -> ApprovalRequested:
    """What people were asked about, once."""
    facts = place.facts(subject.orchestration_id)
    (one,) = [fact for fact in facts if isinstance(fact, ApprovalRequested)]
    return one


def answer_of(place: Workshop, subject: Subject, actor: str = "ines", **more: object) -> Answer:
    """What somebody says; they consent unless ``more`` says otherwise."""
    plain = Answer("demo", subject.orchestration_id, asked(place, subject).action_id, True, actor, "read it")
    return replace(plain, **more)  # type: ignore[arg-type]


def answer(place: Workshop, subject: Subject, actor: str = "ines", **more: object) -> Answered:
    """Have somebody answer, now; they consent unless ``more`` says otherwise."""
    return give(place.recorder, answer_of(place, subject, actor, **more), lambda: datetime.now(UTC))


def kinds(place: Workshop, subject: Subject) -> list[str]:
    """The kinds of the orchestration's facts."""
    return [fact.kind for fact in place.facts(subject.orchestration_id)]


def status_of(place: Workshop, subject: Subject) -> str:
    """As its row says."""
    ((status,),) = place.sql(
        "SELECT status FROM orchestrations WHERE orchestration_id = %s", subject.orchestration_id
    )
    return str(status)


def open_steps(place: Workshop, subject: Subject) -> tuple[str, ...]:
    """What is not done yet."""
    return Reading(place.database).open_steps(subject.orchestration_id)


def record_of(place: Workshop, subject: Subject) -> Record:
    """As it is kept, but for the raw event: it is made up by the tests, and no CloudEvent."""
    view = Reading(place.database).views([subject.orchestration_id])[subject.orchestration_id]
    started = place.facts(subject.orchestration_id)[0]
    assert isinstance(started, OrchestrationStarted)
    contents = {key: body for key, body in view.record.contents.items() if key != started.raw_digest}
    return replace(view.record, contents=contents)


def difference(place: Workshop, subject: Subject) -> str:
    """Where the record does not lead to itself; empty when it does."""
    return str(verify(record_of(place, subject), place.release).difference or "")
