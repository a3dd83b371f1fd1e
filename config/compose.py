"""docker-compose.yml, made from the declared topology: a service for each queue, so that each can scale."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from app.supervisor import flower_access
from config import topology
from config.settings import PREFIX, Settings

HEADER = """\
# Made by `make compose` from config/topology.py; a test fails when the two differ. Do not edit.
# Start:  printf 'INTERLOCK_POSTGRES_PASSWORD=%s\\nFLOWER_BASIC_AUTH=operator:%s\\n' \\
#           $(openssl rand -hex 16) $(openssl rand -hex 16) > .env && docker compose up --build
# Grow:   docker compose up --scale agent_runs=4
"""

POSTGRES_IMAGE = "postgres:18"
REDIS_IMAGE = "redis:8"

_PASSWORD = "${INTERLOCK_POSTGRES_PASSWORD:?choose one in .env}"  # noqa: S105 - a reference, not a password
_FLOWER = {flower_access.VARIABLE: "${FLOWER_BASIC_AUTH:?choose operator:PASSWORD in .env}"}
_DATABASE_URL = f"postgresql://interlock:{_PASSWORD}@postgresql:5432/interlock"

Value = str | int | float | bool | list["Value"] | dict[str, "Value"]
"""What YAML can hold here."""

Service = dict[str, Value]


def document(settings: Settings) -> str:
    """The file's text. ``settings`` gives the ports that the host publishes, on loopback."""
    services: dict[str, Value] = {
        "postgresql": _postgresql(),
        "redis": _redis(),
        "migrate": _one_shot(topology.migrate(), {"postgresql": "service_healthy"}),
        "publish": _one_shot(topology.publish(), {"migrate": "service_completed_successfully"}),
        "api": _listening(("python", "-m", "app", "api"), settings.api_port, "API"),
        "beat": _lasting(("python", "-m", "app", "beat"), {}),
        "flower": _listening(("python", "-m", "app", "flower"), settings.flower_port, "FLOWER", _FLOWER),
        "metrics": _listening(topology.metrics(), settings.metrics_port, "METRICS"),
    }
    for group in topology.BY_QUEUE:
        services[group.name] = _lasting(topology.worker(group, settings), topology.WORKER_ENVIRONMENT)
    whole: Value = {"name": "interlock", "services": services, "volumes": {"postgresql": {}, "interlock": {}}}
    return HEADER + yaml.safe_dump(whole, sort_keys=False, width=110)


def _environment(extra: dict[str, str]) -> Value:
    environment: dict[str, Value] = {
        f"{PREFIX}HOME": "/var/lib/interlock",
        f"{PREFIX}DATABASE_URL": _DATABASE_URL,
        f"{PREFIX}REDIS_URL": "redis://redis:6379/0",
        # In its container: Prometheus asks each by its host's name, and no port of it is published.
        f"{PREFIX}METRICS_HOST": "0.0.0.0",  # noqa: S104
    }
    return environment | dict(extra.items())


def _ours(command: topology.Command, after: dict[str, str], extra: dict[str, str]) -> Service:
    waits: dict[str, Value] = {name: {"condition": condition} for name, condition in after.items()}
    return {
        "image": "interlock",
        "build": ".",
        "command": list(command),
        "environment": _environment(extra),
        "volumes": ["interlock:/var/lib/interlock", "./.interlock/secrets:/var/lib/interlock/secrets:ro"],
        "depends_on": waits,
    }


def _one_shot(command: topology.Command, after: dict[str, str]) -> Service:
    return _ours(command, after, {}) | {"restart": "on-failure"}


def _lasting(command: topology.Command, extra: dict[str, str]) -> Service:
    after = {"publish": "service_completed_successfully", "redis": "service_healthy"}
    return _ours(command, after, extra) | {
        "restart": "unless-stopped",
        "stop_grace_period": "30s",
        "init": True,
    }


def _listening(
    command: topology.Command, port: int, part: str, extra: Mapping[str, str] | None = None
) -> Service:
    probe = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
    address = {f"{PREFIX}{part}_HOST": "0.0.0.0", f"{PREFIX}{part}_PORT": str(port)}  # noqa: S104 - in its container
    return _lasting(command, {**address, **(extra or {})}) | {
        "ports": [f"127.0.0.1:{port}:{port}"],
        "healthcheck": _health(["CMD", "python", "-c", probe]),
    }


def _postgresql() -> Service:
    return {
        "image": POSTGRES_IMAGE,
        "environment": {
            "POSTGRES_USER": "interlock",
            "POSTGRES_DB": "interlock",
            "POSTGRES_PASSWORD": _PASSWORD,
        },
        "volumes": ["postgresql:/var/lib/postgresql"],
        "restart": "unless-stopped",
        "healthcheck": _health(["CMD", "pg_isready", "-U", "interlock", "-d", "interlock"]),
    }


def _redis() -> Service:
    return {
        "image": REDIS_IMAGE,
        "command": ["redis-server", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"],
        "restart": "unless-stopped",
        "healthcheck": _health(["CMD", "redis-cli", "ping"]),
    }


def _health(test: list[Value]) -> Value:
    return {"test": test, "interval": "5s", "timeout": "3s", "retries": 20}
