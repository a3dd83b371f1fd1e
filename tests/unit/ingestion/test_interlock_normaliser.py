"""Events of our own types name their schema; an older version is upcast before anything reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.data_plane.ingestion.errors import InvalidDataError, UnknownSchemaVersionError, UnknownTypeError
from app.data_plane.ingestion.normalisers import normalise
from app.data_plane.ingestion.upcasting import UPCASTERS, Upcasters, issue_1_to_2
from interlock.envelope import Envelope

OLD = {"title": "It broke", "user": "mona", "labels": "bug, help wanted,,", "number": 7}
NEW = {"title": "It broke", "author": "mona", "labels": ["bug", "help wanted"], "number": 7}


def _event(data: Any, schema: str = "issue:2", type_: str = "dev.interlock.issue") -> Envelope:
    return Envelope(
        id="1",
        source="/host",
        type=type_,
        tenantid="demo",
        data=data,
        dataschema=f"urn:interlock:schema:{schema}",
    )


def _normalised(envelope: Envelope) -> Any:
    name, event = normalise(envelope)
    assert name == "interlock/1"
    return event.to_json()


def test_an_issue_of_version_1_becomes_the_same_event_as_one_of_version_2() -> None:
    """Hosts upgrade when they like; templates know one version."""
    assert issue_1_to_2(OLD) == NEW
    assert _normalised(_event(OLD, "issue:1")) == _normalised(_event(NEW, "issue:2"))


def test_an_issue_of_version_1_does_not_pass_for_version_2() -> None:
    """The version is believed, not guessed."""
    with pytest.raises(InvalidDataError, match=r"labels"):
        normalise(_event({**OLD, "author": "x"}, "issue:2"))


def test_upcasting_goes_one_version_at_a_time() -> None:
    """A third version needs one new function."""
    steps = {
        ("a", version): lambda data, version=version: {**data, f"v{version}": True} for version in (1, 2)
    }
    registry = Upcasters({"a": 3}, steps)
    assert registry.upcast("a", 1, {}) == {"v1": True, "v2": True}
    assert registry.upcast("a", 3, {}) == {}
    for version in (0, 4):
        with pytest.raises(UnknownSchemaVersionError):
            registry.upcast("a", version, {})


@pytest.mark.parametrize(
    "dataschema", [None, "urn:interlock:schema:issue:3", "urn:interlock:schema:check:1", "a:b"]
)
def test_a_schema_that_the_type_does_not_have_is_refused(dataschema: str | None) -> None:
    """Guessing a version would misread the data."""
    with pytest.raises(UnknownSchemaVersionError) as refused:
        normalise(replace(_event(NEW), dataschema=dataschema))
    assert refused.value.code == "unknown_schema_version"


@pytest.mark.parametrize(
    "type_", ["com.example.order", "dev.interlock.order", "dev.interlock.", "com.githubb.issues"]
)
def test_a_type_that_no_normaliser_reads_is_refused(type_: str) -> None:
    """It would otherwise be stored and never understood."""
    with pytest.raises(UnknownTypeError) as refused:
        normalise(_event(NEW, type_=type_))
    assert refused.value.code == "unknown_type"


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ("text", "object"),
        ({}, "title"),
        ({**NEW, "number": "7"}, "number"),
        ({**NEW, "number": 2**63}, "number"),
        ({**NEW, "colour": "red"}, "colour"),
        ({**NEW, "repository": {"name": "x"}}, "full_name"),
        ({**NEW, "comment": {"body": 1}}, "body"),
    ],
    ids=str,
)
def test_data_that_does_not_fit_is_refused_and_the_field_named(data: Any, where: str) -> None:
    """The sender can correct it; the value itself is not repeated."""
    with pytest.raises(InvalidDataError, match=where) as refused:
        normalise(_event(data))
    assert refused.value.code == "invalid_data"
    assert refused.value.remedy


def test_what_stands_beside_the_section_goes_where_github_events_have_it() -> None:
    """Templates read one shape, whatever the source."""
    event = _normalised(
        _event(
            {
                **NEW,
                "action": "opened",
                "repository": {"full_name": "a/b"},
                "sender": {"login": "mona"},
                "comment": {"body": "x" * 20_001},
            }
        )
    )
    assert (event["schema"], event["action"], event["source_kind"]) == ("issue/2", "opened", "interlock")
    assert event["repository"]["full_name"] == "a/b"
    assert event["sender"]["login"] == "mona"
    assert event["comment"]["truncated"] is True


@pytest.mark.parametrize(
    ("name", "data"), [("check", {"kind": "build", "conclusion": "failure"}), ("alert", {"kind": "scan"})]
)
def test_checks_and_alerts_of_hosts_are_read_too(name: str, data: dict[str, str]) -> None:
    """All three of our own types."""
    event = _normalised(_event(data, f"{name}:1", f"dev.interlock.{name}"))
    assert event[name]["kind"] == data["kind"]
    assert UPCASTERS.current[name] == 1
