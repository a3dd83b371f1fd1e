"""Faults of the servers: Redis forgets, restarts or pauses; PostgreSQL restarts or drops its connections."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psutil
import psycopg
import redis

from tests.faults.evidence import Fault
from tests.faults.service import ServiceUnderTest

BACK_SECONDS = 60.0
"""How long a server may take to be back."""


def flush_redis(service: ServiceUnderTest) -> Fault:
    """FLUSHALL: queued messages, doorbells, locks, chords and results are gone."""
    with _redis(service) as client:
        keys = int(client.dbsize())
        before = _flushes(client)
        at = time.time()
        client.flushall()
        counted = _flushes(client) - before
    how = f"the server counted {counted} FLUSHALL, {keys} keys were gone"
    return Fault("flush redis", "redis", at, time.time(), counted == 1, how, ("redis",))


def restart_redis(service: ServiceUnderTest) -> Fault:
    """SIGKILL: it comes back empty, as it keeps nothing on disk."""
    with _redis(service) as client:
        before = _run_id(client)
    at = time.time()
    os.kill(service.pids()["redis"], signal.SIGKILL)
    if service.options.proxied and service.servers.redis is not None:
        service.servers.redis.kill()
        service.servers.redis.start()

    def is_another() -> bool:
        with _redis(service) as client:
            return _run_id(client) != before

    back = _wait(is_another)
    until = time.time()
    how = f"another run_id answered {until - at:.1f} s later" if back else "it did not come back"
    return Fault("restart redis", "redis", at, until, back, how, ("redis",), back_at=until)


def pause_redis(service: ServiceUnderTest, seconds: float, *, by_signal: bool) -> Fault:
    """It is there and answers nothing: SIGSTOP, or CLIENT PAUSE."""
    at = time.time()
    if by_signal:
        server = psutil.Process(service.pids()["redis"])
        server.suspend()
        time.sleep(seconds)
        hit = server.status() == psutil.STATUS_STOPPED
        server.resume()
        how = f"the server was {'stopped' if hit else 'not stopped'}"
    else:
        with _redis(service) as client:
            client.client_pause(int(seconds * 1000), all=True)
        with _redis(service, timeout=seconds + 10) as client:
            client.ping()
        hit = time.time() - at >= seconds * 0.9
        how = "a ping was answered only afterwards" if hit else "a ping was answered meanwhile"
    until = time.time()
    return Fault(
        "pause redis", "redis", at, until, hit, f"{how} ({until - at:.1f} s)", ("redis",), back_at=until
    )


def restart_postgresql(service: ServiceUnderTest) -> Fault:
    """SIGQUIT, the immediate shutdown: every connection breaks, and the start replays the log."""
    before = _start_time(service)
    at = time.time()
    pid = service.pids()["postgresql"]
    os.kill(pid, signal.SIGQUIT)
    if service.options.proxied and service.servers.postgresql is not None:
        _wait(lambda: service.servers.postgresql is None or service.servers.postgresql.pid is None)
        service.servers.postgresql.start()
    back = _wait(lambda: _start_time(service) != before)
    until = time.time()
    how = f"another start time {until - at:.1f} s later" if back else "it did not come back"
    return Fault("restart postgresql", "postgresql", at, until, back, how, ("postgresql",), back_at=until)


def drop_connections(service: ServiceUnderTest) -> Fault:
    """pg_terminate_backend on every connection of the service."""
    at = time.time()
    found = service.rows(
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name LIKE 'interlock%' AND pid <> pg_backend_pid()"
    )
    count = int(found[0][0])
    how = f"{count} connections were ended"
    return Fault("drop connections", "postgresql", at, time.time(), count > 0, how, ("postgresql",))


def _redis(service: ServiceUnderTest, timeout: float = 5.0) -> redis.Redis:
    return redis.Redis.from_url(service.redis_url, socket_timeout=timeout, socket_connect_timeout=timeout)


def _flushes(client: redis.Redis) -> int:
    found = client.info("commandstats")
    return int(found.get("cmdstat_flushall", {}).get("calls", 0))


def _run_id(client: redis.Redis) -> str:
    return str(client.info("server")["run_id"])


def _start_time(service: ServiceUnderTest) -> object:
    return service.rows("SELECT pg_postmaster_start_time()")[0][0]


def _wait(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + BACK_SECONDS
    while time.monotonic() < deadline:
        try:
            if holds():
                return True
        except (psycopg.Error, redis.RedisError):
            pass
        time.sleep(0.05)
    return False
