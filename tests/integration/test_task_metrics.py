"""Celery's counters over Celery's own signals: what a task came to, under names that are declared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from billiard.einfo import ExceptionInfo
from celery import Celery, signals
from celery.exceptions import Reject, TimeLimitExceeded, WorkerLostError
from celery.worker.request import Request
from kombu.message import Message
from kombu.serialization import dumps
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
        if answer == "reject":
            raise Reject(requeue=False)
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


def in_the_parent(app: Celery) -> Request:
    """A message as a worker's parent holds it while a child works."""
    sent = app.amqp.as_task_v2("one", TASK, args=("",))
    content_type, encoding, body = dumps(sent.body, "json")
    message = Message(
        body,
        channel=None,
        headers=sent.headers,
        properties=sent.properties,
        content_type=content_type,
        content_encoding=encoding,
        delivery_info={"routing_key": "dispatch"},
        accept=["application/json"],
    )
    return Request(message, app=app, hostname="dispatch@host", on_ack=ignored, on_reject=ignored)


def ignored(*_: object) -> None:
    """No broker is asked."""


def info(error: Exception) -> ExceptionInfo:
    """As billiard tells it."""
    try:
        raise error
    except type(error):
        return ExceptionInfo()


def test_a_child_that_died_or_took_too_long_is_one_failure_of_its_queue_and_node(
    registry: CollectorRegistry, app: Celery
) -> None:
    """The child cannot say so, and Celery's parent tells of a time limit twice."""
    in_the_parent(app).on_failure(info(WorkerLostError()))
    late = in_the_parent(app)
    late.on_failure(info(TimeLimitExceeded(1)))
    late.on_timeout(False, 1)
    where = {"queue_name": "dispatch", "hostname": "dispatch@host"}
    assert total(registry, names.TASK_FAILED, exception="WorkerLostError", **where) == 1.0
    assert total(registry, names.TASK_FAILED, exception="TimeLimitExceeded", **where) == 1.0
    assert total(registry, names.TASK_FAILED) == 2.0


def test_a_rejected_message_is_counted_once(registry: CollectorRegistry, app: Celery) -> None:
    """By the child that rejected it; the parent tells of a failure."""
    app.tasks[TASK].apply(args=["reject"])
    in_the_parent(app).on_failure(info(Reject(requeue=False)))
    assert total(registry, names.TASK_REJECTED, name=TASK) == 1.0
    assert total(registry, names.TASK_FAILED) == 0.0


def test_a_message_that_was_put_off_counts_as_retried(registry: CollectorRegistry, app: Celery) -> None:
    """It is published again; while the database is away, nothing succeeds."""
    app.tasks[TASK].apply(args=["put off: database_unavailable"])
    assert total(registry, names.TASK_RETRIED, name=TASK) == 1.0
    assert total(registry, names.TASK_SUCCEEDED) == 0.0


def test_names_and_queues_that_nobody_declared_are_unknown(app: Celery) -> None:
    """Whoever can publish a message must not be able to fill Prometheus with names."""
    assert labels(app, TASK, {"routing_key": "dispatch"}, "dispatch@host") == (
        TASK,
        "dispatch",
        "dispatch@host",
    )
    assert labels(app, "made.up", {"routing_key": "made-up"}, None) == ("unknown", "unknown", "unknown")
    assert labels(app, None, None, None) == ("unknown", "unknown", "unknown")
