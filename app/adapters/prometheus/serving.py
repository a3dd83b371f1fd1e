"""Where metrics are read: a small HTTP server on a thread, and a file that tells Prometheus of it.

Prometheus finds every process of an installation by one pattern, ``<home>/metrics/targets/*.json``. A process touches
its file while it serves. What nobody touches is removed by any other that serves, on whatever host: a container that is
made anew has another name, and would not know what is its own.
Source: prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import socket
import threading
import time
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
TOUCH_SECONDS = 15.0
"""How often a process shows that it still serves."""

ABANDONED_SECONDS = 900.0
"""How old the last sign of a process may be; until then Prometheus knows the address and tells that it is down."""

_NODES = re.compile(r".*-\d+-[0-9a-f]+")
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - a comparison


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: port 0 is any free one."""

    host: str
    port: int


class _Sign:
    """The file that tells Prometheus where a process serves, and what else of it others must not remove."""

    def __init__(self, home: Path, file: Path, text: str, folder: Path | None) -> None:
        self._home = home
        self._file = file
        self._text = text
        self._folder = folder
        self._next = 0.0
        self._is_well = True

    def give(self) -> None:
        """Write it for the first time. Raises OSError."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(self._home)
        self._touch()

    def keep(self) -> None:
        """Give it again now and then, and remove what others have left; called often."""
        if time.monotonic() < self._next:
            return
        try:
            self._touch()
            self._is_well = True
        except OSError as error:
            self._next = time.monotonic() + TOUCH_SECONDS
            if self._is_well:
                _log.warning("Prometheus cannot be told where this process is read: %s", error)
            self._is_well = False

    def take_back(self) -> None:
        """Nobody is to ask there any more."""
        self._file.unlink(missing_ok=True)

    def _touch(self) -> None:
        self._next = time.monotonic() + TOUCH_SECONDS
        try:
            os.utime(self._file)
        except FileNotFoundError:
            new = self._file.with_suffix(".new")
            new.write_text(self._text)
            new.replace(self._file)
        if self._folder is not None:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._folder)
        # By the clock that dates the others' signs, too: that of a shared volume may not be this host's.
        _remove_abandoned(self._home, self._file.stat().st_mtime - ABANDONED_SECONDS)


class Served:
    """Metrics that are served until ``close``."""

    def __init__(self, server: WSGIServer, thread: threading.Thread, sign: _Sign) -> None:
        self._server = server
        self._thread = thread
        self._sign = sign
        self._pid = os.getpid()
        # What socketserver calls on its thread between requests, twice a second.
        server.service_actions = sign.keep  # type: ignore[method-assign]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_port

    def close(self) -> None:
        """Stop listening and take the address back; in a forked child, nothing."""
        if os.getpid() != self._pid:
            return
        _end(self._server, self._thread)
        # Last, as the thread would write it anew.
        self._sign.take_back()


def serve(
    collector: Collector, address: Address, home: Path, service: str, folder: Path | None = None
) -> Served:
    """Serve ``/metrics`` and tell where.

    Args:
        folder: what this process measures into, if it does.

    Raises:
        TransientError: code ``unavailable``, when nothing can listen there, or nobody can be told.
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
    file = home / FOLDER / TARGETS / f"{service}-{socket.gethostname()}-{os.getpid()}.json"
    host = socket.gethostname() if address.host in _EVERYWHERE else address.host
    shown = f"[{host}]" if ":" in host else host
    target = [{"targets": [f"{shown}:{server.server_port}"], "labels": {"service": service}}]
    sign = _Sign(home, file, json.dumps(target), folder)
    try:
        sign.give()
    except OSError as error:
        _end(server, thread)
        raise TransientError(
            f"Prometheus cannot be told where {service} is read: {error}.", "Make the run folder writable."
        ) from error
    return Served(server, thread, sign)


def _end(server: WSGIServer, thread: threading.Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join(5.0)


def remove_stale(home: Path) -> None:
    """Remove what this host's processes that are gone have left, before one takes their place."""
    ours = f"-{socket.gethostname()}-"
    for file in (home / FOLDER / TARGETS).glob(f"*{ours}*.json"):
        if _is_gone(file.stem.rpartition(ours)[2], file):
            file.unlink(missing_ok=True)
    for folder in (home / FOLDER).glob(f"*{ours}*"):
        if _is_gone(folder.name.rpartition(ours)[2].partition("-")[0], folder):
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(home: Path, before: float) -> None:
    """Remove the targets and the folders of which the last sign was given before that second."""
    for path in (*(home / FOLDER / TARGETS).glob("*"), *(home / FOLDER).glob("*")):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime >= before:
                continue
            if path.is_file():
                path.unlink()
            elif _NODES.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)


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
