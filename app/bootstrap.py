"""The composition root: settings in, wired services out. Nothing else reads the configuration and makes adapters."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import redis
from celery import Celery

from app.adapters.anchor_file import AnchorFolder
from app.adapters.breaker_book import BreakerBook
from app.adapters.celery import message_spans
from app.adapters.celery.application import Transport, create
from app.adapters.celery.carrier import CeleryCarrier
from app.adapters.celery.garbage_collection import collect_seldom
from app.adapters.celery.heartbeat import Heartbeat
from app.adapters.celery.inspection_only import deny_control
from app.adapters.celery.process_telemetry import ProcessTelemetry
from app.adapters.celery.reporting import reporter_of
from app.adapters.celery.task_metrics import TaskMetrics
from app.adapters.event_loop import EventLoop
from app.adapters.opentelemetry import exporters
from app.adapters.opentelemetry.exporters import Tracing, TracingOptions
from app.adapters.postgresql.anchoring import PostgresqlHeads
from app.adapters.postgresql.breakers import PostgresqlBreakers
from app.adapters.postgresql.budgets import PostgresqlBudgets
from app.adapters.postgresql.database import Database, Role
from app.adapters.postgresql.liveness import Liveness
from app.adapters.postgresql.lookups import PostgresqlLookups, TenantReadings
from app.adapters.postgresql.redaction_patterns import PatternRefresh
from app.adapters.postgresql.releases import PostgresqlReleases
from app.adapters.postgresql.replays import PostgresqlReplays
from app.adapters.postgresql.span_retention import SpanRetention
from app.adapters.postgresql.store import PostgresqlStore
from app.adapters.postgresql.tenants import (
    PublishedBudgets,
    TenantCredentials,
    TenantDocuments,
    TenantTargets,
)
from app.adapters.providers.open import PooledProviders
from app.adapters.redis.breakers import SOCKET_SECONDS, THREADS, RedisBreakers
from app.adapters.redis.connection import connect
from app.adapters.redis.front_lock import RedisFrontLock
from app.adapters.redis.standing import SignsOfLife
from app.adapters.secrets import ReferencedSecrets
from app.adapters.targets.http import HttpTargets
from app.adapters.watchdog import Watchdog
from app.data_plane.agent_runs.asking import Asker
from app.data_plane.agent_runs.calling import ToolCaller
from app.data_plane.agent_runs.execute import Runner
from app.data_plane.agent_runs.purse import Purse
from app.data_plane.agent_runs.question import Questioner
from app.data_plane.aggregation.aggregate import Aggregator
from app.data_plane.audit.anchorer import Anchorer
from app.data_plane.dead_letters.receiving import Receiver
from app.data_plane.dispatch.deliver import Dispatcher
from app.data_plane.ingestion.accept import IngestionService
from app.data_plane.orchestration.advance import Advancer
from app.data_plane.orchestration.reconcile import Reconciler
from app.data_plane.orchestration.recorder import Recorder
from app.data_plane.ports import Queue
from app.data_plane.replay.execute import Replayer
from app.data_plane.replay.request import ReplayDesk
from app.data_plane.tools import load_tools
from app.kernel.clock import SystemClock
from app.telemetry.logs import configure_logs, get_logger
from app.telemetry.redaction import switch_off
from app.telemetry.uncaught import watch_uncaught
from config import settings as configuration
from config.settings import Settings

if TYPE_CHECKING:
    from app.adapters.prometheus.durable import DurableFacts
    from app.adapters.prometheus.processes import NodeMetrics

T = TypeVar("T")

HEARTBEAT_SOCKET_SECONDS = 0.25
"""How long a worker's sign of life may wait for Redis: it is given from the loop that consumes."""

SCRAPE_SECONDS = 5.0
"""How long one statement of the exporter may take."""

TASK_MODULES = tuple(f"tasks.{queue.value}" for queue in Queue)


def celery_application(settings: Settings) -> Celery:
    """The Celery application that ``celery -A tasks`` runs."""
    return create(
        Transport(settings.broker_url, settings.effective_visibility_timeout_seconds),
        [queue.value for queue in Queue],
        task_modules=TASK_MODULES,
        beats=_beats(settings),
    )


