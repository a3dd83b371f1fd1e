"""Spans of Celery's messages, by OpenTelemetry's own instrumentation, and what it does not guard against.

Each delivery is a trace of its own: ``run/<task>``, linked to the ``apply_async/<task>`` that published it, never its
child, so that no chain of doorbells grows into one endless trace. What the instrumentation (0.66b2) leaves open:

- What one task leaves current on its thread, the next one would inherit: a task that is ended from outside, and two
  deliveries of one message on one process, whose spans it files under the same id. Each task begins with nothing here.
- A publish that fails leaves its span open and current: see ``messages.publishing``, which is around each of ours;
  Celery's own publishes (a chain's next link) are within a task. The span of a task that this process has not
  registered is over before the publish has begun.
- It writes exceptions' texts into spans. Here it is their kind.
- An instrumented process that forks: a child begins anew, with exporters of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from celery import Task, signals
from celery.app.task import Context as Request
from opentelemetry import context, trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor, utils
from opentelemetry.trace import TracerProvider

from app.telemetry import messages, naming, tracing
from app.telemetry.messages import Publish
from app.telemetry.span_ids import (
    Linked,
    LinkKind,
    WantedIds,
    derived,
    derived_trace,
    is_unsampled,
    link_to,
    want,
    written,
)
from app.telemetry.tracing import Held

_mine = threading.local()
"""What the instrumentation keeps of the task on this thread: it files it under the message's id alone, and two
deliveries of one message may be worked on at once."""


def begin(provider: TracerProvider) -> None:
    """Record this process's messages with ``provider``; also in a child whose parent did so."""
    end()
    # The order of connecting is the order of hearing.
    signals.task_prerun.connect(_before, weak=False)
    signals.task_postrun.connect(_before_its_end, weak=False)
    signals.after_task_publish.connect(_publish_over, weak=False)
    instrumentor = CeleryInstrumentor()  # type: ignore[no-untyped-call]
    instrumentor.instrument(tracer_provider=provider, use_span_links=True)
    signals.task_failure.disconnect(instrumentor._trace_failure)
    signals.task_retry.disconnect(instrumentor._trace_retry)
    signals.task_prerun.connect(_after, weak=False)
    signals.before_task_publish.connect(_publish_begun, weak=False)
    signals.task_failure.connect(_failed, weak=False)


def end() -> None:
    """Record no more messages. Safe to call twice."""
    for receiver in (_before, _after):
        signals.task_prerun.disconnect(receiver)
    signals.task_postrun.disconnect(_before_its_end)
    signals.before_task_publish.disconnect(_publish_begun)
    signals.after_task_publish.disconnect(_publish_over)
    signals.task_failure.disconnect(_failed)
    instrumentor = CeleryInstrumentor()  # type: ignore[no-untyped-call]
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def _before(task: Task[..., object], **_: object) -> None:
    """Nothing is current on this thread, whatever was there before, and the first delivery's ids are its message's."""
    # First, as what is dropped gives back what was current before it.
    _mine.kept = None
    context.attach(tracing.holding(Held(), context.Context()))
    request = task.request
    publisher = getattr(request, "traceparent", None)
    if isinstance(publisher, str) and is_unsampled(publisher):
        # Nobody recorded it: a link would lead nowhere.
        vars(request)["traceparent"] = None
    if not _came_before(request):
        want(_first_ids(request))


def _after(task: Task[..., object], task_id: str, **_: object) -> None:
    """The message's span is current."""
    want(None)
    _mine.kept = utils.retrieve_context(task, task_id)
    utils.detach_context(task, task_id)
    request = task.request
    if not _came_before(request):
        return
    first = _first_ids(request)
    kind = LinkKind.REDELIVERY if _is_redelivered(request) else LinkKind.RETRY
    link = link_to(Linked(written(first.trace_id, first.span_id), kind))
    span = trace.get_current_span()
    span.set_attribute(naming.REDELIVERED, kind is LinkKind.REDELIVERY)
    if link is not None:
        span.add_link(link.context, link.attributes)


def _before_its_end(task: Task[..., object], task_id: str, **_: object) -> None:
    kept, _mine.kept = getattr(_mine, "kept", None), None
    if kept is not None:
        utils.attach_context(task, task_id, *kept)


def _publish_begun(headers: Mapping[str, object] | None = None, **told: object) -> None:
    """What the instrumentation keeps on the task, for ever when the publish fails, is kept by the guard instead."""
    task, message_id = utils.retrieve_task_from_sender(told), str((headers or {}).get("id", ""))
    kept = utils.retrieve_context(task, message_id, is_publish=True)
    if kept is not None and messages.publish_begun(message_id, Publish(kept[0], kept)):
        utils.detach_context(task, message_id, is_publish=True)


def _publish_over(headers: Mapping[str, object] | None = None, **told: object) -> None:
    message_id = str((headers or {}).get("id", ""))
    publish = messages.publish_over(message_id)
    if publish is not None:
        task = utils.retrieve_task_from_sender(told)
        utils.attach_context(task, message_id, *publish.kept, is_publish=True)  # type: ignore[misc]


def _failed(exception: BaseException, **_: object) -> None:
    tracing.mark_failed(trace.get_current_span(), exception)


def _came_before(request: Request) -> bool:
    return _is_redelivered(request) or bool(request.retries)


def _is_redelivered(request: Request) -> bool:
    info = request.delivery_info
    return isinstance(info, Mapping) and bool(info.get("redelivered"))


def _first_ids(request: Request) -> WantedIds:
    """Of the message's first delivery. Its tag is its own, where two messages may have one id: an event sent twice."""
    properties = getattr(request, "properties", None)
    tag = properties.get("delivery_tag", "") if isinstance(properties, Mapping) else ""
    named = (naming.MESSAGE, str(request.id), str(tag))
    return WantedIds(derived(*named), derived_trace(*named))
