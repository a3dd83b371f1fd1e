"""Faults of one worker's sign of life: PostgreSQL gives the worker up, and the worker lives on and does not know it."""

from __future__ import annotations

import time

import psutil

from tests.faults.evidence import Fault
from tests.faults.proxy import BlackHole, Clean, NoMore
from tests.faults.service import ServiceUnderTest

KEEPALIVE_SECONDS = 11.0
"""When PostgreSQL ends a connection whose other end is gone: 5 s of idleness and three probes, 2 s apart."""
HOLE_SECONDS = 20.0
FULL_SECONDS = 8.0
TOUCHED = ("postgresql", "dispatch")

_LOCKS = """
SELECT held.pid FROM pg_locks held
JOIN workers ON held.objid::bigint = (workers.lock_key::bigint & 4294967295)
WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 2 AND held.classid::bigint = 1768846444
  AND split_part(workers.worker_id, ':', 2) = ANY(%(pids)s)
"""


def lose_one_worker(service: ServiceUnderTest) -> Fault:
    """A black hole between one worker and PostgreSQL, and longer than it takes PostgreSQL to give the worker up."""
    if service.one_way is None:
        return _missed("lose a worker")
    at = time.time()
    service.one_way.switch(BlackHole(forgotten_after=KEEPALIVE_SECONDS))
    time.sleep(HOLE_SECONDS)
    return _over(service, "lose a worker", at)


def fill_up_for_one_worker(service: ServiceUnderTest) -> Fault:
    """One worker's sign of life loses its connection and gets no other, while its pool's connections work on."""
    if service.one_way is None:
        return _missed("too many clients")
    at = time.time()
    service.one_way.switch(NoMore())
    ended = service.rows(
        f"SELECT pg_terminate_backend(pid) FROM ({_LOCKS}) AS of_it", {"pids": _pids(service)}
    )
    time.sleep(FULL_SECONDS if ended else 0.0)
    return _over(service, "too many clients", at)


def _over(service: ServiceUnderTest, kind: str, at: float) -> Fault:
    assert service.one_way is not None
    hits = service.one_way.hits()
    pids = _pids(service)
    locks = len(service.rows(_LOCKS, {"pids": pids}))
    service.one_way.switch(Clean())
    until = time.time()
    how = f"{hits} hits in {until - at:.1f} s; the processes {', '.join(pids)} lived and held {locks} locks"
    hit = hits > 0 and locks == 0 and bool(pids)
    return Fault(kind, "one worker", at, until, hit, how, TOUCHED)


def _pids(service: ServiceUnderTest) -> list[str]:
    """The processes of the workers beside ``up``, children of a pool included."""
    found = []
    for pid in service.beside.pids().values():
        process = psutil.Process(pid)
        found += [process, *process.children()]
    return [str(process.pid) for process in found]


def _missed(kind: str) -> Fault:
    now = time.time()
    return Fault(kind, "one worker", now, now, False, "it has no way of its own to PostgreSQL")