def _beats(settings: Settings) -> dict[str, float]:
    beats = {"reconcile": settings.reconcile_seconds} if settings.reconciler else {}
    return {**beats, "anchor": settings.anchor_seconds} if settings.anchoring else beats


def obey_unsafe_settings(settings: Settings) -> None:
    """Redact nothing where that was asked for, and say so, loudly: what follows may hold any secret."""
    if settings.unsafe_no_redaction:
        switch_off()
        get_logger(__name__).warning(
            "REDACTION IS OFF: whatever this process writes may hold secrets and personal data",
            setting="INTERLOCK_UNSAFE_NO_REDACTION",
        )


class Telemetry:
    """How this installation's processes log, and where their spans go."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def start_logs(self, service: str, *, adopt: Sequence[str] = ()) -> None:
        """Log JSON lines to standard error, the loggers ``adopt`` too."""
        configure_logs(
            log_format=self._settings.log_format,
            level=self._settings.log_level,
            service=service,
            adopt=adopt,
        )
        watch_uncaught()
        obey_unsafe_settings(self._settings)

    def start_spans(
        self, service: str, *, role: Role = "interlock_worker", libraries: bool = True
    ) -> Tracing:
        """Write spans to the database, and to a collector when there is one; none where telemetry is off."""
        if not self._settings.telemetry:
            return Tracing(None)
        tracing = exporters.configure(
            TracingOptions(
                service=service,
                database_url=self._settings.effective_database_url,
                role=role,
                ratio=self._settings.trace_sample_ratio,
                traces_per_second=self._settings.traces_per_second,
                otlp_endpoint=os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
                libraries=libraries,
            )
        )
        if tracing.messages is not None:
            message_spans.begin(tracing.messages)
        return tracing

    def start_metrics(self, service: str) -> NodeMetrics | None:
        """Measure into the run folder, in this process and whatever it forks; not where that cannot be written."""
        chosen = self._settings
        if not chosen.telemetry:
            return None
        # Here, as commands of the command line never measure.
        from app.adapters.prometheus.processes import NodeMetrics
        from app.adapters.prometheus.serving import Address

        try:
            return NodeMetrics(chosen.home, service, Address(chosen.metrics_host, chosen.worker_metrics_port))
        except OSError as error:
            get_logger(__name__).warning("nothing is measured", error=str(error))
            return None


def worker_application() -> Celery:
    """What ``celery -A tasks`` runs, with the telemetry of whichever process that becomes."""
    settings = configuration.load()
    ProcessTelemetry(Telemetry(settings)).connect()
    if settings.telemetry:
        TaskMetrics().connect()
        Heartbeat(lambda: _signs_of_life(settings)).connect()
    deny_control()
    collect_seldom()
    return celery_application(settings)


def _signs_of_life(settings: Settings) -> SignsOfLife:
    client = connect(
        settings.effective_redis_url, most_connections=1, socket_seconds=HEARTBEAT_SOCKET_SECONDS
    )
    return SignsOfLife(client)


class Services:
    """One process's services. What a process does not use is never made: an agent_runs worker has no dispatcher."""

    def __init__(self, settings: Settings, application: Celery, role: Role) -> None:
        self.settings = settings
        self.tracing = Tracing(None)
        """The process's export of spans, where these services are what begins and ends it."""
        self.node_metrics: NodeMetrics | None = None
        """What the process measures, likewise."""
        self.clock = SystemClock()
        self.database = Database(settings.effective_database_url, role)
        self.redis: redis.Redis = connect(settings.effective_redis_url)
        self.front_lock = RedisFrontLock(self.redis)
        self.carrier = CeleryCarrier(application, self.redis, runs_per_message=settings.runs_per_message)
        self.watchdog = Watchdog()
        self.liveness = Liveness(settings.effective_database_url)
        self.store = PostgresqlStore(self.database, self.clock, self.watchdog.leased)
        self.releases = PostgresqlReleases(self.database, load_tools(settings.tool_modules))
        self.recorder = Recorder(self.store, self.releases, self.carrier, shortcut=settings.worker_shortcut)
        self.replays = PostgresqlReplays(self.database)
        self.budgets = PostgresqlBudgets(self.database)
        self.secrets = ReferencedSecrets(os.environ, settings.home)
        self.tenant_documents = TenantDocuments(self.database)
        self.tenants = TenantCredentials(self.tenant_documents, self.secrets)
        # With a reading of its own: read before the first tenant is published, the other would be stale for seconds.
        self.redaction_patterns = PatternRefresh(TenantDocuments(self.database))
        self.ingestion = IngestionService(self.store, self.releases, self.carrier, self.front_lock)
        self.reporter = reporter_of(application)
        self.event_loop = EventLoop()
        self._made: dict[str, object] = {}
        self._closing = ExitStack()
        self._lock = threading.RLock()

    @property
    def max_body_bytes(self) -> int:
        """The longest request body that the API reads."""
        return self.settings.max_event_bytes

    def check_ready(self) -> None:
        """Raises TransientError when events cannot be accepted now."""
        with self.database.transaction() as connection:
            connection.execute("SELECT 1 FROM work_index LIMIT 1")

    def worker_name(self) -> str:
        """Who holds the leases of one message: host, process, and a number of the message.

        Raises TransientError when this process cannot be seen to live: nothing may be leased then.
        """
        return self.liveness.holder()

    @property
    def advancer(self) -> Advancer:
        """The work of the queue ``orchestration``."""
        return self._once(
            "advancer",
            lambda: Advancer(
                self.store,
                self.recorder,
                PostgresqlLookups(self.database),
                self.carrier,
                batch_size=self.settings.batch_size,
            ),
        )

    @property
    def runner(self) -> Runner:
        """The work of the queue ``agent_runs``."""
        return self._once(
            "runner",
            lambda: Runner(
                self.store,
                self.recorder,
                Asker(self._questioner()),
                ToolCaller(TenantReadings(self.database), self._purse()),
                self.carrier,
                self.clock,
                batch_size=self.settings.batch_size,
                in_flight=self.settings.agent_runs_in_flight,
            ),
        )

    def _questioner(self) -> Questioner:
        return Questioner(PooledProviders(self.secrets), self.breakers, self._purse(), self.clock)

    def _purse(self) -> Purse:
        return self._once(
            "purse", lambda: Purse(self.budgets, PublishedBudgets(self.tenant_documents, self.clock))
        )

    @property
    def breakers(self) -> RedisBreakers:
        """What agent runs ask before they ask a model; with a client of its own, as theirs must not wait long."""
        return self._once("breakers", self._make_breakers)

    def _make_breakers(self) -> RedisBreakers:
        client = connect(
            self.settings.effective_redis_url, most_connections=THREADS, socket_seconds=SOCKET_SECONDS
        )
        return RedisBreakers(client, BreakerBook(PostgresqlBreakers(self.database)))

    @property
    def aggregator(self) -> Aggregator:
        """The work of the queue ``aggregation``."""
        return self._once(
            "aggregator",
            lambda: Aggregator(self.store, self.recorder, self.carrier, batch_size=self.settings.batch_size),
        )

    @property
    def dispatcher(self) -> Dispatcher:
        """The work of the queue ``dispatch``: the one place that holds targets and their secrets."""
        return self._once(
            "dispatcher",
            lambda: Dispatcher(
                self.store,
                self.recorder,
                HttpTargets(TenantTargets(self.tenant_documents, self.secrets)),
                self.carrier,
                self.clock,
                batch_size=self.settings.batch_size,
            ),
        )

    @property
    def dead_letters(self) -> Receiver:
        """The work of the queue ``dead_letter``."""
        return self._once("dead_letters", lambda: Receiver(self.store, self.tenants, self.clock))

    @property
    def replayer(self) -> Replayer:
        """The work of the queue ``replay``."""
        return self._once(
            "replayer",
            lambda: Replayer(
                self.store,
                self.recorder,
                self.replays,
                self.carrier,
                self.clock,
                batch_size=self.settings.batch_size,
            ),
        )

    @property
    def replay_desk(self) -> ReplayDesk:
        """Where people plan replays and ask for them."""
        return ReplayDesk(self.store, self.recorder, self.replays, self.releases, self.carrier, self.clock)

    @property
    def reconciler(self) -> Reconciler:
        """The work of the queue ``maintenance``."""
        return self._once("reconciler", lambda: Reconciler(self.store, self.budgets, self.carrier))

    @property
    def span_retention(self) -> SpanRetention:
        """What removes old spans, in the queue ``maintenance``; under a role that reads nothing of them."""
        return self._once("span_retention", self._make_span_retention)

    def _make_span_retention(self) -> SpanRetention:
        database = Database(self.settings.effective_database_url, "interlock_retention", size=1)
        self._closing.callback(database.close)
        return SpanRetention(database, self.settings.span_retention_hours)

    @property
    def anchorer(self) -> Anchorer:
        """What writes the heads of chains outside the database, in the queue ``maintenance``."""
        return self._once(
            "anchorer",
            lambda: Anchorer(PostgresqlHeads(self.database), AnchorFolder(self.settings.anchors), self.clock),
        )

    def close(self) -> None:
        """Give back connections and threads."""
        self.redaction_patterns.stop()
        self.event_loop.close()
        if "breakers" in self._made:
            self.breakers.close()
        self.watchdog.stop()
        self.liveness.stop()
        self._closing.close()
        self.database.close()
        self.redis.close()
        self.tracing.shutdown()
        if self.node_metrics is not None:
            self.node_metrics.shutdown()

    def _once(self, name: str, make: Callable[[], T]) -> T:
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            made: T = self._made[name]  # type: ignore[assignment]
            return made


