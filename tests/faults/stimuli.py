"""What makes each queue's work pass its fault points: events, what people have done again, messages that are bad."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping

import redis

from tests.faults.proxy import Clean, Refuse
from tests.faults.trial import Trial, Work

WORKFLOWS = 4
REPLAYS = 1
END_SECONDS = 60.0
REFUSING = "pager"
"""The sink whose refusals make orchestrations give up; it does not honour keys, so that a second delivery is seen."""

Stimulus = Callable[[Trial, str], Work]
"""Makes a queue's work pass its points; the text begins the ids of the events that it makes."""


def by_http(trial: Trial, prefix: str) -> Work:
    """Events over HTTP, which pass the API and the queues from ``orchestration`` to ``dispatch``."""
    return Work(tuple(event.id for event in trial.submit(prefix, WORKFLOWS)))


def by_broker(trial: Trial, prefix: str) -> Work:
    """Events of host applications, which pass the queue ``ingestion``."""
    events = trial.generator.events(prefix, WORKFLOWS)
    trial.hosts.begin(events)
    return Work(tuple(event.id for event in events))


def by_rerun(trial: Trial, prefix: str) -> Work:
    """Events that are started anew when they have ended, as a person does it."""
    events = tuple(event.id for event in trial.submit(prefix, REPLAYS))
    assert trial.wait_for_ends(events, within=END_SECONDS).all_of_them, trial.what_is_stuck()
    for orchestration in _orchestrations(trial, events):
        _replay(trial, orchestration, "rerun")
    return Work(events, reruns=len(events))


def by_resume(trial: Trial, prefix: str) -> Work:
    """Orchestrations that gave up, because a target refused what they asked, and that are told to go on."""
    way = trial.service.sinks[REFUSING].proxy
    way.switch(Refuse())
    try:
        events = tuple(event.id for event in trial.submit(prefix, REPLAYS))
        assert trial.wait_for_ends(events, within=END_SECONDS).all_of_them, trial.what_is_stuck()
    finally:
        way.switch(Clean())
    gave_up = _orchestrations(trial, events, "dead_lettered")
    assert len(gave_up) == len(events), f"{REFUSING} refused nothing"
    for orchestration in gave_up:
        _replay(trial, orchestration, "resume")
    return Work(events, resumes=len(events))


def by_bad_message(trial: Trial, prefix: str) -> Work:
    """A message for a task that does not exist, which is reported to the queue ``dead_letter``."""
    body = json.dumps([[prefix], {}, {}]).encode()
    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"id": str(uuid.uuid4()), "task": "interlock.retired.task", "lang": "py", "root_id": None},
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "aggregation"},
            "priority": 0,
            "body_encoding": "base64",
        },
    }
    with redis.Redis.from_url(trial.service.redis_url, socket_timeout=5.0) as client:
        client.lpush("aggregation", json.dumps(message))
    return Work(reports=(hashlib.sha256(body).hexdigest(),))


STIMULI: Mapping[str, Mapping[str, Stimulus]] = {
    "ingestion": {"": by_broker},
    "orchestration": {"": by_http},
    "agent_runs": {"": by_http},
    "aggregation": {"": by_http},
    "dispatch": {"": by_http},
    "replay": {"rerun": by_rerun, "resume": by_resume},
    # Beat rings the reconciler every second; there is work for it to look after.
    "maintenance": {"": by_http},
    "dead_letter": {"": by_bad_message},
}
"""By queue and by what is done. The API passes the points of ``ingestion``, too: ``by_http``."""


def clean_run(trial: Trial, prefix: str) -> None:
    """Every stimulus once, each to its end, without a fault. Raises AssertionError when one does not come to one."""
    for queue, ways in STIMULI.items():
        for way, stimulus in ways.items():
            work = stimulus(trial, f"{prefix}.{queue}.{way}")
            assert trial.wait_for(work, within=END_SECONDS).all_of_them, trial.what_is_stuck()


def _orchestrations(trial: Trial, events: tuple[str, ...], *statuses: str) -> list[str]:
    query = (
        "SELECT orchestration_id FROM orchestrations WHERE event_id = ANY(%(ids)s) AND lane = 'live'"
        " AND (status = ANY(%(statuses)s) OR %(statuses)s = '{}'::text[])"
    )
    return [row[0] for row in trial.service.rows(query, {"ids": list(events), "statuses": list(statuses)})]


def _replay(trial: Trial, orchestration: str, mode: str) -> None:
    trial.service.command(
        *("replay", orchestration, "--mode", mode, "--no-wait", "--json"),
        *("--actor", "faults", "--reason", "the fault harness"),
    )
