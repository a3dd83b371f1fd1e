"""Promise 5: whatever happens to an orchestration, its spans are one tree, and what is beside it is linked.

Deliveries are retried, a worker is killed in the middle of a run, people are waited for, and there are a rerun and a
resume. One system for all tests of this module.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.instrumented_tools import CLIENT_SPAN
from tests.acceptance.span_graph import SENDER, Graph, dump, watched

INFRASTRUCTURE = {"batch", "run", "apply_async"}
OF_RUNS = {"invoke_agent", "chat", "execute_tool"}


@pytest.fixture(scope="module")
def graph(module_database: str, module_home: Path) -> Graph:
    """All that happened."""
    return watched(module_database, module_home)


def test_each_orchestration_is_one_tree(graph: Graph) -> None:
    """One root, which its row names: ingestion, below the sender's span where there was one, or the rerun's first."""
    for name, key in graph.named.items():
        spans = graph.of(name)
        assert {span.trace_id for span in spans} == {graph.orchestrations[key].split("-")[1]}
        roots = [span for span in spans if span.parent not in graph.by_id]
        assert [root.name for root in roots] == ["rerun" if name == "rerun" else "ingestion"], dump(graph)
        assert roots[0].parent == (SENDER.split("-")[2] if name == "demo" else "")
        assert f"00-{roots[0].trace_id}-{roots[0].span_id}-01" == graph.orchestrations[key]


def test_no_span_is_an_orphan(graph: Graph) -> None:
    """Not in infrastructure's traces either; and no two spans have one id."""
    ids = Counter(span.span_id for span in graph.spans)
    assert {key: count for key, count in ids.items() if count > 1} == {}, dump(graph)
    orphans = [span for span in graph.spans if span.parent and span.parent not in graph.by_id]
    assert [(span.name, span.parent) for span in orphans] == [("ingestion", SENDER.split("-")[2])], dump(
        graph
    )


def test_the_keys_are_on_every_span(graph: Graph) -> None:
    """Also on what a library recorded; and infrastructure has none of them."""
    for span in graph.spans:
        known = {name for name in ("tenant_id", "event_id", "orchestration_id") if span.attributes.get(name)}
        if span.what in INFRASTRUCTURE:
            assert not known, span
            continue
        assert len(known) == 3, span
        if span.what in OF_RUNS or span.name == CLIENT_SPAN:
            assert str(span.attributes["run_id"]).startswith("run_"), span


def test_a_span_begins_within_its_parent(graph: Graph) -> None:
    """And none ends before it began."""
    for span in graph.spans:
        assert span.start <= span.end, span
        parent = graph.by_id.get(span.parent)
        assert parent is None or parent.start <= span.start, (span, parent)


def test_messages_have_traces_of_their_own_and_know_what_they_carried(graph: Graph) -> None:
    """From an orchestration's span one comes to the message that carried it, and back."""
    traces = {traceparent.split("-")[1] for traceparent in graph.orchestrations.values()}
    for span in graph.spans:
        assert (span.trace_id in traces) == (span.what not in INFRASTRUCTURE), span
        for carrier in span.linked("carried_by"):
            # The worker that was killed took its message's span along.
            if carrier in graph.by_id:
                linked = graph.by_id[carrier]
                assert linked.what in {"run", "batch"}
                assert graph.orchestrations[span.orchestration].split("-")[2] in linked.linked("carries"), (
                    span
                )
    carried = {span.what for span in graph.spans if span.linked("carried_by")}
    assert carried >= {
        "ingestion",
        "orchestration",
        "invoke_agent",
        "aggregation",
        "decision",
        "dispatch",
        "rerun",
    }


def test_only_messages_that_carried_something_are_kept(graph: Graph) -> None:
    """Beat rings every half second, and of that there is nothing."""
    runs = [span for span in graph.spans if span.what == "run"]
    assert runs
    for run in runs:
        assert run.linked("carries") or run.attributes.get("interlock.redelivered"), run
    assert not [span for span in graph.spans if "maintenance" in span.name]


def test_a_delivery_that_is_made_again_is_linked_to_the_attempt_before(graph: Graph) -> None:
    """Twice in vain, and once more when a person had it resumed."""
    pager = [one for one in graph.of("retried", "dispatch") if one.attributes["interlock.target"] == "pager"]
    first, second, third = pager
    assert [one.attributes["interlock.attempt"] for one in pager] == [1, 2, 3]
    assert first.linked("retry") == first.linked("resume") == []
    assert second.linked("retry") == [first.span_id]
    assert third.linked("resume") == [second.span_id]
    (resume,) = graph.of("retried", "resume")
    assert resume.linked("resume") == [second.span_id]


