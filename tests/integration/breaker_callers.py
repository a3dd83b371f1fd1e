"""One process of a fleet that asks a provider through circuit breakers, until its standard input ends.

``python -m tests.integration.breaker_callers REDIS_URL DATABASE_URL PORT CALLERS FAILURES OPEN_SECONDS [BUG]``

Each of its callers asks as soon as it is admitted, and a little later when it is not. What it counted is one JSON
object on standard output; warnings go to standard error. BUG plants one that the test must find.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections import Counter

from app.adapters.breaker_book import BreakerBook
from app.adapters.postgresql.breakers import PostgresqlBreakers
from app.adapters.postgresql.database import Database
from app.adapters.redis import breaker_states
from app.adapters.redis.breakers import SOCKET_SECONDS, THREADS, RedisBreakers
from app.adapters.redis.connection import connect
from app.data_plane.models import Breakers, Told
from app.kernel.release import RemoteProvider
from tests.breakers import remote

REFUSED_PAUSE_SECONDS = 0.01
ANSWERED_PAUSE_SECONDS = 0.02


def plant(bug: str) -> None:
    """``no_token``: everybody who comes to a half-open breaker probes. ``old_closes``: an old call's success closes."""
    if bug == "no_token":
        for name in ("_MOVE", "_LOOK"):
            script = getattr(breaker_states, name)
            script = script.replace("ARGV[4], 'NX', 'PX'", "ARGV[4], 'PX'")
            setattr(breaker_states, name, script.replace("redis.call('EXISTS', KEYS[2])", "0"))
    if bug == "old_closes":
        told = "if turn ~= ARGV[2] and (ARGV[3] ~= 'answered' or state == 'closed') then return false end"
        closes = "if turn ~= ARGV[2] then state = 'half-open' end"
        script = breaker_states._TELL.replace("if turn ~= ARGV[2] then return false end", f"{told}\n{closes}")
        assert script != breaker_states._TELL
        breaker_states._TELL = script


async def ask(port: int, path: str) -> Told:
    """One request to the provider, and what came of it; "neither" does not happen here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /{path} HTTP/1.1\r\nHost: provider\r\nConnection: close\r\n\r\n".encode())
        status = await reader.readline()
        await reader.read()
    finally:
        writer.close()
    return "answered" if b" 200 " in status else "failed"


async def call(breakers: Breakers, provider: RemoteProvider, port: int, counted: Counter[str]) -> None:
    """Ask for ever."""
    while True:
        began = time.monotonic()
        admission = await breakers.admit(provider)
        waited = time.monotonic() - began
        counted["longest_admission_ms"] = max(counted["longest_admission_ms"], round(waited * 1000))
        if not admission.admitted:
            counted[f"refused_{admission.reason}"] += 1
            await asyncio.sleep(REFUSED_PAUSE_SECONDS)
            continue
        kind = "probe" if admission.probe else "admitted"
        counted[kind] += 1
        told = await ask(port, kind)
        counted[told] += 1
        await breakers.tell(provider, admission, told)
        await asyncio.sleep(ANSWERED_PAUSE_SECONDS)


async def run(breakers: Breakers, provider: RemoteProvider, port: int, callers: int) -> Counter[str]:
    """Have so many callers ask until standard input ends; what they counted."""
    counted: Counter[str] = Counter()
    tasks = [asyncio.create_task(call(breakers, provider, port, counted)) for _ in range(callers)]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if not isinstance(error, asyncio.CancelledError):
            raise AssertionError(f"a caller ended: {error!r}")
    return counted


def main() -> None:
    """Wire the breakers as a worker does, and ask."""
    redis_url, database_url, port, callers, failures, open_seconds, *bug = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    plant(*bug or [""])
    client = connect(redis_url, most_connections=THREADS, socket_seconds=SOCKET_SECONDS)
    database = Database(database_url, "interlock_worker")
    breakers = RedisBreakers(client, BreakerBook(PostgresqlBreakers(database)))
    provider = remote(failures=int(failures), open_seconds=float(open_seconds))
    counted = asyncio.run(run(breakers, provider, int(port), int(callers)))
    breakers.close()
    database.close()
    print(json.dumps(counted), flush=True)


if __name__ == "__main__":
    main()
