"""What ``up`` runs on this machine, from the settings and the declared topology."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.supervisor.children import Program
from app.supervisor.service import Listener, Plan
from config import topology
from config.settings import CHECKOUT, Settings

SINK_VARIABLE = "INTERLOCK_DEMO_SINK_URL"
"""Where the shipped tenant's targets are, as its document refers to them."""


def worker_program(group: topology.WorkerGroup, settings: Settings, *, name: str | None = None) -> Program:
    """One worker process; ``name`` tells apart several of a group on one host."""
    return Program(
        name or group.name, topology.worker(group, settings, name=name), topology.WORKER_ENVIRONMENT
    )


def whole_service(
    settings: Settings,
    *,
    groups: Sequence[topology.WorkerGroup] = topology.ON_ONE_MACHINE,
    with_flower: bool = True,
    with_metrics: bool = True,
    with_sink: bool = False,
    durable: bool = True,
    provider: str | None = None,
) -> Plan:
    """Servers that no URL replaces, migration, documents, API, workers, beat, metrics, Flower and the sink."""
    listeners = [Listener("api", settings.api_host, settings.api_port, "INTERLOCK_API_PORT")]
    programs = [Program("api", topology.api(settings))]
    workers = [worker_program(group, settings) for group in groups]
    if with_sink:
        sink = Listener("sink", settings.sink_host, settings.sink_port, "INTERLOCK_SINK_PORT")
        workers = [replace(item, env={**item.env, SINK_VARIABLE: sink.url}) for item in workers]
        listeners.append(sink)
        programs.insert(0, Program("sink", topology.sink(settings)))
    programs += workers
    programs.append(Program("beat", topology.beat(settings)))
    if with_metrics and settings.telemetry:
        listeners.append(
            Listener("metrics", settings.metrics_host, settings.metrics_port, "INTERLOCK_METRICS_PORT")
        )
        programs.append(Program("metrics", topology.metrics()))
    if with_flower:
        listeners.append(
            Listener("flower", settings.flower_host, settings.flower_port, "INTERLOCK_FLOWER_PORT")
        )
        programs.append(Program("flower", topology.flower(settings)))
    return Plan(
        folder=settings.folder,
        cwd=CHECKOUT,
        before=(Program("prepare", topology.prepare(provider)),),
        programs=tuple(programs),
        listeners=tuple(listeners),
        embed_postgresql=settings.database_url is None,
        embed_redis=settings.redis_url is None,
        durable=durable,
        # Nothing waits for the workers in servers that were just started: they may load while the schema is made.
        together=settings.database_url is None and settings.redis_url is None,
    )
