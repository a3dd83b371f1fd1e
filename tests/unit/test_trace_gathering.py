"""Guards: a trace that is larger than one look says so, also when most of it is other orchestrations'."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import pytest

from app.adapters.postgresql.reading_traces import TracedRun, TraceReading
from app.cli import trace
from app.telemetry.stored_spans import StoredSpan
from tests.unit.telemetry.test_waterfall import TRACE, span

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ASKED = "orc_0123456789abcdef"
RUN = TracedRun(ASKED, "demo", "e-1", "triage", "live", "running", f"00-{TRACE}-{1:016x}-01", NOW)


class Spans:
    """The spans of one trace, in which a host has sent everything."""

    def spans(self, _trace_ids: Sequence[str]) -> tuple[StoredSpan, ...]:
        """One is of the orchestration that is asked for."""
        return (
            span(f"{1:016x}"),
            *(span(f"{number:016x}", orchestration_id="orc_another") for number in (2, 3)),
        )

    def traces_of(self, _orchestrations: Sequence[str]) -> tuple[str, ...]:
        """The same trace."""
        return (TRACE,)


class Reading:
    """As much of the database as it takes."""

    spans = Spans()

    def beginning(self, _text: str) -> dict[str, str]:
        """The one orchestration."""
        return {ASKED: ASKED}

    def runs(self, _orchestrations: Sequence[str]) -> tuple[TracedRun, ...]:
        """Its row."""
        return (RUN,)


@pytest.mark.parametrize(("most", "cut"), [(3, True), (4, False)])
def test_a_trace_of_which_not_everything_was_read_says_so(
    monkeypatch: pytest.MonkeyPatch, most: int, cut: bool
) -> None:
    """What is missing then is not known: spans of the one that is asked for may be among it."""
    monkeypatch.setattr(trace, "MOST_SPANS", most)
    found = trace.gather(cast(TraceReading, Reading()), ASKED, trace.Kept(72.0, NOW), messages=False)
    assert [one.span_id for one in found.traces[TRACE]] == [f"{1:016x}"]
    assert found.cut == cut