def test_a_run_that_a_killed_worker_had_is_linked_to_what_is_lost(graph: Graph) -> None:
    """The span of the lapsed attempt was never written, and nothing that was below it is there without it."""
    first, second = graph.of("killed", "invoke_agent")
    (lost,) = first.linked("lapse")
    assert lost not in graph.by_id
    assert not first.linked("retry")
    assert second.linked("continues") == [first.span_id]
    # The page was fetched twice, and once by a worker that lived to tell.
    trace_id = graph.orchestrations[graph.named["killed"]].split("-")[1]
    assert sum(trace_id in headers["traceparent"] for headers in graph.asked) == 2
    assert len([span for span in graph.of("killed") if span.name == CLIENT_SPAN]) == 1


def test_a_message_that_came_again_is_linked_to_its_first_delivery(graph: Graph) -> None:
    """Which the killed worker had."""
    again = [span for span in graph.spans if span.attributes.get("interlock.redelivered") is True]
    assert again, dump(graph)
    for span in again:
        (link,) = [link for link in span.links if link.kind == "redelivery"]
        assert link.trace_id != span.trace_id


def test_a_rerun_is_linked_to_the_original(graph: Graph) -> None:
    """To its first span, in another trace."""
    (rerun,) = graph.of("rerun", "rerun")
    assert rerun.linked("replay") == [graph.orchestrations[graph.named["demo"]].split("-")[2]]


def test_what_people_were_waited_for_is_a_span(graph: Graph) -> None:
    """From the moment they were asked; who answered is in no span."""
    for name in ("called", "killed"):
        (approval,) = graph.of(name, "approval_wait")
        (asked,) = [one for one in graph.of(name, "policy") if one.name == "policy reference.record"]
        assert asked.attributes["interlock.policy.effect"] == "approval"
        assert asked.attributes["interlock.policy.ids"] == ["risky"]
        assert approval.start >= asked.start
        assert approval.attributes["interlock.outcome"] == "granted"
        assert approval.attributes["interlock.action.id"] == asked.attributes["interlock.action.id"]
    (review,) = graph.of("reviewed", "review_wait")
    assert review.attributes["interlock.outcome"] == "resolved"
    assert "ines" not in repr(graph.spans)


def test_each_call_has_its_verdict_and_its_span(graph: Graph) -> None:
    """What a run may do itself is judged below its span; what it hands over, by its orchestration."""
    below = [one for one in graph.of("called") if one.parent]
    places = Counter((one.name, graph.by_id[one.parent].what) for one in below)
    assert (
        places["policy pages.fetch", "invoke_agent"]
        == places["execute_tool pages.fetch", "invoke_agent"]
        == 1
    )
    assert places["policy reference.record", "ingestion"] == 1
    assert places["execute_tool reference.record", "invoke_agent"] == 1
    (permitted,) = [one for one in graph.of("called", "policy") if one.name == "policy pages.fetch"]
    assert permitted.attributes["interlock.policy.ids"] == ["pages"]
    first, second = graph.of("called", "invoke_agent")
    assert second.linked("continues") == [first.span_id]


def test_a_librarys_span_is_below_the_tools_that_called_it(graph: Graph) -> None:
    """An HTTP client that a team has instrumented."""
    clients = [span for span in graph.spans if span.name == CLIENT_SPAN]
    assert len(clients) == 2
    for client in clients:
        tool = graph.by_id[client.parent]
        assert tool.name == "execute_tool pages.fetch"
        assert tool.start <= client.start <= client.end <= tool.end


def test_what_goes_out_carries_the_trace_and_no_baggage(graph: Graph) -> None:
    """The keys travel in baggage inside the process, and nowhere else."""
    traces = {graph.orchestrations[graph.named[name]].split("-")[1] for name in ("called", "killed")}
    assert {headers["traceparent"].split("-")[1] for headers in graph.asked} == traces
    assert not [headers for headers in graph.asked if "baggage" in headers]


def test_an_orchestration_has_few_spans(graph: Graph) -> None:
    """Besides one for each question, call and delivery."""
    for name in graph.named:
        counts = Counter(span.what for span in graph.of(name))
        assert counts.total() - counts["chat"] - counts["dispatch"] <= 20, (name, counts)
