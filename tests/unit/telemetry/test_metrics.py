"""Guards: what processes measure has stable names and bounded labels, and costs nothing until somebody wants it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from app.telemetry import metric_names as names
from app.telemetry import metrics
from app.telemetry.metrics import MOST_VALUES, Capped

_TASK = ("interlock.dispatch.deliver", "dispatch", "dispatch@host")


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    found = CollectorRegistry()
    metrics.install(found)
    yield found
    metrics.uninstall()


def measure_everything() -> None:
    """Each function once."""
    metrics.event("accepted")
    metrics.ingested(0.01)
    metrics.step_claimed("dispatch", 0.2)
    metrics.step_ended("dispatch", "done", 0.2)
    metrics.orchestration_closed("triage", "completed", 3.0)
    metrics.model_asked("acme", "large", "", 1.5)
    metrics.tool_called("lookup", "answered", 0.01)
    metrics.judged("permitted", 0.0001)
    metrics.delivered("chat", "confirmed", 0.1)
    metrics.breaker_refused("acme", "large", "open")
    metrics.spans_dropped(3)
    metrics.task_received(*_TASK)
    metrics.task_started(*_TASK)
    metrics.task_succeeded(*_TASK)
    metrics.task_failed(*_TASK, "defect")
    metrics.task_retried(*_TASK)
    metrics.task_rejected(*_TASK)
    metrics.task_ran(*_TASK, 0.3)


MEASURED = {
    names.TASK_RECEIVED,
    names.TASK_STARTED,
    names.TASK_SUCCEEDED,
    names.TASK_FAILED,
    names.TASK_RETRIED,
    names.TASK_REJECTED,
    names.TASK_RUNTIME,
    names.STEP_WAIT,
    names.STEPS,
    names.STEP_DURATION,
    names.EVENTS,
    names.INGESTION_DURATION,
    names.ORCHESTRATION_DURATION,
    names.MODEL_DURATION,
    names.TOOL_DURATION,
    names.VERDICT_DURATION,
    names.DELIVERY_DURATION,
    names.BREAKER_REFUSALS,
    names.SPANS_DROPPED,
}
"""The first part of ``metric_names``; the exporter has the other."""


def test_each_function_feeds_the_metric_that_is_named_for_it(registry: CollectorRegistry) -> None:
    """Dashboards and alerts rest on these names; one that nothing feeds would be a panel without data."""
    measure_everything()
    told = {
        sample.name.removesuffix("_count")
        for family in registry.collect()
        for sample in family.samples
        if sample.value and not sample.name.endswith(("_bucket", "_sum", "_created"))
    }
    assert told == MEASURED


def test_what_is_measured_has_its_labels(registry: CollectorRegistry) -> None:
    measure_everything()
    asked = {"gen_ai_provider_name": "acme", "gen_ai_request_model": "large", "error_type": ""}
    assert registry.get_sample_value(f"{names.MODEL_DURATION}_sum", asked) == 1.5
    failed = dict(zip(("name", "queue_name", "hostname", "exception"), (*_TASK, "defect"), strict=True))
    assert registry.get_sample_value(names.TASK_FAILED, failed) == 1.0
    assert registry.get_sample_value(names.SPANS_DROPPED) == 3.0


def test_nothing_is_measured_and_nothing_fails_until_somebody_wants_it() -> None:
    """A command of the command line measures into nowhere."""
    metrics.uninstall()
    measure_everything()


def test_a_label_has_no_more_values_than_it_may(registry: CollectorRegistry) -> None:
    """Whoever sends a thousand names must not fill Prometheus."""
    for number in range(MOST_VALUES + 50):
        metrics.tool_called(f"tool_{number}", "answered", 0.01)
    tools = {
        sample.labels["tool"]
        for family in registry.collect()
        for sample in family.samples
        if "tool" in sample.labels
    }
    assert len(tools) == MOST_VALUES + 1
    count = registry.get_sample_value(
        f"{names.TOOL_DURATION}_count", {"tool": "other", "outcome": "answered"}
    )
    assert count == 50.0


def test_values_that_were_let_through_stay_so() -> None:
    cap = Capped(2)
    assert [cap(value) for value in ("a", "b", "c", "a", "d", "b")] == ["a", "b", "other", "a", "other", "b"]
