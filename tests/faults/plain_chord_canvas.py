"""The peer: the same load as a plain Celery chain and chord, written as Celery's own documentation advises.

Three agents, a majority, an effect at each of two targets. Late acknowledgement, rejection when a worker is lost,
duplicates of what succeeded left out, retries with backoff, a derived idempotency key, one message prefetched.
Source: docs.celeryq.dev/en/stable (userguide/tasks, userguide/canvas, getting-started/backends-and-brokers/redis).
"""

from __future__ import annotations

import http.client
import os
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from celery import Celery, chain, group
from celery.canvas import Signature

from tests.acceptance.two_sinks import FORGETFUL, HONOURING
from tests.branching_workflow import AGENTS
from tests.faults.plain_chord_load import STEP_SECONDS, note, note_redeliveries
from tests.faults.plain_chord_load import Environment as Env

VISIBILITY_SECONDS = float(os.environ.get(Env.VISIBILITY, "3600"))
TRANSPORT = {
    "visibility_timeout": VISIBILITY_SECONDS,
    # Celery's defaults look for overdue messages every 100 s; Interlock's looks as often as this.
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
}

celery = Celery("plain_chord", set_as_current=False)
celery.conf.update(
    broker_url=os.environ.get(Env.BROKER, "redis://"),
    result_backend=os.environ.get(Env.BROKER, "redis://"),
    broker_transport_options=TRANSPORT,
    result_backend_transport_options={"visibility_timeout": VISIBILITY_SECONDS},
    broker_connection_retry_on_startup=True,
    task_default_queue="plain_chord",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_deduplicate_successful_tasks=True,
    worker_prefetch_multiplier=1,
    task_serializer="json",
    accept_content=["json"],
)

note_redeliveries()


class NotTakenError(Exception):
    """The target did not take the effect; it may later."""


@celery.task(name="plain.agent")
def agent(workflow: str, name: str) -> dict[str, str]:
    """An agent's model answers after a while."""
    note(Path(os.environ[Env.MODEL_CALLS]))
    time.sleep(STEP_SECONDS)
    return {"workflow": workflow, "agent": name, "level": "high"}


@celery.task(name="plain.majority")
def majority(proposals: list[dict[str, str]]) -> dict[str, str]:
    """What most agents say."""
    level, _ = Counter(proposal["level"] for proposal in proposals).most_common(1)[0]
    return {"workflow": proposals[0]["workflow"], "level": level}


@celery.task(
    name="plain.deliver",
    autoretry_for=(OSError, http.client.HTTPException, NotTakenError),
    retry_backoff=True,
    max_retries=5,
)
def deliver(decision: dict[str, str], target: str) -> int:
    """One effect, with a key that is the same however often it is tried."""
    address = urlsplit(os.environ[Env.SINKS[target]])
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    headers = {"Idempotency-Key": key(decision["workflow"], target), "Content-Type": "application/json"}
    try:
        connection.request("POST", "/v1/effects/plain.record", '{"level": "high"}', headers)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status >= 300:
        raise NotTakenError(f"the target answered {status}")
    return status


def key(workflow: str, target: str) -> str:
    """The idempotency key of a workflow's effect at a target."""
    return f"{workflow}/{target}"


def canvas(workflow: str) -> Signature:
    """One workflow: a chord of agents, then both effects."""
    return chain(
        group(agent.s(workflow, name) for name in AGENTS),
        majority.s(),
        group(deliver.s(HONOURING), deliver.s(FORGETFUL)),
    )
