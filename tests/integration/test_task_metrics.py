"""Celery's counters over Celery's own signals: what a task came to, under names that are declared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery, signals
from prometheus_client import CollectorRegistry

from app.adapters.celery.task_metrics import TaskMetrics, labels
from app.telemetry import metric_names as names
from app.telemetry import metrics

TASK = "tests.measured"
HEARD = (
    signals.task_received,
    signals.task_prerun,
    signals.task_postrun,
    signals.task_failure,
    signals.task_retry,
)


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    found = CollectorRegistry()
    metrics.install(found)
    before = [list(signal.receivers or ()) for signal in HEARD]
    for signal in HEARD:
        # Whatever was imported in this process before may hear them, too, and count everything twice.
        signal.receivers = []
    TaskMetrics().connect()
    yield found
    for signal, receivers in zip(HEARD, before, strict=True):
        signal.receivers = receivers
    metrics.uninstall()


@pytest.fixture
def app() -> Celery:
    app = Celery("tests", set_as_current=False, broker_url="memory://", task_ignore_result=True)

    @app.task(name=TASK, shared=False)
    def measured(answer: str) -> str:
        if answer == "raise":
            raise ValueError
        return answer

    return app


def total(registry: CollectorRegistry, metric: str, **given: str) -> float:
    """The sum over the other labels."""
    return sum(
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == metric and given.items() <= sample.labels.items()
    )


@pytest.mark.parametrize(
    ("answer", "succeeded", "failed_because"),
    [("3 runs, 0 failed", 1.0, ""), ("not done: defect", 0.0, "defect"), ("raise", 0.0, "ValueError")],
)
def test_a_task_counts_by_what_its_work_came_to(
    registry: CollectorRegistry, app: Celery, answer: str, succeeded: float, failed_because: str
) -> None:
    """Ours never raise: one whose unit of work was not done would look well on every Celery dashboard."""
    app.tasks[TASK].apply(args=[answer])
    assert total(registry, names.TASK_STARTED, name=TASK) == 1.0
    assert total(registry, f"{names.TASK_RUNTIME}_count", name=TASK) == 1.0
    assert total(registry, names.TASK_SUCCEEDED, name=TASK) == succeeded
    assert total(registry, names.TASK_FAILED, name=TASK) == 1.0 - succeeded
    if failed_because:
        assert total(registry, names.TASK_FAILED, exception=failed_because) == 1.0


def test_names_and_queues_that_nobody_declared_are_unknown(app: Celery) -> None:
    """Whoever can publish a message must not be able to fill Prometheus with names."""
    assert labels(app, TASK, {"routing_key": "dispatch"}, "dispatch@host") == (
        TASK,
        "dispatch",
        "dispatch@host",
    )
    assert labels(app, "made.up", {"routing_key": "made-up"}, None) == ("unknown", "unknown", "unknown")
    assert labels(app, None, None, None) == ("unknown", "unknown", "unknown")
