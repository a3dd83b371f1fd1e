"""Faults on the way between two parts: a proxy's, for a while; and messages that come twice or in another order."""

from __future__ import annotations

import json
import random
import time
from contextlib import suppress

import psutil
import redis

from tests.faults.evidence import Fault
from tests.faults.process_faults import workers
from tests.faults.proxy import BlackHole, Clean, CutAfter, Latency, Refuse, Reset
from tests.faults.proxy import Fault as WayFault
from tests.faults.service import ServiceUnderTest

QUEUES = ("ingestion", "orchestration", "agent_runs", "aggregation", "dispatch", "replay", "maintenance")
PILE_SECONDS = 3.0
"""How long workers may be held still for messages to pile up."""

_NAMES: dict[type[WayFault], str] = {
    Latency: "latency",
    BlackHole: "black hole",
    Reset: "reset",
    CutAfter: "cut",
    Clean: "clean",
    Refuse: "refusals of",
}


def disturb(service: ServiceUnderTest, part: str, fault: WayFault, seconds: float) -> Fault:
    """Let the way to ``part`` (a sink's name, ``postgresql`` or ``redis``) have this fault for a while.

    A part without a proxy of its own is not hit.
    """
    kind = f"{_NAMES[type(fault)]} {part}"
    proxy = service.proxies.get(part)
    if part in service.sinks:
        proxy = service.sinks[part].proxy
    at = time.time()
    if proxy is None:
        return Fault(kind, part, at, at, False, "there is no proxy before it")
    proxy.switch(fault)
    time.sleep(seconds)
    hits = proxy.hits()
    proxy.switch(Clean())
    until = time.time()
    how = f"the proxy counted {hits} hits of {fault} in {until - at:.1f} s"
    return Fault(kind, part, at, until, hits > 0, how, (part,), back_at=until)


def shuffle_messages(service: ServiceUnderTest, draw: random.Random) -> Fault:
    """Copies of every message that waits or is in work are queued again, and the queues' order is changed.

    The workers are held still meanwhile, so that there is something to copy.
    """
    at = time.time()
    held = _hold(service)
    try:
        with redis.Redis.from_url(service.redis_url, socket_timeout=5.0) as client:
            deadline = time.monotonic() + PILE_SECONDS
            while _waiting(client) < 2 and time.monotonic() < deadline:
                time.sleep(0.02)
            copies, moved = _copy_and_shuffle(client, draw)
    finally:
        for process in held:
            with suppress(psutil.NoSuchProcess):
                process.resume()
    how = f"{copies} messages were queued again, {moved} changed places"
    return Fault("shuffle messages", "redis", at, time.time(), copies > 0, how, ("redis", *QUEUES))


def put_time_forward(service: ServiceUnderTest) -> None:
    """What is unacknowledged now counts as unacknowledged for longer than the broker's visibility timeout."""
    with redis.Redis.from_url(service.redis_url, socket_timeout=5.0) as client:
        for tag, _since in client.zrange("unacked_index", 0, -1, withscores=True):
            client.zadd("unacked_index", {tag: 0.0}, xx=True)


def _hold(service: ServiceUnderTest) -> list[psutil.Process]:
    pids = service.pids()
    held = []
    for name in workers(service):
        with suppress(psutil.NoSuchProcess, KeyError):
            process = psutil.Process(pids[name])
            process.suspend()
            held.append(process)
    return held


def _waiting(client: redis.Redis) -> int:
    return sum(int(client.llen(queue)) for queue in QUEUES) + int(client.hlen("unacked"))


def _copy_and_shuffle(client: redis.Redis, draw: random.Random) -> tuple[int, int]:
    """Kombu keeps what waits in a list for each queue, and what is in work in the hash ``unacked``."""
    again: dict[str, list[str | bytes]] = {queue: [] for queue in QUEUES}
    for value in client.hvals("unacked"):
        message, _exchange, routing_key = json.loads(value)
        again.setdefault(routing_key, []).append(json.dumps(message))
    copies = moved = 0
    for queue, in_work in again.items():
        pile = _take(client, queue)
        shuffled = [*pile, *pile, *in_work]
        draw.shuffle(shuffled)
        copies += len(pile) + len(in_work)
        moved += sum(was != now for was, now in zip(pile, shuffled, strict=False))
        if shuffled:
            client.rpush(queue, *shuffled)
    return copies, moved


def _take(client: redis.Redis, queue: str) -> list[str | bytes]:
    """Take away what waits, in one step, so that nothing that comes meanwhile is lost."""
    aside = f"faults:{queue}"
    try:
        client.rename(queue, aside)
    except redis.ResponseError:  # there is no such list: nothing waits
        return []
    pile = list(client.lrange(aside, 0, -1))
    client.delete(aside)
    return pile
