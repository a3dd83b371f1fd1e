"""The span store over a real PostgreSQL: what comes back, who sees it, and what an outage costs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from app.adapters.opentelemetry.encoding import encoded
from app.adapters.opentelemetry.exporters import Tracing, TracingOptions, configure
from app.adapters.opentelemetry.queue import BoundedQueue
from app.adapters.opentelemetry.redacted import RedactedExporter
from app.adapters.postgresql import span_retention
from app.adapters.postgresql import spans as store
from app.adapters.postgresql.database import Database, Role
from app.adapters.postgresql.migrate import upgrade
from app.adapters.postgresql.span_retention import SpanRetention
from app.adapters.postgresql.spans import SpanReading
from app.supervisor.embedded import EmbeddedServers
from app.telemetry import messages, metric_names, metrics, tracing
from app.telemetry.tracing import Event, Keys
from tests.eventually import assert_eventually
from tests.recorded_spans import recorded_spans

SECRET = "ghp_" + "a1B2" * 9
DEMO = Keys("demo", "e-1", "orc_1", "run_1")
OTHER = Keys("other", "e-2", "orc_2")
REFUSED = psycopg.errors.InsufficientPrivilege
INSERT = "INSERT INTO spans SELECT '', '', '', %s, '', '', '', '', '', '', 0, 0, 'ok', '', '{}', '[]', '[]'"


@contextmanager
def exporting(url: str, role: Role = "interlock_worker") -> Iterator[Tracing]:
    """A process's export for as long as the block lasts; all of its spans are written then."""
    running = configure(TracingOptions("agent_runs", url, role))
    try:
        yield running
    finally:
        running.shutdown()


@pytest.fixture
def dropped() -> Iterator[Callable[[], int]]:
    """How many spans were counted as dropped."""
    registry = CollectorRegistry()
    metrics.install(registry)
    yield lambda: int(registry.get_sample_value(metric_names.SPANS_DROPPED) or 0)
    metrics.uninstall()


def one_trace() -> tuple[str, str]:
    """A trace with everything that a span can have; the traceparents of its root and its child."""
    with tracing.span("ingestion", Keys("demo", "e-1", "orc_1")) as root:
        parent = tracing.traceparent_of(root)
    child = tracing.record(
        f"chat {SECRET}",
        DEMO,
        parent=parent,
        start_ns=1_000_000_000_000_000_001,
        end_ns=1_000_000_000_000_002_003,
        attributes={"error.type": f"timeout {SECRET}", "gen_ai.usage.input_tokens": 7, "x": 0.5, "y": True},
        events=[Event(1_000_000_000_000_000_500, "hop", {"reason": f"password={SECRET}"})],
    )
    assert parent is not None
    assert child is not None
    return parent, child


def test_a_span_comes_back_as_it_was_made_to_the_nanosecond_and_redacted(fresh_database: str) -> None:
    with exporting(fresh_database):
        parent, child = one_trace()
        with messages.batch("agent_runs", 2, [parent]):
            pass
    found = {span.name: span for span in recorded_spans(fresh_database)}
    root, chat, batch = found["ingestion"], found["chat [redacted]"], found["batch agent_runs"]
    assert (root.trace_id, root.span_id, root.parent_span_id) == (parent[3:35], parent[36:52], "")
    assert (chat.trace_id, chat.span_id, chat.parent_span_id) == (parent[3:35], child[36:52], root.span_id)
    assert (chat.start_ns, chat.end_ns) == (1_000_000_000_000_000_001, 1_000_000_000_000_002_003)
    assert (chat.tenant_id, chat.event_id, chat.orchestration_id, chat.run_id) == (
        "demo",
        "e-1",
        "orc_1",
        "run_1",
    )
    assert (chat.status, chat.status_text) == ("error", "timeout [redacted]")
    assert chat.attributes == {
        "error.type": "timeout [redacted]",
        "gen_ai.usage.input_tokens": 7,
        "x": 0.5,
        "y": True,
    }
    (event,) = chat.events
    assert (event.at_ns, event.name, event.attributes) == (
        1_000_000_000_000_000_500,
        "hop",
        {"reason": "password=[redacted]"},
    )
    (link,) = batch.links
    assert (link.trace_id, link.span_id) == (root.trace_id, root.span_id)
    assert (batch.tenant_id, batch.orchestration_id, batch.service) == ("", "", "agent_runs")


