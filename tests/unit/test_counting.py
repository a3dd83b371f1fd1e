"""Facts whose bodies are not read count the same as if they were."""

from __future__ import annotations

import pytest

from app.data_plane.counting import PLAIN, Count, Known, Wanted, counts
from app.kernel.facts import AnyFact, BaseFact, Recorded
from app.telemetry import metric_names as names

ALL: dict[str, type[BaseFact]] = {
    str(one.model_fields["kind"].default): one for one in BaseFact.__subclasses__()
}
NOTHING = Known({}, {}, {})


@pytest.mark.parametrize("kind", sorted(PLAIN))
def test_a_plain_fact_is_one_of_its_kind_and_nothing_else(kind: str) -> None:
    """Whoever counts it otherwise must have its body read: the list is made from what ``counts`` looks at."""
    recorded = Recorded("orc_1", 2, "2026-11-28T00:00:00Z", _any(ALL[kind]))
    wanted = Wanted()
    wanted.add(recorded)
    assert list(counts(recorded, NOTHING)) == [Count(names.FACTS, (kind,))]
    assert wanted == Wanted()


def test_what_counts_for_more_is_read() -> None:
    """Retries, ends, decisions, tokens, hops, answers of targets and of people, what gives up."""
    read = ALL.keys() - PLAIN
    assert {"delivery_retried", "answer_rejected", "step_lapsed", "orchestration_closed"} <= read
    assert {
        "decision_made",
        "model_answered",
        "provider_hop",
        "delivery_confirmed",
        "approval_granted",
    } <= read
    assert {"model_asked", "step_gave_up", "run_folded"} <= read


def _any(kind: type[BaseFact]) -> AnyFact:
    """A fact of that kind with nothing in it."""
    return kind.model_construct()  # type: ignore[return-value]
