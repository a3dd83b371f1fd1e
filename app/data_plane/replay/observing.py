"""What is seen of replays from outside: the first span of a rerun's own trace, and a line for each that ended.

Reasons are in no span and in no line: whoever gives one may quote what must not leave the store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from app.data_plane.ports import Queue
from app.data_plane.replay.register import Beginning, ReplayEnd, ReplayRow
from app.telemetry import messages, naming, tracing
from app.telemetry.logs import get_logger
from app.telemetry.span_ids import Linked, LinkKind
from app.telemetry.tracing import Keys, OpenSpan

_log = get_logger(__name__)


def begin(tenant_id: str, beginning: Beginning, replay_id: str, original: str | None) -> OpenSpan:
    """The rerun's first span, linked to the original's trace; to be ended when it is recorded."""
    started = beginning.started
    return tracing.begin_trace(
        naming.SPAN_RERUN,
        Keys(tenant_id, started.event_id, beginning.orchestration_id),
        links=() if original is None else (Linked(original, LinkKind.REPLAY),),
        attributes={
            naming.WORKFLOW: started.workflow,
            naming.RELEASE: started.release,
            naming.CHANNEL: started.channel,
            naming.REPLAY_ID: replay_id,
        },
    )


@contextmanager
def batch(spans: Sequence[OpenSpan]) -> Iterator[None]:
    """Around the beginning of these reruns, on one message."""
    with messages.batch(Queue.REPLAY, len(spans), [span.traceparent for span in spans]):
        yield


def begun(spans: Iterable[OpenSpan]) -> None:
    """The reruns are recorded: their first spans are over."""
    for span in spans:
        for carrier in messages.carried_by():
            span.link(carrier)
        span.end()


def ended(pairs: Iterable[tuple[ReplayRow, ReplayEnd]]) -> None:
    """A line for each replay that is recorded as over."""
    for row, end in pairs:
        keys = Keys(row.tenant_id, orchestration_id=row.orchestration_id).named()
        code = end.outcome.partition(":")[0]
        _log.log(
            logging.INFO if end.state == "done" else logging.WARNING,
            "replay ended",
            **keys,
            replay_id=row.replay_id,
            mode=row.mode,
            state=end.state,
            outcome="" if end.state == "done" else code,
            rerun=end.new_orchestration_id,
        )
