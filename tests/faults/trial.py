"""A trial: a service under test, events sent to it, a wait for their ends, and the checker's verdict."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2
import psycopg

from tests import metrics_truth
from tests.faults import checker
from tests.faults.arming import Strike
from tests.faults.evidence import Fault
from tests.faults.generator import Event, Generator
from tests.faults.hosts import Hosts
from tests.faults.records import SinkFile
from tests.faults.service import TENANTS, Options, ServiceUnderTest
from tests.faults.verdict import Verdict, Violation

WARM_UP_SECONDS = 60.0
METRICS_SECONDS = 40.0
"""How long the exporter may take to be there again, and to have counted everything."""

_OPEN = """
SELECT count(*) FILTER (WHERE o.closed_at IS NULL), max(extract(epoch FROM o.closed_at)::float8), count(*)
FROM orchestrations o WHERE o.event_id = ANY(%(ids)s)
"""
_RESUMED = """
SELECT count(*) FROM replays JOIN orchestrations o USING (orchestration_id)
WHERE o.event_id = ANY(%(ids)s) AND replays.mode = 'resume' AND replays.state = 'done'
"""
_REPORTED = """
SELECT count(DISTINCT message_digest) FROM dead_letters WHERE message_digest = ANY(%(digests)s)
"""
_NOTHING_OPEN = """
SELECT NOT EXISTS (SELECT 1 FROM orchestrations WHERE closed_at IS NULL)
   AND NOT EXISTS (SELECT 1 FROM replays WHERE finished_at IS NULL)
"""
_STUCK = """
SELECT w.queue, w.stage, w.subject, w.orchestration_id, w.attempts, w.leased_by,
    round(extract(epoch FROM w.due_at - clock_timestamp())::numeric, 1)::text
