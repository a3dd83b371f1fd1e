"""What the three shipped workflows decide: over the real payloads, and over events that those do not hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import pytest

from app.control_plane.compile import compile_all
from app.control_plane.documents import read_documents
from app.data_plane.ingestion.github_event import to_envelope
from app.data_plane.ingestion.normalisers import normalise
from app.data_plane.ingestion.routing import subscribes
from app.data_plane.orchestration.action_state import Verdict
from app.data_plane.tools import shipped_tools
from app.kernel.facts import ActionDenied, ApprovalRequested
from app.kernel.release import Release
from interlock.canonical import JsonObject, JsonValue
from tests.rehearsal import Rehearsed, rehearse
from tests.unit.golden.github_payloads import need_payloads

ROOT = Path(__file__).parents[3]


@lru_cache(maxsize=1)
def shipped() -> dict[str, Release]:
    releases = compile_all(read_documents(ROOT / "config"), shipped_tools())
    return {release.workflow: release for release in releases}


@lru_cache(maxsize=1)
def reference() -> Mapping[str, Mapping[str, JsonObject]]:
    return read_documents(ROOT / "config").tenants["demo", 1].model.reference.collections


def decide(workflow: str, event: JsonObject) -> Rehearsed:
    return rehearse(shipped()[workflow], event, lambda name, key: reference().get(name, {}).get(key, {}))


def real_events() -> Iterator[tuple[str, str, JsonObject]]:
    """Workflow, file and normalised event of every real payload that a workflow subscribes to."""
    for file in need_payloads():
        held = json.loads(file.read_text())
        envelope = to_envelope("demo", held["x_github_event"], "0-0-0-0", held["payload"])
        event = normalise(envelope)[1].to_json()
        for name, release in shipped().items():
            if any(subscribes(pattern, envelope.type) for pattern in release.template.subscribes):
                yield name, file.name, event


def actions(rehearsed: Rehearsed) -> dict[str, Verdict]:
    return {action.proposed.name: action.proposed for action in rehearsed.state.actions_by_id.values()}


def event(action: str, schema: str, **sections: JsonValue) -> JsonObject:
    """A normalised event of the demo's first repository."""
    repository: JsonObject = {
        "full_name": "Codertocat/Hello-World",
        "owner": "Codertocat",
        "name": "Hello-World",
        "private": False,
        "default_branch": "main",
    }
    common: dict[str, JsonValue] = {
        "schema": schema,
        "type": "com.github.rehearsed",
        "source_kind": "github",
        "action": action,
        "repository": repository,
        "sender": None,
        "comment": None,
    }
    return {**common, **sections}


def issue(title: str, *, kind: str = "issue", body: str = "", association: str = "MEMBER") -> JsonObject:
    return event(
        "opened",
        "issue/2",
        issue={
            "kind": kind,
            "number": 7,
            "title": title,
            "body": body,
            "truncated": False,
            "state": "open",
            "labels": [],
            "author": "mona",
            "author_association": association,
            "url": "https://github.com/Codertocat/Hello-World/issues/7",
            "comments": 0,
            "draft": False,
        },
    )


def check(conclusion: str, *, branch: str = "main", summary: str = "", environment: str = "") -> JsonObject:
    return event(
        "completed",
        "check/1",
        check={
            "kind": "check_run",
            "name": "tests",
            "status": "completed",
            "conclusion": conclusion,
            "head_sha": "abc",
            "branch": branch,
            "url": "https://github.com/Codertocat/Hello-World/runs/1",
            "summary": summary,
            "app": "actions",
            "environment": environment,
        },
    )


def alert(severity: str, *, package: str, identifiers: list[JsonValue], fixed_in: str = "") -> JsonObject:
    return event(
        "created",
        "alert/1",
        alert={
            "kind": "dependabot_alert",
            "number": 1,
            "state": "open",
            "severity": severity,
            "identifiers": identifiers,
            "package": package,
            "ecosystem": "npm",
            "summary": "A weakness",
            "description": "It allows unauthorized file access.",
            "truncated": False,
            "url": "https://github.com/advisories/x",
            "fixed_in": fixed_in,
            "path": "package.json",
        },
    )


