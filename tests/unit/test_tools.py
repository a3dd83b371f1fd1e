"""A tool's declaration is a contract: strict arguments, and schemas that a release can be pinned to."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from app.data_plane.tools import check_arguments, input_model, output_model, shipped_tools
from app.kernel.errors import NotFoundError
from interlock.canonical import JsonObject

TRIAGE: JsonObject = {"repository": "a/b", "number": 1, "label": "bug", "priority": "p1", "comment": ""}


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
