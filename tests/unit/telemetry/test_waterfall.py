"""Guards: whatever was recorded is shown, each span once, in its place, with what it is linked with in plain words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.telemetry.stored_spans import Json, StoredEvent, StoredLink, StoredSpan
from app.telemetry.waterfall import carriers, waterfall

TRACE = "a" * 32


def span(span_id: str, parent: str = "", start: int = 0, end: int = 10, **more: object) -> StoredSpan:
    """A span of the trace; ``more`` are its fields, or, with dots as underscores, attributes."""
    made = StoredSpan(
        *(TRACE, span_id, parent, "demo", "e-1", "orc_0123456789abcdef", "", f"span {span_id}", "worker"),
        *("internal", start, end, "ok", "", {}, (), ()),
    )
    return replace(made, **more)


def link(kind: str, span_id: str, trace_id: str = TRACE) -> StoredLink:
    return StoredLink(trace_id, span_id, {"interlock.link": kind})


def shown(*spans: StoredSpan, known: tuple[StoredSpan, ...] = ()) -> list[tuple[int, str]]:
    return [(line.depth, line.span.span_id) for line in waterfall(TRACE, spans, known).lines]


def test_spans_stand_below_their_parents_in_the_order_of_their_beginning() -> None:
    found = shown(span("late", "root", 9), span("leaf", "early", 3), span("root"), span("early", "root", 2))
    assert found == [(0, "root"), (1, "early"), (2, "leaf"), (1, "late")]


def test_a_span_whose_parent_is_not_there_is_shown_as_an_orphan() -> None:
    """Its sender's is outside; retention has taken the older ones."""
    lines = waterfall(TRACE, [span("root"), span("lost", "gone", 5)]).lines
    assert [(line.span.span_id, line.depth, line.orphan) for line in lines] == [
        ("root", 0, False),
        ("lost", 0, True),
    ]


def test_a_span_that_was_written_twice_is_shown_once_and_rings_of_parents_are_no_trap() -> None:
    assert shown(span("a"), span("a")) == [(0, "a")]
    assert sorted(shown(span("a", "b"), span("b", "a", 1), span("self", "self", 2))) == [
        (0, "a"),
        (0, "self"),
        (1, "b"),
    ]


def test_a_deep_chain_of_spans_is_no_recursion() -> None:
    chain = [span("0"), *(span(str(number), str(number - 1), number) for number in range(1, 3_000))]
    assert shown(*chain)[-1] == (2_999, "2999")


def test_offsets_are_from_the_traces_beginning_to_the_nanosecond() -> None:
    found = waterfall(TRACE, [span("root", start=1_000, end=9_000), span("a", "root", 1_001, 1_004)])
    assert (found.start_ns, found.end_ns) == (1_000, 9_000)
    assert [(line.offset_ns, line.duration_ns) for line in found.lines] == [(0, 8_000), (1, 3)]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({}, ""),
        ({"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 0}, "12+0 tokens"),
        ({"interlock.target": "tickets", "interlock.attempt": 2, "interlock.outcome": "confirmed"},
         "at tickets, attempt 2, confirmed"),
        ({"error.type": "timeout", "http.response.status_code": 503}, "HTTP 503, error: timeout"),
        ({"interlock.degraded": True, "interlock.stage": ""}, "degraded"),
        ({"interlock.degraded": False, "unknown": "x"}, ""),
    ],
)  # fmt: skip
def test_a_span_says_what_it_was_in_a_few_words(attributes: Json, words: str) -> None:
    (line,) = waterfall(TRACE, [span("a", attributes=attributes)]).lines
    assert line.words == words


@pytest.mark.parametrize(
    ("kind", "target", "remark"),
    [
        ("retry", "first", "↪ again after attempt 1: span first of orc_0123456789ab"),
        ("lapse", "gone", "↪ attempt 1 (left no span: its worker was lost)"),
        (
            "lapse",
            "first",
            "↪ again after attempt 1, which nobody heard of again: span first of orc_0123456789ab",
        ),
        (
            "resume",
            "first",
            "↪ resumed by a person after attempt 1, which gave up: span first of orc_0123456789ab",
        ),
        ("replay", "first", "↪ replay of span first of orc_0123456789ab"),
        ("replay", "gone", f"↪ replay of span gone of trace {'a' * 16} (not recorded, or gone)"),
        ("odd", "first", "↪ linked with span first of orc_0123456789ab"),
    ],
)
def test_links_are_told_in_plain_words_also_those_that_lead_nowhere(
    kind: str, target: str, remark: str
) -> None:
    linked = span("second", attributes={"interlock.attempt": 2}, links=(link(kind, target),))
    lines = waterfall(TRACE, [span("first"), linked]).lines
    assert [line.remarks for line in lines] == [(), (remark,)]


def test_an_attempt_that_is_not_counted_is_the_one_before() -> None:
    """Runs have no number on their spans."""
    (line,) = waterfall(TRACE, [span("second", links=(link("lapse", "gone"),))]).lines
    assert line.remarks == ("↪ the one before (left no span: its worker was lost)",)


def test_the_messages_that_carried_it_are_named_once_and_told_of_only_by_themselves() -> None:
    carried = span("run", links=(link("carried_by", "m", "b" * 32), link("carried_by", "n", "b" * 32)))
    message = span("m", links=(link("carries", "run"), link("carries", "other")))
    assert carriers([carried, carried]) == ("b" * 32,)
    assert [line.remarks for line in waterfall(TRACE, [carried]).lines] == [()]
    assert waterfall(TRACE, [message]).lines[0].remarks == ("↪ carried steps of 2 recorded orchestrations",)


def test_what_happened_within_a_span_is_a_remark() -> None:
    hop = StoredEvent(5, "interlock.provider.hop", {"interlock.left": "a", "reason": "timeout"})
    (line,) = waterfall(TRACE, [span("a", events=(hop,))]).lines
    assert line.remarks == ("· interlock.provider.hop: left a, reason timeout",)


def test_a_wait_is_told_from_work_and_an_error_from_the_rest() -> None:
    wait = span("w", name="approval_wait refund", status="error")
    (line,) = waterfall(TRACE, [wait]).lines
    assert (line.waited, line.failed) == (True, True)
    (line,) = waterfall(TRACE, [span("a", name="invoke_agent waiter")]).lines
    assert (line.waited, line.failed) == (False, False)