ODD: dict[str, Any] = {
    "a NUL": "a\x00b",
    "half a surrogate": "a\ud800b",
    "more than 64 bits": -(2**70),
    "more digits than Python writes": 10**5_000,
    "such ones in a list": [2**70, 1],
    "no number": float("nan"),
    "much text": "x" * 100_000,
    "a secret in a list": ["a", SECRET],
}


@pytest.mark.parametrize("odd", ODD)
def test_an_oddity_costs_neither_its_span_nor_the_others_of_its_batch(fresh_database: str, odd: str) -> None:
    with exporting(fresh_database):
        with tracing.span("odd", DEMO, attributes={"odd": ODD[odd]}):
            pass
        with tracing.span("plain \ud800\x00", Keys("a,b")):
            pass
    found = recorded_spans(fresh_database)
    assert len(found) == 2
    assert SECRET not in str(found)
    assert all(len(str(span.attributes)) < 3_000 for span in found)


class TestWhoSeesAndWrites:
    """Row-level security is forced, and infrastructure is a tenant that must be named."""

    @pytest.fixture
    def url(self, fresh_database: str) -> str:
        with exporting(fresh_database):
            for keys in (DEMO, OTHER):
                with tracing.span("ingestion", keys):
                    pass
            with messages.batch("agent_runs", 2, ["00-" + "1" * 32 + "-" + "2" * 16 + "-01"]):
                pass
        return fresh_database

    @pytest.mark.parametrize("role", ["interlock_api", "interlock_control"])
    def test_a_transaction_sees_its_tenants_spans_and_infrastructures_only_where_it_names_it(
        self, url: str, role: str
    ) -> None:
        with psycopg.connect(url, options=f"-c role={role}") as connection:
            for named, seen in (
                ("demo", {"demo"}),
                (",", {""}),
                (",demo", {"", "demo"}),
                ("demo,other", {"demo", "other"}),
            ):
                connection.execute("SELECT set_config('interlock.tenants', %s, true)", [named])
                rows = connection.execute("SELECT tenant_id FROM spans").fetchall()
                assert {row[0] for row in rows} == seen
            connection.execute("SELECT set_config('interlock.tenants', '', true)")
            with pytest.raises(REFUSED, match="tenants is not set"):
                connection.execute("SELECT tenant_id FROM spans")

    @pytest.mark.parametrize("role", ["interlock_worker", "interlock_api"])
    @pytest.mark.parametrize(
        "statement", ["UPDATE spans SET name = ''", "DELETE FROM spans", "TRUNCATE spans"]
    )
    def test_what_was_traced_cannot_be_changed_or_removed(self, url: str, role: str, statement: Any) -> None:
        options = f"-c role={role} -c interlock.tenants=demo"
        with (
            psycopg.connect(url, options=options) as connection,
            pytest.raises(REFUSED, match="permission denied"),
        ):
            connection.execute(statement)

    def test_a_worker_writes_for_the_tenants_that_it_names_and_reads_nothing(self, url: str) -> None:
        options = "-c role=interlock_worker -c interlock.tenants=demo"
        with psycopg.connect(url, options=options, autocommit=True) as connection:
            connection.execute(INSERT, ["demo"])
            for tenant in ("other", ""):
                with pytest.raises(REFUSED, match="row-level security"):
                    connection.execute(INSERT, [tenant])
            with pytest.raises(REFUSED, match="permission denied"):
                connection.execute("SELECT 1 FROM spans")

    def test_the_apis_role_writes_too_and_reads_what_it_names(self, url: str) -> None:
        with exporting(url, "interlock_api"), tracing.span("ingestion", Keys("demo", "e-3", "orc_3")) as made:
            trace = (tracing.traceparent_of(made) or "")[3:35]
        database = Database(url, "interlock_api")
        reading = SpanReading(database, ["demo"])
        assert reading.traces_of(["orc_3", "orc_2"]) == (trace,)
        assert reading.traces_that_begin(trace[:12]) == (trace,)
        assert [span.event_id for span in reading.spans([trace])] == ["e-3"]
        assert len(SpanReading(database, []).traces_that_begin("")) == 1
        database.close()