_making = threading.Lock()


def worker_services() -> Services:
    """The services of a Celery worker's process, made once however many of its threads ask first."""
    with _making:
        return _worker_services()


@lru_cache(maxsize=1)
def _worker_services() -> Services:
    settings = configuration.load()
    services = Services(settings, celery_application(settings), "interlock_worker")
    services.redaction_patterns.start()
    return services


def doorbells(settings: Settings | None = None) -> CeleryCarrier:
    """What rings for the workers, for a command that has the database by other means."""
    settings = settings or configuration.load()
    client = connect(settings.effective_redis_url)
    return CeleryCarrier(celery_application(settings), client, runs_per_message=settings.runs_per_message)


@contextmanager
def durable_facts(settings: Settings) -> Iterator[DurableFacts]:
    """What the exporter tells of durable facts, under a role that sees no content."""
    # Here, because no other process needs them.
    from app.adapters.postgresql.breaker_history import PostgresqlBreakerHistory
    from app.adapters.postgresql.fact_counts import FactCounts
    from app.adapters.postgresql.standing import PostgresqlStanding
    from app.adapters.prometheus.durable import DurableFacts, Sources
    from app.adapters.redis.standing import RedisReading

    database = Database(
        settings.effective_database_url, "interlock_metrics", size=1, statement_timeout_seconds=SCRAPE_SECONDS
    )
    client = connect(settings.effective_redis_url, most_connections=2)
    try:
        yield DurableFacts(
            Sources(
                FactCounts(database),
                PostgresqlBreakerHistory(database),
                PostgresqlStanding(database),
                RedisReading(client),
                settings.anchors,
            )
        )
    finally:
        client.close()
        database.close()


def api_services() -> Services:
    """What the HTTP API may do, for a command of the command line: it neither logs nor makes spans."""
    settings = configuration.load()
    return Services(settings, celery_application(settings), "interlock_api")


def api_process() -> Services:
    """The services of the HTTP API's own process, with its telemetry."""
    services = api_services()
    telemetry = Telemetry(services.settings)
    telemetry.start_logs("api", adopt=("uvicorn", "uvicorn.error"))
    services.redaction_patterns.start()
    services.tracing = telemetry.start_spans("api", role="interlock_api", libraries=False)
    services.node_metrics = telemetry.start_metrics("api")
    if services.node_metrics is not None:
        services.node_metrics.begin_to_serve()
    return services
