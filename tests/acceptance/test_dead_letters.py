"""What gives up outside a transaction becomes a dead letter: reported before it is let go, once, without its content.

Real Redis, PostgreSQL and workers: what Celery and kombu do with a bad message is what matters here.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from app.data_plane.dead_letters.letters import NO_TENANT
from app.data_plane.ingestion.accept import Submission
from app.data_plane.ports import Queue
from config.topology import WorkerGroup
from interlock.envelope import Envelope
from tests.acceptance import bad_messages
from tests.acceptance.bad_messages import SECRET, SIGNING_KEY, ingestion, wire
from tests.branching_workflow import branching_release
from tests.eventually import assert_eventually
from tests.system import EVERYTHING, RunningSystem

ALL_BUT_DEAD_LETTER = WorkerGroup(
    "worker", tuple(queue for queue in Queue if queue is not Queue.DEAD_LETTER), "threads", 4
)
DEAD_LETTER = WorkerGroup("dead_letter", (Queue.DEAD_LETTER,), "threads", 2)

_NUMBERS = itertools.count(1)

Found = dict[tuple[str, str, str], int]
"""How often, by cause, code and tenant."""


@contextmanager
def a_system(server: str, name: str, groups: Sequence[WorkerGroup]) -> Iterator[RunningSystem]:
    """A system with a database of its own and the demo's tenant, who signs with a key of the tests; no workers yet."""
    home = Path(tempfile.mkdtemp(prefix="interlock-test-"))
    (home / "secrets").mkdir()
    (home / "secrets" / "demo-signing-key").write_bytes(SIGNING_KEY)
    with psycopg.connect(server.replace("/interlock?", "/postgres?"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE interlock")
        try:
            url = server.replace("/interlock?", f"/{name}?")
            with RunningSystem(
                url, home, groups=groups, environment={"INTERLOCK_LOG_LEVEL": "INFO"}
            ) as running:
                running.publish(branching_release())
                yield running
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def running(database_url: str) -> Iterator[RunningSystem]:
    """One system with its workers for all tests of this file that leave it as it was."""
    with a_system(database_url, "dead_letters", EVERYTHING) as system:
        system.start_workers()
        yield system


@pytest.fixture
def system(running: RunningSystem) -> RunningSystem:
    """That system, without dead letters."""
    return cleared(running)


def cleared(system: RunningSystem) -> RunningSystem:
    with psycopg.connect(system.database_url) as connection:
        connection.execute("TRUNCATE dead_letters")
    return system


def send(system: RunningSystem, *entries: bytes, queue: str = "ingestion") -> None:
    """Put entries into a queue's list, as whoever reaches the broker can."""
    system.redis.lpush(queue, *entries)


def found(system: RunningSystem) -> Found:
    """The dead letters."""
    rows = system.rows("SELECT cause, code, tenant_id, times FROM dead_letters")
    return {(cause, code, tenant): times for cause, code, tenant, times in rows}


def wait_for(system: RunningSystem, count: int) -> None:
    """Until so many messages have become dead letters, counting repetitions."""
    total = "SELECT coalesce(sum(times), 0) FROM dead_letters"
    try:
        assert_eventually(lambda: system.rows(total)[0][0] >= count, within=40)
    except AssertionError:
        logs = "\n".join(log.read_text()[-2000:] for log in (system.home / "logs").glob("*.log"))
        raise AssertionError(f"{found(system)}\n{logs}") from None


def assert_nothing_comes_back(system: RunningSystem) -> None:
    """No message is queued, and none is held for redelivery."""
    waits = (*(queue.value for queue in Queue), "unacked_index")
    assert_eventually(lambda: not any(system.redis.exists(name) for name in waits), what="all is let go")


def assert_works(system: RunningSystem) -> None:
    """The same workers carry a good event to its end."""
    system.accept([Submission(Envelope(
        id=f"good-{next(_NUMBERS)}", source="/tests", type="dev.interlock.issue", tenantid="demo",
        dataschema="urn:interlock:schema:issue:2", data={"title": "low"},
    ))])  # fmt: skip
    system.wait_until_all_ended()


def assert_secret_is_nowhere(system: RunningSystem) -> None:
    """Neither in a row of the table, nor in a log, nor left on the broker."""
    rows = "\n".join(str(row) for row in system.rows("SELECT d::text FROM dead_letters d"))
    logs = "\n".join(log.read_text() for log in (system.home / "logs").glob("*.log"))
    left = b"\n".join(system.redis.dump(key) or b"" for key in system.redis.scan_iter("*"))
    assert "dead_letter" in rows + logs, "the scan reads something"
    for kind, text in {"rows": rows, "logs": logs, "broker": left.decode("latin-1")}.items():
        assert SECRET not in text, kind


class TestWhatIsNoMessage:
    """An entry that kombu cannot read would end the worker, and be gone; a body that cannot be decoded, in silence."""

    def test_each_becomes_one_undecodable_message_and_the_worker_goes_on(self, system: RunningSystem) -> None:
        """Their digests tell them apart; whatever they hold, they neither end the worker nor come back."""
        entries = {**bad_messages.NOT_MESSAGES, **bad_messages.UNDECODABLE}
        send(system, *entries.values())
        wait_for(system, len(entries))

        rows = system.rows("SELECT cause, code, tenant_id, queue, times, message_digest FROM dead_letters")
        assert {row[:5] for row in rows} == {
            ("undecodable_message", "not_a_message", NO_TENANT, "ingestion", 1),
            ("undecodable_message", "undecodable_body", NO_TENANT, "ingestion", 1),
        }
        raw = {hashlib.sha256(entry).hexdigest() for entry in bad_messages.NOT_MESSAGES.values()}
        assert raw <= {row[5] for row in rows}
        assert len(rows) == len(entries)
        assert_nothing_comes_back(system)
        assert_secret_is_nowhere(system)
        assert_works(system)

    def test_a_broadcast_that_is_no_message_costs_no_worker_its_connection(
        self, system: RunningSystem
    ) -> None:
        """Whoever may publish could otherwise have every worker at once begin anew."""
        assert_works(system)
        channel = b"/0.celery.pidbox"
        assert system.redis.publish(channel, json.dumps({"body": SECRET})) >= 1
        assert system.redis.publish(channel, SECRET) >= 1
        log = system.home / "logs" / "everything.log"
        assert_eventually(lambda: log.read_text().count("was passed over") == 2, what="both are passed over")
        assert "Connection to broker lost" not in log.read_text()
        assert_works(system)
        assert_secret_is_nowhere(system)

    def test_the_same_again_is_the_same_row_counted_twice_and_opened_again(
        self, system: RunningSystem
    ) -> None:
        """A flood of one kind of garbage is one row."""
        entry = bad_messages.NOT_MESSAGES["text that is not JSON"]
        send(system, entry)
        wait_for(system, 1)
        [(first_at,)] = system.rows("UPDATE dead_letters SET state = 'settled' RETURNING first_at")
        send(system, entry, entry)
        wait_for(system, 3)

        rows = system.rows("SELECT times, state, first_at, last_at > first_at FROM dead_letters")
        assert rows == [(3, "open", first_at, True)]

    def test_garbage_in_the_dead_letter_queue_itself_is_one_row_and_no_storm(
        self, system: RunningSystem
    ) -> None:
        """A report about a report must come to an end."""
        send(system, b"garbage " + SECRET.encode(), queue="dead_letter")
        record = bad_messages.task("interlock.dead_letter.record")
        send(system, wire([{"cause": "lost_worker", "what": SECRET}], record), queue="dead_letter")
        wait_for(system, 2)

        assert found(system) == {
            ("undecodable_message", "not_a_message", NO_TENANT): 1,
            ("rejected_message", "invalid_report", NO_TENANT): 1,
        }
        assert_nothing_comes_back(system)
        assert_secret_is_nowhere(system)


class TestWhatIsRejected:
    """Celery rejects these and prints them into its log; some of them raise into its event loop."""

    def test_each_becomes_one_rejected_message_with_its_code(self, system: RunningSystem) -> None:
        """Content that is not JSON, no task, malformed headers and bodies."""
        send(system, *(entry for _, entry in bad_messages.REJECTED.values()))
        wait_for(system, len(bad_messages.REJECTED))

        rows = system.rows("SELECT cause, code, tenant_id, times FROM dead_letters ORDER BY code")
        codes = sorted(code for code, _ in bad_messages.REJECTED.values())
        assert rows == [("rejected_message", code, NO_TENANT, 1) for code in codes]
        assert_nothing_comes_back(system)
        assert_secret_is_nowhere(system)
        assert_works(system)

    def test_an_unknown_task_is_named_and_its_step_is_looked_up(self, system: RunningSystem) -> None:
        """Whose it is comes from the work index; a step that does not exist is nobody's."""
        assert_works(system)
        [(step, orchestration, event_id)] = system.rows(
            "SELECT step_id, orchestration_id, event_id FROM work_index JOIN orchestrations USING (orchestration_id)"
            " WHERE queue = 'agent_runs' AND subject = 'beta' LIMIT 1"
        )
        known = bad_messages.task("interlock.retired.task")
        send(
            system,
            wire([[step], SECRET], known, queue="agent_runs"),
            bad_messages.UNKNOWN_TASK,
            queue="agent_runs",
        )
        wait_for(system, 2)

        rows = system.rows(
            "SELECT cause, code, tenant_id, event_id, orchestration_id, run_id, step_id, workflow, queue"
            " FROM dead_letters ORDER BY tenant_id"
        )
        failed = ("unknown_task", "unregistered_task")
        assert rows == [
            (*failed, NO_TENANT, "", "", "", "", "", "agent_runs"),
            (*failed, "demo", event_id, orchestration, step, step, "branching", "agent_runs"),
        ]
        [(what,)] = system.rows("SELECT what FROM dead_letters WHERE tenant_id = 'demo'")
        assert "interlock.retired.task" in what
        assert_secret_is_nowhere(system)

    def test_a_refused_event_is_its_tenants_only_when_the_tenant_signed_it(
        self, system: RunningSystem
    ) -> None:
        """Access to the broker alone puts nothing among a tenant's dead letters."""
        send(system, *(ingestion(message) for _, _, message in bad_messages.REFUSED.values()))
        wait_for(system, len(bad_messages.REFUSED))

        expected = {
            ("rejected_message", code, tenant): 1 for code, tenant, _ in bad_messages.REFUSED.values()
        }
        assert found(system) == expected
        [(event_id,)] = system.rows("SELECT event_id FROM dead_letters WHERE tenant_id = 'demo'")
        assert event_id == "of-dev.interlock.unknown"
        assert_nothing_comes_back(system)
        assert_secret_is_nowhere(system)

    def test_a_forged_report_is_not_believed_about_its_tenant(self, system: RunningSystem) -> None:
        """A report that names a tenant without its seal is nobody's."""
        forged = {
            "format": 1, "cause": "rejected_message", "code": "unknown_type", "fate": "permanent",
            "queue": "ingestion", "task": "", "digest": "0" * 64, "size": 1, "at": "2026-01-01T00:00:00.000000Z",
            "names": [], "tenant": "demo", "event_id": SECRET, "seal": "0" * 64,
        }  # fmt: skip
        send(system, wire([forged], bad_messages.task("interlock.dead_letter.record")), queue="dead_letter")
        wait_for(system, 1)

        assert found(system) == {("rejected_message", "unknown_type", NO_TENANT): 1}
        assert_secret_is_nowhere(system)


class TestNothingIsLetGoUnreported:
    """Whatever the broker or the database refuse, a message is let go only when its report is safe."""

    @pytest.fixture
    def system(self, database_url: str) -> Iterator[RunningSystem]:
        """One of its own, without workers yet."""
        with a_system(database_url, "unreported", ()) as alone:
            yield alone

    def test_while_the_report_cannot_be_published_the_message_stays(self, system: RunningSystem) -> None:
        """And the report is published as soon as it can be, without a restart or a redelivery."""
        system.redis.set("dead_letter", "a key of another type: the broker takes nothing into this list")
        system.start_worker(ALL_BUT_DEAD_LETTER, "worker")
        send(system, bad_messages.UNKNOWN_TASK, bad_messages.NOT_MESSAGES["bytes that are no text"])
        send(system, ingestion(bad_messages.REFUSED["no ingestion message"][2]))
        log = system.home / "logs" / "worker.log"
        assert_eventually(lambda: log.read_text().count("is tried again") >= 3, what="it was tried")
        # Beside them, for a moment, what the worker told itself at its start.
        assert_eventually(lambda: system.redis.zcard("unacked_index") == 3, what="the three stay")
        assert_works(system)

        system.redis.delete("dead_letter")
        system.start_worker(DEAD_LETTER, "dead_letter")
        wait_for(system, 3)
        assert sorted(cause for cause, _, _ in found(system)) == [
            "rejected_message",
            "undecodable_message",
            "unknown_task",
        ]
        assert_nothing_comes_back(system)

    def test_while_the_database_is_away_reports_and_events_wait(self, system: RunningSystem) -> None:
        """Neither is lost, refused or counted as an attempt: both are put off, and done when it is back."""
        system.start_worker(EVERYTHING[0], "worker")
        assert_works(system)
        with away(system.database_url):
            send(system, bad_messages.UNKNOWN_TASK)
            send(system, ingestion(bad_messages.REFUSED["an event of an unknown type"][2]))
            log = system.home / "logs" / "worker.log"
            assert_eventually(lambda: log.read_text().count("put off for") >= 2, what="both are put off")
        wait_for(system, 2)

        assert found(system) == {
            ("unknown_task", "unregistered_task", NO_TENANT): 1,
            ("rejected_message", "unknown_type", "demo"): 1,
        }
        assert_nothing_comes_back(system)
        assert_works(system)


@contextmanager
def away(url: str) -> Iterator[None]:
    """The database takes no connection, and has ended those it had."""
    name = url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(url.replace(f"/{name}?", "/postgres?"), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        yield
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


class TestAPoolThatForks:
    """A child that dies or stays too long takes its message with it: Celery tells the parent."""

    @pytest.fixture(scope="class")
    @staticmethod
    def forking(database_url: str) -> Iterator[RunningSystem]:
        """A worker whose tasks do as they are told, in one child, and the threads for everything else."""
        others = tuple(queue for queue in Queue if queue is not Queue.REPLAY)
        with a_system(database_url, "forking", (WorkerGroup("others", others, "threads", 4),)) as forking:
            forking.start_workers()
            children = WorkerGroup("forking", (Queue.REPLAY,), "prefork", 1)
            forking.start_worker(children, "forking", application="tests.acceptance.dying_tasks")
            yield forking

    @pytest.fixture
    def system(self, forking: RunningSystem) -> RunningSystem:
        """That system, without dead letters."""
        return cleared(forking)

    def test_a_message_that_kills_its_worker_is_tried_a_few_times_and_no_more(
        self, system: RunningSystem
    ) -> None:
        """The work of a child that died by accident is done; what kills every child is a dead letter."""
        assert_works(system)
        [(step,)] = system.rows("SELECT step_id FROM work_index WHERE queue = 'agent_runs' LIMIT 1")
        die = bad_messages.task("tests.die")
        send(system, wire([[step], SECRET, 99], die, queue="replay"), queue="replay")
        send(system, wire([[], "by accident", 2], die, queue="replay"), queue="replay")
        wait_for(system, 1)

        assert system.redis.hgetall("tests:died") == {SECRET.encode(): b"4", b"by accident": b"2"}
        assert_eventually(
            lambda: system.redis.get("tests:survived") == b"by accident", what="the other is done"
        )
        rows = system.rows(
            "SELECT cause, code, fate, tenant_id, step_id, run_id, queue, times FROM dead_letters"
        )
        assert rows == [("lost_worker", "lost_worker", "transient", "demo", step, step, "replay", 1)]
        system.redis.delete("tests:died")
        assert_nothing_comes_back(system)
        assert_secret_is_nowhere(system)

    def test_a_message_past_its_hard_limit_is_a_dead_letter_and_its_child_is_replaced(
        self, system: RunningSystem
    ) -> None:
        """Celery acknowledges it, and nobody would know."""
        hang = bad_messages.task("tests.hang", timelimit=[1.0, None])
        send(system, wire([SECRET], hang, queue="replay"), queue="replay")
        wait_for(system, 1)

        assert found(system) == {("time_limit", "time_limit", NO_TENANT): 1}
        send(
            system, wire([[], "after it", 0], bad_messages.task("tests.die"), queue="replay"), queue="replay"
        )
        assert_eventually(
            lambda: system.redis.get("tests:survived") == b"after it", what="another child works"
        )
        assert_nothing_comes_back(system)
        assert_secret_is_nowhere(system)


def test_the_report_of_a_message_has_no_content() -> None:
    """What is published is digest and size, code and names: the keys are written out, so that a new one is seen."""
    from app.adapters.celery.reporting import GaveUp, Reporter
    from app.data_plane.dead_letters.letters import Cause

    payload = json.loads(bad_messages.UNKNOWN_TASK)

    class Message:
        body = payload["body"]
        headers = payload["headers"]
        content_type = payload["content-type"]
        delivery_info = payload["properties"]["delivery_info"]

    reporter = Reporter(None)  # type: ignore[arg-type]
    report = reporter.about(
        Message(), GaveUp(Cause.UNKNOWN_TASK, "unregistered_task"), [[bad_messages.STEP], SECRET]
    )  # type: ignore[arg-type]
    told = report.to_json()
    assert set(told) == {
        "format", "cause", "code", "fate", "queue", "task", "digest", "size", "at", "names", "tenant", "event_id",
        "seal",
    }  # fmt: skip
    assert told["names"] == [bad_messages.STEP]
    assert SECRET not in json.dumps(told)