class TestOverTheRealPayloads:
    """All of them that a workflow subscribes to."""

    @pytest.fixture(scope="class")
    def rehearsed(self) -> list[tuple[str, str, Rehearsed]]:
        return [(name, file, decide(name, event)) for name, file, event in real_events()]

    def test_every_event_gets_a_decision_whose_fields_and_reason_are_there(
        self, rehearsed: list[tuple[str, str, Rehearsed]]
    ) -> None:
        for name, file, outcome in rehearsed:
            assert set(outcome.decision) == set(shipped()[name].template.decision), file
            reason = outcome.outcome["reason"]
            assert isinstance(reason, str)
            assert not reason.startswith("(no reason"), (file, reason)

    def test_no_condition_is_skipped_because_it_could_not_be_told(
        self, rehearsed: list[tuple[str, str, Rehearsed]]
    ) -> None:
        for _, file, outcome in rehearsed:
            for name, stage in outcome.state.stages.items():
                assert stage.skipped_because in ("", "condition_false"), (file, name)

    def test_most_events_lead_to_an_effect_none_is_denied_and_only_holding_waits_for_a_person(
        self, rehearsed: list[tuple[str, str, Rehearsed]]
    ) -> None:
        with_effect = 0
        for _, file, outcome in rehearsed:
            proposed = actions(outcome)
            with_effect += bool(proposed)
            waiting = [name for name, one in proposed.items() if isinstance(one, ApprovalRequested)]
            assert set(waiting) <= {"hold"}, file
            assert not any(isinstance(action, ActionDenied) for action in proposed.values()), file
        assert with_effect > len(rehearsed) * 0.6

    @pytest.mark.parametrize("workflow", ["issue-triage", "ci-failure", "security-alert"])
    def test_the_agents_of_each_workflow_disagree_at_times(
        self, rehearsed: list[tuple[str, str, Rehearsed]], workflow: str
    ) -> None:
        votes = [
            {str(vote["side"]) for vote in stage["votes"]}  # type: ignore[union-attr, call-overload, index]
            for name, _, outcome in rehearsed
            if name == workflow
            for stage in outcome.votes.values()
        ]
        assert any(len(sides) > 1 for sides in votes)

    @pytest.mark.parametrize(
        ("workflow", "stage"),
        [("issue-triage", "answer"), ("issue-triage", "risk"), ("security-alert", "response")],
    )
    def test_a_conditional_branch_is_taken_at_times_and_skipped_at_others(
        self, rehearsed: list[tuple[str, str, Rehearsed]], workflow: str, stage: str
    ) -> None:
        taken = {outcome.state.stages[stage].status for name, _, outcome in rehearsed if name == workflow}
        assert taken == {"decided", "skipped"}


def test_a_question_is_answered() -> None:
    outcome = decide("issue-triage", issue("How do I install this?", body="On a phone.", association="NONE"))
    assert outcome.decision["label"] == "question"
    assert "Could you tell us" in str(outcome.decision["comment"])
    assert set(actions(outcome)) == {"triage"}


def test_a_vulnerability_report_pages_the_owner() -> None:
    outcome = decide("issue-triage", issue("Path traversal exploit in the server"))
    assert (outcome.decision["label"], outcome.decision["priority"]) == ("security", "p1")
    assert set(actions(outcome)) == {"triage", "notify"}


def test_an_agent_without_a_usable_answer_leaves_the_next_one_first() -> None:
    """The answer's writer answers pull requests in prose, which is no proposal."""
    outcome = decide("issue-triage", issue("Fix the crash on start", kind="pull_request"))
    assert outcome.decision["comment"] == "Thank you for the change. A maintainer will review it."
    assert outcome.votes["answer"]["winner"] == "template-writer"


def test_a_risky_change_outweighs_two_who_see_no_risk() -> None:
    outcome = decide("issue-triage", issue("Update the token in the README", kind="pull_request"))
    assert outcome.decision["risk"] == "low"
    outcome = decide("issue-triage", issue("Rewrite authentication", kind="pull_request"))
    assert outcome.decision["risk"] == "high"
    assert "notify" in actions(outcome)


def test_a_comment_with_a_link_is_denied_by_the_policy() -> None:
    """The policy stands behind the agents: what a model may be talked into is still not permitted."""
    release = shipped()["issue-triage"]
    template = release.template
    linking = '"see https://evil.example"'
    changed = template.model_copy(update={"decision": {**template.decision, "comment": linking}})
    outcome = rehearse(release.model_copy(update={"template": changed}), issue("How?"), lambda _n, _k: {})
    denied = actions(outcome)["triage"]
    assert isinstance(denied, ActionDenied)
    assert denied.policies == ("comments-carry-no-links",)


@pytest.mark.parametrize(
    ("failed", "cause", "step"),
    [
        (check("success"), "none", "none"),
        (check("failure", branch="topic"), "code", "rerun"),
        (check("failure", summary="connection reset by the runner"), "infrastructure", "rerun"),
        (check("failure", environment="production"), "code", "fix"),
        (check("timed_out", branch="topic"), "infrastructure", "rerun"),
        (check("action_required"), "needs_person", "escalate"),
        (check(""), "pending", "none"),
    ],
)
def test_a_failure_gets_a_cause_and_a_step(failed: JsonObject, cause: str, step: str) -> None:
    outcome = decide("ci-failure", failed)
    assert (outcome.decision["cause"], outcome.decision["step"]) == (cause, step)


def test_an_exploited_weakness_without_a_fix_is_held() -> None:
    outcome = decide("security-alert", alert("high", package="harp", identifiers=["CVE-2019-5438"]))
    assert (outcome.decision["severity"], outcome.decision["response"]) == ("high", "hold")
    assert set(actions(outcome)) == {"incident", "hold"}


def test_a_weakness_with_a_fix_is_patched_and_nothing_is_held() -> None:
    outcome = decide("security-alert", alert("critical", package="left", identifiers=[], fixed_in="2.0"))
    assert outcome.decision["response"] == "patch"
    assert set(actions(outcome)) == {"incident"}


def test_the_policy_permits_no_hold_for_what_is_not_severe() -> None:
    release = shipped()["security-alert"]
    template = release.template
    changed = template.model_copy(update={"decision": {**template.decision, "severity": '"medium"'}})
    exploited = alert("high", package="harp", identifiers=["CVE-2019-5438"])
    answer = reference()["advisories"]["CVE-2019-5438"]
    outcome = rehearse(release.model_copy(update={"template": changed}), exploited, lambda _n, _k: answer)
    denied = actions(outcome)["hold"]
    assert isinstance(denied, ActionDenied)
    assert denied.reason == "no policy permits it"
