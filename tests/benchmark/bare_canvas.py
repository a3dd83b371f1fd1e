"""The peer: the same shape as a bare Celery chain and chord, with nothing recorded.

Normalise, three agents, majority, one effect; Celery's own settings for safe delivery, results in Redis. It is what a
team would write without Interlock, and what Interlock's cost is measured beside.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections import Counter
from urllib.parse import urlsplit

from celery import Celery, chain, group
from celery.canvas import Signature

celery = Celery("bare_canvas", set_as_current=False)
celery.conf.update(
    broker_url=os.environ.get("BARE_CANVAS_BROKER_URL", "redis://"),
    result_backend=os.environ.get("BARE_CANVAS_BROKER_URL", "redis://"),
    task_default_queue="bare_canvas",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_serializer="json",
    accept_content=["json"],
    result_expires=600,
    worker_send_task_events=True,
)
_local = threading.local()


@celery.task(name="bare.normalise")
def normalise(event: dict[str, str]) -> dict[str, str]:
    """The event as the agents read it."""
    return {"name": event["name"], "conclusion": event["conclusion"]}


@celery.task(name="bare.agent")
def agent(event: dict[str, str], name: str) -> dict[str, str]:
    """An agent's scripted answer."""
    return {
        "agent": name,
        "subject": event["name"],
        "verdict": "pass" if event["conclusion"] == "success" else "fail",
    }


@celery.task(name="bare.majority")
def majority(proposals: list[dict[str, str]]) -> dict[str, str]:
    """What most agents say."""
    verdict, _ = Counter(proposal["verdict"] for proposal in proposals).most_common(1)[0]
    return {"subject": proposals[0]["subject"], "verdict": verdict}


@celery.task(name="bare.effect", ignore_result=True)
def effect(decision: dict[str, str]) -> None:
    """One call to the sink, over a kept connection."""
    connection = getattr(_local, "connection", None)
    if connection is None:
        address = urlsplit(os.environ["INTERLOCK_DEMO_SINK_URL"])
        connection = _local.connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=10
        )
    body = json.dumps(decision, sort_keys=True)
    headers = {"Idempotency-Key": f"bare-{decision['subject']}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/effects/reference.record", body, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"the sink answered {answer.status}")


def workflow(number: str) -> Signature:
    """One workflow's canvas."""
    return chain(
        normalise.s({"name": f"build {number}", "conclusion": "success"}),
        group(agent.s(name) for name in ("first", "second", "third")),
        majority.s(),
        effect.s(),
    )
