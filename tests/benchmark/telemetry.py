"""What telemetry costs: the reference workflow's throughput with all of it, and with none, in turns on one machine.

All of it is what an installation has by default: spans to PostgreSQL, metrics of every process and the exporter,
scraped every five seconds, and a line for each step that matters.
"""

from __future__ import annotations

import json
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2

from app import bootstrap
from app.supervisor.children import Program
from config import topology
from tests.benchmark import reference_workflow
from tests.benchmark.running import Running, service

ON = {"INTERLOCK_TELEMETRY": "true", "INTERLOCK_TRACE_SAMPLE_RATIO": "1", "INTERLOCK_LOG_LEVEL": "INFO"}
OFF = {"INTERLOCK_TELEMETRY": "false", "INTERLOCK_TRACE_SAMPLE_RATIO": "0", "INTERLOCK_LOG_LEVEL": "WARNING"}
ROUNDS = (OFF, ON, ON, OFF, OFF, ON)
SCRAPE_SECONDS = 5.0


@dataclass(frozen=True)
class Cost:
    """Workflows a second in each round, and how many spans the database held at the end of one with telemetry."""

    off: tuple[float, ...]
    on: tuple[float, ...]
    spans: int
    workflows: int

    @property
    def share(self) -> float:
        """What of the throughput telemetry takes, 0 to 1: by the medians."""
        return 1 - statistics.median(self.on) / statistics.median(self.off)


def measure(count: int) -> Cost:
    """A service for each round, ``count`` workflows in each."""
    speeds: dict[bool, list[float]] = {True: [], False: []}
    spans = 0
    for environment in ROUNDS:
        with service(environment=environment) as running, _observed(running, environment is ON):
            reference_workflow.saturate(running, 200, "warm", services=bootstrap.api_process)
            seen = reference_workflow.saturate(running, count, "load", services=bootstrap.api_process)
            speeds[environment is ON].append(seen.per_second)
            if environment is ON:
                spans = running.number("SELECT count(*)::int FROM spans")
    return Cost(tuple(speeds[False]), tuple(speeds[True]), spans, count)


@contextmanager
def _observed(running: Running, is_on: bool) -> Iterator[None]:
    """The exporter beside the workers, and somebody who scrapes them all."""
    if not is_on:
        yield
        return
    running.children.start(Program("metrics", topology.metrics()))
    ended = threading.Event()
    scraping = threading.Thread(target=_scrape, args=(running, ended), daemon=True)
    scraping.start()
    try:
        yield
    finally:
        ended.set()
        scraping.join()


def _scrape(running: Running, ended: threading.Event) -> None:
    while not ended.wait(SCRAPE_SECONDS):
        for file in (running.home / "metrics" / "targets").glob("*.json"):
            for entry in json.loads(file.read_text()):
                for target in entry["targets"]:
                    try:
                        httpx2.get(f"http://{target}/metrics", trust_env=False, timeout=SCRAPE_SECONDS)
                    except httpx2.HTTPError:
                        continue
