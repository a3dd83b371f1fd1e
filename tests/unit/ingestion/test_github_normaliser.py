"""``github/1`` over real payloads: what it made of them is golden, and it refuses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data_plane.ingestion.domain_event import MAX_BODY
from app.data_plane.ingestion.github_event import to_envelope
from app.data_plane.ingestion.normalisers import normalise
from tests.unit.golden.github_payloads import GOLDEN, envelope_of, golden_of, need_payloads, pairs

KINDS = [
    "issues",
    "issue_comment",
    "pull_request",
    "check_run",
    "check_suite",
    "workflow_run",
    "workflow_job",
    "deployment_status",
    "status",
    "dependabot_alert",
    "code_scanning_alert",
    "secret_scanning_alert",
    "security_advisory",
    "repository_vulnerability_alert",
    "push",
    "an_event_of_tomorrow",
]


def _normalised(kind: str, payload: Any) -> Any:
    name, event = normalise(to_envelope("demo", kind, "1", payload))
    assert name == "github/1"
    return event.to_json()


def test_all_payloads_are_normalised_as_the_golden_files_say() -> None:
    """A difference changes the decisions' digests: renew the files on purpose, with a new version."""
    need_payloads()
    differing = [
        payload.name
        for payload, golden in pairs()
        if not golden.is_file() or json.loads(golden.read_text("utf-8")) != golden_of(payload)
    ]
    assert not differing, f"renew with python -m tests.unit.golden.regenerate: {differing}"
    assert {file.name for file in GOLDEN.glob("*.json")} == {file.name for file in need_payloads()}


def test_the_golden_files_cover_every_schema_and_hold_no_null_in_a_section() -> None:
    """Templates compare strings: a null would make a condition an error. Needs no payloads."""
    schemas = set()
    for file in sorted(GOLDEN.glob("*.json")):
        event = json.loads(file.read_text("utf-8"))["event"]
        schemas.add(event["schema"])
        section = event[event["schema"].partition("/")[0]]
        assert None not in section.values(), file.name
    assert schemas == {"issue/2", "check/1", "alert/1", "activity/1"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "payload", [None, [], {}, 1, {"action": 1, "repository": [], "sender": "x"}], ids=repr
)
def test_a_payload_without_any_of_its_fields_is_normalised(kind: str, payload: Any) -> None:
    """GitHub adds and leaves out; an event is never lost to a missing field."""
    event = _normalised(kind, payload)
    assert event["repository"] is None
    assert event["action"] == ""


_NAMED = """
    action alert body check_run comment deployment full_name issue labels name number output pull_request
    repository rule sender severity state status steps title user
"""
FIELDS = st.sampled_from(_NAMED.split())
PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab/ü\n", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=20,
)


@given(st.sampled_from(KINDS), PAYLOADS)
def test_any_payload_is_normalised_the_same_each_time(kind: str, payload: Any) -> None:
    """Pure, and it refuses nothing."""
    assert _normalised(kind, payload) == _normalised(kind, payload)


@pytest.mark.parametrize("missing", ["repository", "sender", "organization", "issue", "alert", "check_run"])
def test_real_payloads_lose_no_event_with_a_section_taken_out(missing: str) -> None:
    """What the synthetic payloads do not reach."""
    for file in need_payloads():
        envelope = envelope_of(file)
        assert isinstance(envelope.data, dict)
        payload = {key: value for key, value in envelope.data.items() if key != missing}
        _normalised(envelope.type.split(".")[2], payload)


def test_a_long_body_is_cut_and_says_so() -> None:
    """An event stays small, whatever was pasted into an issue."""
    event = _normalised("issues", {"issue": {"title": "t", "body": "x" * (MAX_BODY + 1)}})
    assert (len(event["issue"]["body"]), event["issue"]["truncated"]) == (MAX_BODY, True)
    event = _normalised("issues", {"issue": {"title": "t", "body": "x" * MAX_BODY}})
    assert (len(event["issue"]["body"]), event["issue"]["truncated"]) == (MAX_BODY, False)


def test_a_comment_on_a_pull_request_is_about_a_pull_request() -> None:
    """GitHub sends it as an issue with a pull_request inside."""
    event = _normalised("issue_comment", {"issue": {"pull_request": {"url": "u"}}, "comment": {"body": "b"}})
    assert event["issue"]["kind"] == "pull_request"
    assert event["comment"]["body"] == "b"


@pytest.mark.parametrize(
    ("state", "conclusion"),
    [("error", "failure"), ("failure", "failure"), ("pending", "pending"), ("success", "success")],
)
def test_a_commit_status_concludes_in_the_words_of_checks(state: str, conclusion: str) -> None:
    """So that one condition covers both."""
    assert _normalised("status", {"state": state})["check"]["conclusion"] == conclusion


@pytest.mark.parametrize(
    ("word", "severity"), [("moderate", "medium"), ("CRITICAL", "critical"), ("?", "unknown")]
)
def test_severities_are_brought_to_one_scale(word: str, severity: str) -> None:
    """GitHub's advisories say moderate where its alerts say medium."""
    event = _normalised("security_advisory", {"security_advisory": {"severity": word}})
    assert event["alert"]["severity"] == severity


def test_a_leaked_secret_is_never_copied() -> None:
    """The alert's payload may hold the secret itself."""
    event = _normalised("secret_scanning_alert", {"alert": {"secret": "hunter2", "secret_type": "token"}})
    assert "hunter2" not in json.dumps(event)
    assert event["alert"]["identifiers"] == ["token"]


def test_an_action_that_users_choose_fits_a_type() -> None:
    """``repository_dispatch`` takes any text."""
    envelope = to_envelope("demo", "repository_dispatch", "1", {"action": "a b\n" + "c" * 300})
    assert envelope.type == "com.github.repository_dispatch.a_b_" + "c" * 96


def test_every_payload_names_its_source() -> None:
    """Events are told apart by (tenant, source, id)."""
    sources = {Path(file).name: envelope_of(file).source for file in need_payloads()}
    assert sources["security_advisory.published.00.json"] == "https://github.com/unknown"
    assert all(source.startswith("https://github.com/") for source in sources.values())
