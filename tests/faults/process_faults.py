"""Faults of processes: signals to workers, pool children, beat, the API and the supervisor."""

from __future__ import annotations

import random
import signal
import time

import psutil

from app.supervisor.process import wait_until_gone
from tests.faults.evidence import Fault
from tests.faults.service import ServiceUnderTest
from tests.faults.trial import queues_of

GONE_SECONDS = 30.0
"""How long a process may take to end after SIGTERM."""

NOT_WORKERS = frozenset({"supervisor", "postgresql", "redis", "api", "beat", "sink", "prepare"})


def workers(service: ServiceUnderTest) -> list[str]:
    """The names of the worker processes that run, in order."""
    return sorted(set(service.pids()) - NOT_WORKERS)


def end(service: ServiceUnderTest, name: str, with_signal: signal.Signals = signal.SIGKILL) -> Fault:
    """End a process; whoever watches it starts another."""
    kind = f"{'kill' if with_signal is signal.SIGKILL else 'term'} {_word(name)}"
    found = _find(service, name)
    if found is None:
        return _missed(kind, name, "it was not running")
    touches = _touches(found, name)
    at = time.time()
    found.send_signal(with_signal)
    gone = wait_until_gone(found, GONE_SECONDS)
    until = time.time()
    how = (
        f"process {found.pid} was gone {1000 * (until - at):.0f} ms after {with_signal.name}"
        if gone
        else "it lived on"
    )
    return Fault(kind, name, at, until, gone, how, touches)


def pause(service: ServiceUnderTest, name: str, seconds: float) -> Fault:
    """SIGSTOP, and SIGCONT after a while: a process that is there and does nothing."""
    kind = f"stop {_word(name)}"
    found = _find(service, name)
    if found is None:
        return _missed(kind, name, "it was not running")
    touches = _touches(found, name)
    at = time.time()
    try:
        found.suspend()
        time.sleep(seconds)
        seen = found.status()
        found.resume()
    except psutil.NoSuchProcess:
        return _missed(kind, name, "it ended meanwhile")
    until = time.time()
    how = f"process {found.pid} was {seen} for {until - at:.1f} s"
    return Fault(kind, name, at, until, seen == psutil.STATUS_STOPPED, how, touches, back_at=until)


def kill_child(service: ServiceUnderTest, name: str, draw: random.Random) -> Fault:
    """SIGKILL to one of the children of a worker with a prefork pool."""
    parent = _find(service, name)
    children = parent.children() if parent is not None else []
    if not children or parent is None:
        return _missed("kill child", name, "it has no pool children")
    child = draw.choice(sorted(children, key=lambda one: one.pid))
    touches = _touches(parent, name)
    at = time.time()
    child.kill()
    gone = wait_until_gone(child, GONE_SECONDS)
    how = (
        f"child {child.pid} of {parent.pid} was gone, its parent {'lived' if parent.is_running() else 'not'}"
    )
    return Fault("kill child", name, at, time.time(), gone, how, touches)


def kill_supervisor(service: ServiceUnderTest) -> Fault:
    """``kill -9`` of ``up``, and ``up`` again, which ends what the first one left and takes over."""
    before = service.record().processes
    at = time.time()
    pid = service.kill_up()
    service.start_up()
    until = time.time()
    restarted = [entry.name for entry in before if entry.find() is None]
    how = f"supervisor {pid} was killed, {len(restarted)} processes of it were replaced"
    touches = ("ingestion", "orchestration", "agent_runs", "aggregation", "dispatch", "maintenance", "api")
    servers = () if service.options.proxied else ("postgresql", "redis")
    return Fault(
        "kill supervisor", "up", at, until, bool(restarted), how, (*touches, *servers), back_at=until
    )


def _word(name: str) -> str:
    return name if name in {"api", "beat"} else "worker"


def _find(service: ServiceUnderTest, name: str) -> psutil.Process | None:
    pid = service.pids().get(name)
    try:
        return psutil.Process(pid) if pid is not None else None
    except psutil.NoSuchProcess:
        return None


def _touches(found: psutil.Process, name: str) -> tuple[str, ...]:
    if name in {"api", "beat"}:
        return (name,)
    try:
        return queues_of(" ".join(found.cmdline()))
    except psutil.NoSuchProcess:
        return ()


def _missed(kind: str, name: str, why: str) -> Fault:
    now = time.time()
    return Fault(kind, name, now, now, False, why)