class TestOutage:
    """Work never waits for the store, and what is lost is counted."""

    def test_while_postgresql_is_away_spans_are_dropped_and_counted_and_warned_of_once(
        self, home: Path, caplog: pytest.LogCaptureFixture, dropped: Callable[[], int]
    ) -> None:
        caplog.set_level(logging.INFO)
        with EmbeddedServers(home, durable=False, redis=False) as servers:
            upgrade(servers.database_url)
            with exporting(servers.database_url) as running:
                one_trace()
                running.flush()
                assert servers.postgresql is not None
                servers.postgresql.stop()
                for _ in range(3):
                    one_trace()
                    running.flush()
                assert dropped() == 6
                servers.postgresql.start()

                def is_back() -> bool:
                    one_trace()
                    running.flush()
                    return len(recorded_spans(servers.database_url)) > 2

                assert_eventually(is_back, what="spans are written again")
        warned = [
            line for line in caplog.records if "The store of spans does not answer" in line.getMessage()
        ]
        assert len(warned) == 1
        assert "The store of spans answers again" in caplog.text

    def test_a_server_that_was_restarted_between_two_batches_costs_no_span(
        self, fresh_database: str, dropped: Callable[[], int]
    ) -> None:
        with exporting(fresh_database) as running:
            one_trace()
            running.flush()
            with psycopg.connect(fresh_database, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'interlock_spans' AND datname = current_database()"
                )
            one_trace()
        assert len(recorded_spans(fresh_database)) == 4
        assert dropped() == 0

    def test_a_database_without_the_table_costs_spans_and_nothing_else(
        self, fresh_database: str, dropped: Callable[[], int]
    ) -> None:
        """A newer process beside an older schema, for as long as a deployment takes."""
        with psycopg.connect(fresh_database) as connection:
            connection.execute("DROP TABLE spans")
        with exporting(fresh_database):
            one_trace()
        assert dropped() == 2

    def test_a_full_queue_drops_what_comes_and_counts_it(
        self, dropped: Callable[[], int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept = Kept()
        queue = BoundedQueue(kept, export_seconds=3_600.0, longest=10)
        (span,) = made()
        # The thread is woken by a full batch; held here, it takes none away meanwhile.
        with queue._batch_processor._export_lock:
            for _ in range(25):
                queue.on_end(span)
        queue.shutdown()
        assert (len(kept.spans), dropped()) == (10, 15)


class Kept(SpanExporter):
    """What an exporter was handed."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def made(keys: Keys = DEMO) -> list[ReadableSpan]:
    """One finished span with secrets in every place that has a text."""
    kept = Kept()
    running = configure(TracingOptions("agent_runs"))
    assert running._provider is not None
    running._provider.add_span_processor(BoundedQueue(kept, export_seconds=3_600.0))
    events = [Event(5, f"event {SECRET}", {"note": SECRET})]
    attributes: dict[str, str | int] = {"error.type": SECRET, "api_key": "plain", "tokens": 5}
    tracing.record(
        f"chat {SECRET}", keys, parent=None, start_ns=1, end_ns=9, attributes=attributes, events=events
    )
    running.shutdown()
    return kept.spans


def test_what_a_collector_is_sent_is_redacted_and_otherwise_the_same() -> None:
    """Also the name, the status and the events; the control is the span itself."""
    (span,) = made()
    sent = Kept()
    RedactedExporter(sent).export([span])
    (shown,) = sent.spans
    assert span.to_json().count(SECRET) == 5
    assert SECRET not in shown.to_json()
    assert encoded([shown], "s") == encoded([span], "s")
    assert shown.attributes is not None
    assert shown.attributes["api_key"] == "[redacted]"
    assert (shown.context, shown.start_time, shown.end_time, shown.kind) == (
        span.context,
        span.start_time,
        span.end_time,
        span.kind,
    )


def test_looks_and_retention_use_their_indexes_among_many_spans(fresh_database: str) -> None:
    """Plans are of a table as it is in a busy installation, statistics included."""
    with psycopg.connect(fresh_database, autocommit=True) as connection:
        connection.execute(MANY)
        connection.execute("ANALYZE spans")
        connection.execute("SET role = interlock_api")
        connection.execute("SELECT set_config('interlock.tenants', ',demo', false)")
        one = "00000000000000000000000000002bcd"
        for query, values, index in (
            (store._OF_TRACES, [[one], 5_000], "spans_by_trace"),
            (store._BEGINS_SO, {"text": one[:30], "limit": 3}, "spans_by_trace"),
            (store._TRACES_OF, [["orc_77"]], "spans_by_orchestration"),
        ):
            assert_found_by(index, connection, query, values)
        connection.execute("SET role = interlock_retention")
        assert_found_by("spans_by_age", connection, span_retention._REMOVE, [1, 10_000])


def assert_found_by(index: str, connection: psycopg.Connection[Any], query: str, values: Any) -> None:
    """Sequential scans are allowed here, as they are not to the service: the index must be the better way."""
    plan = str(connection.execute(f"EXPLAIN {query}", values).fetchall())
    assert index in plan
    assert "Seq Scan" not in plan


class TestRetention:
    """Old spans go by themselves, and nobody who removes them can read them."""

    @pytest.fixture
    def retention(self, fresh_database: str) -> Iterator[tuple[str, SpanRetention, list[float]]]:
        """Of a database with 25 spans of two days, 5 of them of a tenant that is not published, and 3 young ones."""
        now = [100.0]
        database = Database(fresh_database, "interlock_retention", size=1)
        with psycopg.connect(fresh_database) as connection:
            for count, tenant, hours in ((20, "demo", 48), (5, "gone", 48), (2, "demo", 1), (1, "", 0)):
                connection.execute(AGED, [tenant, hours, hours, count])
        yield fresh_database, SpanRetention(database, 24.0, lambda: now[0]), now
        database.close()

    def test_what_is_too_old_goes_batch_by_batch_and_what_is_young_stays(
        self, retention: tuple[str, SpanRetention, list[float]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url, removing, now = retention
        monkeypatch.setattr(span_retention, "BATCH", 7)
        assert [removing.remove_old(), removing.remove_old()] == [21, 4]
        assert {span.tenant_id for span in recorded_spans(url)} == {"demo", ""}
        assert len(recorded_spans(url)) == 3
        with psycopg.connect(url) as connection:
            connection.execute(AGED, ["demo", 48, 48, 1])
        assert removing.remove_old() == 0
        now[0] += span_retention.PAUSE_SECONDS
        assert removing.remove_old() == 1

    def test_one_process_removes_and_the_others_do_not_wait(
        self, retention: tuple[str, SpanRetention, list[float]]
    ) -> None:
        url, removing, _ = retention
        with psycopg.connect(url) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", [span_retention._REMOVING])
            assert removing.remove_old() == 0
        assert len(recorded_spans(url)) == 28

    def test_who_removes_reads_no_content(self, retention: tuple[str, SpanRetention, list[float]]) -> None:
        with (
            psycopg.connect(retention[0], options="-c role=interlock_retention") as connection,
            pytest.raises(REFUSED, match="permission denied"),
        ):
            connection.execute("SELECT attributes FROM spans")


AGED = """
INSERT INTO spans SELECT 'a', n::text, '', %s, '', '', '', '', '', '',
    (extract(epoch FROM now() - make_interval(hours => %s)) * 1e9)::bigint,
    (extract(epoch FROM now() - make_interval(hours => %s)) * 1e9)::bigint, 'ok', '', '{}', '[]', '[]'
FROM generate_series(1, %s) AS n
"""
MANY = """
INSERT INTO spans SELECT lpad(to_hex(n / 12), 32, '0'), lpad(to_hex(n), 16, '0'), '', 'demo', 'e',
    'orc_' || n / 12, '', 'chat m', 'agent_runs', 'internal', n * 1000, n * 1000 + 500, 'unset', '', '{}', '[]', '[]'
FROM generate_series(1, 200000) AS n
"""
