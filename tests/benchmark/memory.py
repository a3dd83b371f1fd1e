"""Proportional set sizes of an idle ``python -m app up``, as ``status`` tells them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from config.settings import CHECKOUT

WORKERS = ("orchestration", "agent_runs", "dispatch")


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
        ports = _free_ports(2)
        environment = {
            **os.environ,
            "INTERLOCK_HOME": home,
            "INTERLOCK_API_PORT": str(ports[0]),
            "INTERLOCK_FLOWER_PORT": str(ports[1]),
        }
        _app("up", "--detach", environment=environment)
        try:
            status = json.loads(_app("status", "--json", environment=environment))
        finally:
            _app("down", environment=environment)
    return _sizes(status)


def _sizes(status: object) -> Sizes:
    print(status)
    raise SystemExit
