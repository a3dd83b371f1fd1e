"""A tool's declaration is a contract: strict arguments, and schemas that a release can be pinned to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.data_plane.tools import check_arguments, input_model, outgoing, output_model, shipped_tools
from app.kernel.errors import NotFoundError
from interlock.canonical import JsonObject, canonical_bytes

HISTORIES = Path(__file__).parents[1] / "histories"

TRIAGE: JsonObject = {"repository": "a/b", "number": 1, "label": "bug", "priority": "p1", "comment": ""}
EXAMPLES: dict[str, JsonObject] = {
    "tracker.triage_issue": TRIAGE,
    "tracker.add_note": {"repository": "a/b", "subject": "issue 7", "note": "It is a duplicate of 5."},
    "tracker.record_check": {
        "repository": "a/b",
        "check": "check_run/tests",
        "head_sha": "abc",
        "conclusion": "failure",
        "cause": "code",
    },
    "tracker.open_incident": {
        "repository": "a/b",
        "title": "A weakness",
        "severity": "high",
        "url": "",
        "owner": "core",
    },
    "pager.notify_owner": {"owner": "core", "cause": "It fails.", "url": "", "urgency": "now"},
    "repository.hold_dependency": {
        "repository": "a/b",
        "package": "harp",
        "severity": "high",
        "reason": "Exploited.",
    },
    "reference.record": {"subject": "a", "verdict": "b"},
}


def test_every_tool_declares_its_effect_and_a_version() -> None:
    assert {tool.effect for tool in shipped_tools().values()} <= {"read", "write", "egress"}
    assert all(tool.version >= 1 for tool in shipped_tools().values())


def test_arguments_that_fit_are_taken_as_they_are() -> None:
    assert input_model("tracker.triage_issue").model_validate(TRIAGE).model_dump() == TRIAGE
    assert check_arguments("tracker.triage_issue", TRIAGE) == []


@pytest.mark.parametrize(
    "change",
    [
        {"number": "1"},
        {"number": -1},
        {"number": True},
        {"priority": "p9"},
        {"colour": "blue"},
        {"label": "x" * 301},
    ],
)
def test_arguments_that_do_not_fit_are_refused_and_nothing_is_converted(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        input_model("tracker.triage_issue").model_validate({**TRIAGE, **change})


def test_a_target_may_answer_more_than_is_read() -> None:
    assert output_model("tracker.triage_issue").model_validate({"applied": True, "extra": 1})


def test_a_schema_says_nothing_that_a_rewording_would_change() -> None:
    """Titles and docstrings in a schema would make another release of the same contract."""
    for tool in shipped_tools().values():
        text = json.dumps(
            [tool.model_dump(mode="json")["input_schema"], tool.model_dump(mode="json")["output_schema"]]
        )
        assert '"title": "' not in text
        assert '"description"' not in text


def test_a_tool_that_is_not_there_is_an_error() -> None:
    with pytest.raises(NotFoundError):
        input_model("pager.shout")


def without_marks(schema: object) -> object:
    """A schema as it was before the gateway's marks."""
    if isinstance(schema, dict):
        return {key: without_marks(item) for key, item in schema.items() if key != "x-interlock"}
    return schema


@pytest.mark.parametrize("history", sorted(HISTORIES.glob("*.json")), ids=lambda path: path.stem)
def test_what_old_releases_pinned_is_what_the_tools_still_are(history: Path) -> None:
    """An old orchestration must find its tools: the same version, and the same arguments to the letter."""
    pinned = json.loads(history.read_text())["release"]["tools"]
    assert pinned
    for name, old in pinned.items():
        now = shipped_tools()[name].model_dump(mode="json")
        assert (now["version"], now["effect"]) == (old["version"], old["effect"])
        for schema in ("input_schema", "output_schema"):
            assert without_marks(now[schema]) == old[schema]


def test_text_for_people_is_marked_and_nothing_else_is() -> None:
    """The gateway is strict with every argument that is not marked."""
    marked = {
        (tool.name, name)
        for tool in shipped_tools().values()
        for name, part in tool.model_dump(mode="json")["input_schema"]["properties"].items()
        if part.get("x-interlock") == "content"
    }
    assert marked == {
        ("pager.notify_owner", "cause"),
        ("repository.hold_dependency", "reason"),
        ("tracker.add_note", "note"),
        ("tracker.open_incident", "title"),
        ("tracker.triage_issue", "comment"),
    }


def test_the_directory_is_the_tenants_own_and_so_its_entries_may_be_trusted() -> None:
    tool = shipped_tools()["directory.lookup"]
    assert tool.trusted
    assert tool.model_dump(mode="json")["output_schema"]["properties"]["entry"]["x-interlock"] == "structured"


@pytest.mark.parametrize("name", sorted(set(shipped_tools()) - {"directory.lookup"}))
def test_a_shipped_effect_posts_its_arguments_as_they_are_to_its_own_path(name: str) -> None:
    """What was sent before there were tools' functions: the same bytes to the same place."""
    arguments = EXAMPLES[name]
    wanted = outgoing(name, arguments)
    assert wanted.path == f"/v1/effects/{name}"
    assert canonical_bytes(wanted.body) == canonical_bytes(arguments)


def test_every_tool_tells_a_model_what_it_does() -> None:
    assert all(tool.description.endswith((".", '".')) for tool in shipped_tools().values())


def test_what_was_no_whole_number_does_not_become_one_on_the_way() -> None:
    """Canonical JSON writes 1.0 as 1; the arguments are checked as they came."""
    assert check_arguments("tracker.triage_issue", {**TRIAGE, "number": 1.0}) != []
    assert check_arguments("tracker.triage_issue", {**TRIAGE, "number": float("nan")}) != []
