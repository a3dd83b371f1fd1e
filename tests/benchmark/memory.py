"""Proportional set sizes of an idle ``python -m app up``, as ``status`` tells them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from pydantic import BaseModel

from config.settings import CHECKOUT

WORKERS = ("orchestration", "agent_runs", "dispatch")


class _Process(BaseModel):
    name: str
    memory_mb: float


class _Status(BaseModel):
    processes: list[_Process]


@dataclass(frozen=True)
class Sizes:
    """Megabytes (10^6 bytes) of proportional set size."""

    largest_worker: str
    largest_worker_mb: float
    whole_mb: float
    processes: int


def measure() -> Sizes:
    """Start it, let it idle, ask ``status``, end it."""
    with tempfile.TemporaryDirectory(prefix="interlock-idle-") as home:
        ports = _free_ports(3)
        environment = {
            **os.environ,
            "INTERLOCK_HOME": home,
            "INTERLOCK_API_PORT": str(ports[0]),
            "INTERLOCK_FLOWER_PORT": str(ports[1]),
            "INTERLOCK_METRICS_PORT": str(ports[2]),
        }
        _app("up", "--detach", environment=environment)
        try:
            status = _Status.model_validate_json(_app("status", "--json", environment=environment))
        finally:
            _app("down", environment=environment)
    return _sizes(status)


def _sizes(status: _Status) -> Sizes:
    sizes = {process.name: process.memory_mb for process in status.processes}
    largest = max(WORKERS, key=lambda name: sizes[name])
    return Sizes(largest, sizes[largest], sum(sizes.values()), len(sizes))


def _app(*arguments: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "app", *arguments]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=120
    )
    return done.stdout


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
