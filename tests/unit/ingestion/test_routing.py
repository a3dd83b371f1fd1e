"""Which releases an event starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.data_plane.ingestion.routing import route, subscribes
from tests.unit.ingestion.fakes import issue, release


@pytest.mark.parametrize(
    ("pattern", "event_type", "covered"),
    [
        ("com.github.issues.*", "com.github.issues.opened", True),
        ("com.github.issues.*", "com.github.issues", False),
        ("com.github.issues.*", "com.github.issues_x.opened", False),
        ("com.github.status", "com.github.status", True),
        ("com.github.status", "com.github.status.x", False),
        ("com.github.deployment_status*", "com.github.deployment_status", True),
        ("*", "anything", True),
    ],
)
def test_a_trailing_star_matches_any_rest(pattern: str, event_type: str, covered: bool) -> None:
    """And no other character has a meaning of its own."""
    assert subscribes(pattern, event_type) is covered


def test_a_workflow_with_two_channels_starts_once() -> None:
    """The orchestration's id names the workflow, not the channel."""
    first, second = release("w", "dev.interlock.*"), release("w", "*")
    (routed,) = route(issue(), [first, replace(second, channel="canary")])
    assert (routed.release, routed.channel) == (first.release, "stable")


def test_routes_do_not_depend_on_the_order_of_publishing() -> None:
    """Journals of two databases are to be equal."""
    table = [release(name, "*") for name in ("b", "a")]
    assert [routed.workflow for routed in route(issue(), table)] == ["a", "b"]
