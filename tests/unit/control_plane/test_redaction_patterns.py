"""Guards: a tenant's patterns for redaction are refused at publishing when they could not be used, and say why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from app.control_plane.documents import read_documents
from app.control_plane.problems import DocumentError, Problem

PLACE = "tenants/demo/2/tenant.yaml"
GOOD = '{name: badge, keyword: "badge-", pattern: "badge-[0-9]{6}"}'


def add(folder: Path, *entries: str) -> None:
    """List patterns in the newest document of the tenant."""
    path = folder / PLACE
    path.write_text(path.read_text() + f"redaction: {{patterns: [{', '.join(entries)}]}}\n")


def problems(folder: Path, *entries: str) -> Sequence[Problem]:
    """What is wrong with them."""
    add(folder, *entries)
    with pytest.raises(DocumentError) as refused:
        read_documents(folder)
    return refused.value.problems


def test_a_document_may_list_patterns_and_one_without_keeps_its_digest(folder: Path) -> None:
    before = read_documents(folder).tenants["demo", 2]
    assert b"redaction" not in before.body
    add(folder, GOOD)
    after = read_documents(folder).tenants["demo", 2]
    assert after.model.tenant.redaction is not None
    assert [one.name for one in after.model.tenant.redaction.patterns] == ["badge"]
    assert after.digest != before.digest


@pytest.mark.parametrize(
    ("entry", "field", "reason"),
    [
        ('{name: a, keyword: "ab", pattern: "ab[0-9]"}', "keyword", "3 to 50"),
        ('{name: a, keyword: "b*dge", pattern: "badge"}', "keyword", "3 to 50"),
        ('{name: a, keyword: "badge", pattern: "(badge)\\\\1"}', "pattern", "linear time"),
        ('{name: a, keyword: "badge", pattern: "^badge"}', "pattern", "tied to"),
        ('{name: a, keyword: "badge", pattern: "x*"}', "pattern", "empty text"),
    ],
)
def test_what_could_not_be_used_is_told_with_its_place(
    folder: Path, entry: str, field: str, reason: str
) -> None:
    (problem,) = problems(folder, GOOD, entry)
    assert (problem.path, problem.field) == (PLACE, f"redaction.patterns.1.{field}")
    assert reason in problem.reason
    assert problem.remedy


def test_there_are_twenty_at_most(folder: Path) -> None:
    (problem,) = problems(folder, *[GOOD] * 21)
    assert problem.field == "redaction.patterns"
    assert "20 at most" in problem.remedy
