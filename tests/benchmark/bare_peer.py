"""Runs the bare canvas on each pool that a team might choose, and keeps the best."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from app.supervisor.children import Children, Program
from app.supervisor.embedded import EmbeddedServers
from config.settings import CHECKOUT, broker_url

POOLS: dict[str, tuple[tuple[str, ...], ...]] = {
    "one prefork of two": (("--pool", "prefork", "--concurrency", "2"),),
    "two solo": (("--pool", "solo"), ("--pool", "solo")),
    "two of four threads": (("--pool", "threads", "--concurrency", "4"),) * 2,
}


@dataclass(frozen=True)
class Peer:
    """The best pool's throughput, and what the others reached."""

    name: str
    per_second: float
    tried: str


def best(count: int) -> Peer:
    """Measure every pool."""
    seen = {name: _measure_apart(name, count) for name in POOLS}
    name = max(seen, key=lambda pool: seen[pool])
    tried = ", ".join(f"{pool} {speed:.0f}/s" for pool, speed in seen.items())
    return Peer(name, seen[name], tried)


def _measure_apart(pool: str, count: int) -> float:
    """In a process of its own: a Celery application keeps connections to the first broker it met."""
    command = [sys.executable, "-m", "tests.benchmark.bare_peer", pool, str(count)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _measure(workers: tuple[tuple[str, ...], ...], count: int) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="interlock-bare-") as folder,
        EmbeddedServers(Path(folder), postgresql=False) as servers,
    ):
        port = _free_port()
        os.environ["INTERLOCK_DEMO_SINK_URL"] = f"http://127.0.0.1:{port}"
        os.environ["BARE_CANVAS_BROKER_URL"] = broker_url(servers.redis_url)
        children = Children(servers.folder, CHECKOUT)
        try:
            children.start(Program("sink", ("python", "-m", "app", "sink", "--port", str(port))))
            for number, options in enumerate(workers):
                children.start(Program(f"bare-{number}", _command(number, options)))
            return _send(children, port, count, len(workers))
        finally:
            children.stop()


def _command(number: int, options: tuple[str, ...]) -> tuple[str, ...]:
    return (
        *(
            "celery",
            "-A",
            "tests.benchmark.bare_canvas",
            "worker",
            "-Q",
            "bare_canvas",
            "-n",
            f"bare{number}@%h",
        ),
        *("--without-gossip", "--without-mingle", "--loglevel", "WARNING", *options),
    )


def _send(children: Children, port: int, count: int, workers: int) -> float:
    from tests.benchmark import bare_canvas

    bare_canvas.celery.conf.update(
        broker_url=os.environ["BARE_CANVAS_BROKER_URL"], result_backend=os.environ["BARE_CANVAS_BROKER_URL"]
    )
    ends = time.monotonic() + 60
    while len(bare_canvas.celery.control.ping(timeout=0.5)) < workers:
        if time.monotonic() > ends:
            raise TimeoutError("the bare workers did not start")
    for number in range(10):
        bare_canvas.workflow(f"warm {number}").apply_async()
    _wait(children, port, 10)
    started = time.perf_counter()
    for number in range(count):
        bare_canvas.workflow(str(number)).apply_async()
    _wait(children, port, 10 + count)
    return count / (time.perf_counter() - started)


def _wait(children: Children, port: int, wanted: int) -> None:
    ends = time.monotonic() + 120
    while _applied(port) < wanted:
        children.tick()
        if time.monotonic() > ends:
            raise TimeoutError(f"the bare canvas applied {_applied(port)} of {wanted} effects")
        time.sleep(0.02)


def _applied(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v1/counts")
        return int(json.loads(connection.getresponse().read())["applied"])
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    print(_measure(POOLS[sys.argv[1]], int(sys.argv[2])), flush=True)
    # Its pending results would be given back to a broker that is gone.
    os._exit(0)
