"""What ``up`` runs on this machine, from the settings and the declared topology."""

from __future__ import annotations

from collections.abc import Sequence

from app.supervisor.children import Program
from app.supervisor.service import Listener, Plan
from config import topology
from config.settings import CHECKOUT, Settings


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
    durable: bool = True,
) -> Plan:
    """Servers that no URL replaces, migration, documents, API, workers, beat and Flower."""
    listeners = [Listener("api", settings.api_host, settings.api_port, "INTERLOCK_API_PORT")]
    programs = [Program("api", topology.api(settings))]
    programs += [worker_program(group, settings) for group in groups]
    programs.append(Program("beat", topology.beat(settings)))
    if with_flower:
        listeners.append(
            Listener("flower", settings.flower_host, settings.flower_port, "INTERLOCK_FLOWER_PORT")
        )
        programs.append(Program("flower", topology.flower(settings)))
    return Plan(
        folder=settings.folder,
        cwd=CHECKOUT,
        before=(Program("migrate", topology.migrate()), Program("publish", topology.publish())),
        programs=tuple(programs),
        listeners=tuple(listeners),
        embed_postgresql=settings.database_url is None,
        embed_redis=settings.redis_url is None,
        durable=durable,
    )
