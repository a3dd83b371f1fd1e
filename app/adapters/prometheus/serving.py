"""Where metrics are read: a small HTTP server on a thread, and a file that tells Prometheus of it.

Prometheus finds every process of an installation by one pattern, ``<home>/metrics/targets/*.json``.
Source: prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import psutil
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

from app.kernel.errors import TransientError

_log = logging.getLogger(__name__)

FOLDER = "metrics"
TARGETS = "targets"
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - a comparison


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: port 0 is any free one."""

    host: str
    port: int


class Served:
    """Metrics that are served until ``close``."""

    def __init__(self, server: WSGIServer, thread: threading.Thread, file: Path) -> None:
        self._server = server
        self._thread = thread
        self._file = file
        self._pid = os.getpid()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_port

    def close(self) -> None:
        """Take the address back and stop listening; in a forked child, nothing."""
        if os.getpid() != self._pid:
            return
        self._file.unlink(missing_ok=True)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)


def serve(collector: Collector, address: Address, home: Path, service: str) -> Served:
    """Serve ``/metrics`` and tell where.

    Raises:
        TransientError: code ``unavailable``, when nothing can listen there.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(address.port, address.host, registry=registry)
    except OSError as error:
        raise TransientError(
            f"Metrics of {service} cannot be served on {address.host}:{address.port}: {error.strerror}.",
            "Stop what holds the port, or choose another.",
        ) from error
    folder = home / FOLDER / TARGETS
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(home)
    file = folder / f"{service}-{socket.gethostname()}-{os.getpid()}.json"
    host = socket.gethostname() if address.host in _EVERYWHERE else address.host
    shown = f"[{host}]" if ":" in host else host
    target = [{"targets": [f"{shown}:{server.server_port}"], "labels": {"service": service}}]
    new = file.with_suffix(".new")
    new.write_text(json.dumps(target))
    new.replace(file)
    return Served(server, thread, file)


def remove_stale(home: Path) -> None:
    """Remove what this host's processes that are gone have left; other hosts remove theirs."""
    ours = f"-{socket.gethostname()}-"
    for file in (home / FOLDER / TARGETS).glob(f"*{ours}*.json"):
        if _is_gone(file.stem.rpartition(ours)[2], file):
            file.unlink(missing_ok=True)
    for folder in (home / FOLDER).glob(f"*{ours}*"):
        if _is_gone(folder.name.rpartition(ours)[2].partition("-")[0], folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_gone(pid: str, path: Path) -> bool:
    """Whether the process that made it has ended; another one may have its number now."""
    if not pid.isdecimal():
        return False
    try:
        return psutil.Process(int(pid)).create_time() > path.stat().st_mtime + 1.0
    except (psutil.NoSuchProcess, FileNotFoundError):
        return True
    except psutil.AccessDenied:
        return False