FROM work_index w WHERE w.finished_at IS NULL ORDER BY w.due_at LIMIT 12
"""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to come to its end: events, what people had done again of them, and messages that nobody understands."""

    events: tuple[str, ...] = ()
    reruns: int = 0
    """How often one of the events was started anew."""
    resumes: int = 0
    """How often one of their orchestrations, which had given up, was told to go on."""
    reports: tuple[str, ...] = ()
    """The digests of messages that are to become dead letters."""

    def __add__(self, other: Work) -> Work:
        return Work(
            self.events + other.events,
            self.reruns + other.reruns,
            self.resumes + other.resumes,
            self.reports + other.reports,
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """Whether so many events came to their ends, and when the last of them did (seconds since the epoch)."""

    all_of_them: bool
    last_at: float | None


class Trial:
    """One service and one generator, for as long as the ``with`` block lasts."""

    def __init__(self, options: Options | None = None, *, seed: int = 0, keep: Path | None = None) -> None:
        self.service = ServiceUnderTest(options, keep=keep)
        self.generator = Generator(
            self.service.api_url,
            self.service.api_keys(),
            self.service.outside / "generator.jsonl",
            seed=seed,
        )
        self.hosts = Hosts(self.service)

    def __enter__(self) -> Self:
        self.service.__enter__()
        try:
            self._warm_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.generator.close()
        self.hosts.close()
        self.service.__exit__(kind, error, trace)

    def open_now(self) -> frozenset[str]:
        """The ids of the events that are not at their end."""
        query = "SELECT event_id FROM orchestrations WHERE closed_at IS NULL"
        return frozenset(row[0] for row in self.service.rows(query))

    def wait_for_ends(self, events: Sequence[str], *, within: float) -> Ended:
        """Wait until every one of these events is at its end. A database that is away is waited for, too."""
        return self.wait_for(Work(tuple(events)), within=within)

    def wait_for(self, work: Work, *, within: float) -> Ended:
        """Wait until all of it is at its end. A database that is away is waited for, too."""
        deadline = time.monotonic() + within
        found = Ended(False, None)
        while time.monotonic() < deadline:
            try:
                found = self._look(work)
            except psycopg.Error:
                time.sleep(0.1)
                continue
            if found.all_of_them:
                return found
            time.sleep(0.05)
        return found

    def _look(self, work: Work) -> Ended:
        # First the resumes: with the replay's end its orchestration is open again, in one commit.
        resumed = self.service.rows(_RESUMED, {"ids": list(work.events)})[0][0] if work.resumes else 0
        still_open, last_at, count = self.service.rows(_OPEN, {"ids": list(work.events)})[0]
        reported = self.service.rows(_REPORTED, {"digests": list(work.reports)})[0][0] if work.reports else 0
        # A dead letter says when its message gave up, and not when it was recorded: that is now, at the latest.
        times = (last_at, time.time() if work.reports else None)
        ended = (
            still_open == 0
            and count >= len(work.events) + work.reruns
            and resumed >= work.resumes
            and reported == len(work.reports)
        )
        return Ended(ended, max((at for at in times if at is not None), default=None))

    def wait_until_nothing_is_open(self, *, within: float) -> bool:
        """Wait until every orchestration and every replay is at its end."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            with suppress(psycopg.Error):
                if self.service.rows(_NOTHING_OPEN)[0][0]:
                    return True
            time.sleep(0.1)
        return False

    def ends_of(self, events: Iterable[str]) -> list[float]:
        """When these events came to their ends, as far as they have (seconds since the epoch)."""
        query = (
            "SELECT extract(epoch FROM closed_at)::float8 FROM orchestrations"
            " WHERE event_id = ANY(%(ids)s) AND closed_at IS NOT NULL"
        )
        return [row[0] for row in self.service.rows(query, {"ids": list(events)})]

    def await_strike(self, seen: int, *, within: float) -> Strike | None:
        """The first evidence of a crash after the first ``seen`` ones."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            strikes = self.service.arming.strikes()
            if len(strikes) > seen:
                return strikes[seen]
            time.sleep(0.02)
        return None

    def fault_of(self, strike: Strike) -> Fault:
        """The evidence of a crash in the form of the other faults."""
        role = {"child": "child", "api": "api"}.get(strike.role, "worker")
        how = f"process {strike.pid} ({node_of(strike.program)}) wrote so before it ended itself"
        return Fault(
            f"{strike.act} {role}",
            f"{strike.queue}.{strike.point}",
            strike.at,
            strike.at,
            True,
            how,
            touches=queues_of(strike.program),
        )

    def note_strike(self, strike: Strike) -> Fault:
        """Keep it beside that of the other faults."""
        return self.service.evidence.write(self.fault_of(strike))

    def check(self, *, verify: bool = False, metrics: bool = False) -> Verdict:
        """The checker's verdict on everything so far.

        Args:
            verify: also what ``runs verify --all`` says of it.
            metrics: also whether the exporter tells what the record says; at rest, and before a bug is planted.
        """
        outside = self.service.outside
        sinks = [
            SinkFile(name, sink.history, sink.kind.honours_keys) for name, sink in self.service.sinks.items()
        ]
        verdict = checker.check(
            self.service.database_url,
            sorted(outside.glob("generator*.jsonl")),
            sinks,
            [self.service.evidence.path],
        )
        if verify:
            verdict = verdict.with_verified(*self._verified())
        return verdict.with_metrics(*self._told_by_metrics()) if metrics else verdict

    def _told_by_metrics(self) -> tuple[int, list[Violation]]:
        """How many values were compared, and where the exporter's page goes on saying something else."""
        deadline = time.monotonic() + METRICS_SECONDS
        while True:
            page = self._page()
            wrong = metrics_truth.differences(page, self.service.database_url)
            if not wrong or time.monotonic() > deadline:
                compared = sum(map(len, page.values()))
                return compared, [Violation("metrics_differ", *one.split(": ", 1)) for one in wrong]
            time.sleep(0.5)

    def _page(self) -> metrics_truth.Page:
        """What the exporter tells now; nothing while it is being started again."""
        url = f"http://127.0.0.1:{self.service.metrics_port}/metrics"
        try:
            return metrics_truth.parsed(httpx2.get(url, trust_env=False, timeout=30.0).text)
        except httpx2.HTTPError:
            return {}

    def _verified(self) -> tuple[int, list[Violation]]:
        """How many records were verified, and those that differ: an operator's own command, offline."""
        told = self.service.ask("runs", "verify", "--all", "--json")
        differing = [
            Violation("does_not_verify", one["orchestration_id"], str(one["difference"]))
            for one in told["differences"]
        ]
        unread = [Violation("does_not_verify", key, why) for key, why in told["unverifiable"].items()]
        return told["verified"] + len(unread), differing + unread

    def what_is_stuck(self) -> str:
        """The oldest open steps, for a person."""
        return "\n".join(" ".join(str(value) for value in row) for row in self.service.rows(_STUCK))

    def _warm_up(self) -> None:
        """One event of each tenant to its end: every worker has loaded what it needs, and the service works at all."""
        events = self.generator.events("warm-up", len(TENANTS))
        self.generator.begin(events)
        if not self.wait_for_ends([event.id for event in events], within=WARM_UP_SECONDS).all_of_them:
            logs = sorted((self.service.home / "logs").glob("*.log"))
            words = "\n".join(f"--- {log.stem}\n{self.service.last_words(log.stem)}" for log in logs)
            raise AssertionError(f"the service does not work: {self.what_is_stuck()}\n{words}")

    def submit(self, prefix: str, count: int) -> list[Event]:
        """Send so many new events without waiting for their answers."""
        events = self.generator.events(prefix, count)
        self.generator.begin(events)
        return events


def queues_of(program: str) -> tuple[str, ...]:
    """The queues that a process serves, from its command line; the API is ``api``."""
    words = program.split()
    if "-Q" in words[:-1]:
        return tuple(words[words.index("-Q") + 1].split(","))
    return ("api",) if "uvicorn" in program else ()


def node_of(program: str) -> str:
    """What a process is called, from its command line."""
    words = program.split()
    return words[words.index("-n") + 1].partition("@")[0] if "-n" in words[:-1] else "api"
