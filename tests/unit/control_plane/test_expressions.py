"""A CEL expression that names what is not there is found when it is published, not when an event meets it."""

from __future__ import annotations

import pytest

from app.control_plane.expressions import Variables, check_expression

VARIABLES: Variables = {
    "event": None,
    "snapshot": {"owner": frozenset({"found", "entry"})},
    "stages": {"classify": frozenset({"label", "why"}), "open": None},
}


@pytest.mark.parametrize(
    "expression",
    [
        'event.issue.title == "stages.nope" // stages.nope',
        "stages.classify == null ? '' : stages.classify.label",
        'stages["classify"].label + r"\\d" + snapshot.owner.entry.anything',
        "has(snapshot.owner.entry.team) && event.labels.exists(l, l == 'bug')",
        "event.labels.filter(l, l.size() > 2).map(l, l.contains('x'))",
        "event.labels.exists(l, l == 'a') || event.labels.all(l, l != 'b')",
        "event.a in ['x'] && size(event.b) > 1 && string(event.n).startsWith('1')",
        "{'a': event.b, 'c': [1, 2.5, true, null]}",
        "stages.classify.label.matches(r'^b') && stages.open.anything",
    ],
)
def test_what_can_be_evaluated_is_accepted(expression: str) -> None:
    assert check_expression(expression, VARIABLES) == []


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("1 +", "it is not CEL"),
        ("(" * 500, "it is not CEL"),
        ("now()", "unknown function 'now'"),
        ("event.title.lowerAscii()", "unknown function 'lowerAscii'"),
        ("evnt.title", "unknown variable 'evnt'"),
        ("stages.answer.comment", "stages.answer, which is not there"),
        ('stages["answer"].comment', "stages.answer, which is not there"),
        ("stages.classify.lable", "stages.classify.lable, which is not there"),
        ("snapshot.owner.entries", "snapshot.owner.entries, which is not there"),
        ("size(stages) > 1", "'stages' as a whole"),
        ("stages[event.which].label", "'stages' as a whole"),
        ("event.a.exists(x, event.b.exists(y, x == y))", "'exists' inside another"),
        ("event.a.map(x, x.all(y, y))", "'all' inside another"),
        ("event.a.exists(x, x) && x", "unknown variable 'x'"),
        ("event.a.exists(event, event)", "binds 'event', which is a variable already"),
    ],
)
def test_what_cannot_is_refused_with_the_reason(expression: str, reason: str) -> None:
    assert any(reason in found for found in check_expression(expression, VARIABLES))
