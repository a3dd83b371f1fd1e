"""A node's own metrics: of its process and of everything that it forks, added up whenever somebody asks.

Each process writes into files of its own in a folder of the node's start (prometheus_client's multiprocess mode), so
that threads share them under a lock, a forked child begins its own, and what a recycled child counted stays. The
parent reads them all. Source: prometheus_client/values.py and multiprocess.py of 0.26.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, values
from prometheus_client.core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.adapters.prometheus.serving import FOLDER, Address, Served, remove_stale, serve
from app.kernel.errors import TransientError
from app.telemetry import metrics

_log = logging.getLogger(__name__)

MOST_DEAD_FILES = 64
"""Files of ended children that are left; more are added up into one, so that a scrape stays quick."""

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_DEAD = "dead"


class NodeMetrics(Collector):
    """Measures from its making on. Made in the parent, before it forks; closed there, at the end.

    Args:
        home: the run folder.
        service: the node's name, as ``agent_runs``.
        address: where it is read; any free port, when that one is taken.
    """

    def __init__(self, home: Path, service: str, address: Address) -> None:
        self._home = home
        self._address = address
        self._service = service
        self._pid = os.getpid()
        self._is_over = False
        self._lock = threading.Lock()
        self._served: Served | None = None
        self._folder = home / FOLDER / f"{service}-{socket.gethostname()}-{self._pid}-{time.time_ns():x}"
        self._folder.mkdir(parents=True)
        remove_stale(home)
        self._before = (os.environ.get(_VARIABLE), values.ValueClass)
        os.environ[_VARIABLE] = str(self._folder)
        _install()
        _Measuring.node = self
        self._files = MultiProcessCollector(None, str(self._folder))

    def begin_to_serve(self) -> None:
        """Let it be read from outside; a port that is taken costs the reading, never the work."""
        for address in (self._address, replace(self._address, port=0)):
            try:
                self._served = serve(self, address, self._home, self._service, self._folder)
                return
            except (TransientError, OSError) as error:
                _log.warning("%s", error)

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is stands in the files."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The sums over all processes, those that have ended too."""
        with self._lock:
            _add_up_the_dead(self._folder)
            return list(self._files.collect())

    def shutdown(self) -> None:
        """End it; in a forked child, nothing. Safe to call twice."""
        if os.getpid() != self._pid or self._is_over:
            return
        self._is_over = True
        metrics.uninstall()
        _Measuring.node = None
        variable, values.ValueClass = self._before
        os.environ.pop(_VARIABLE)
        if variable is not None:
            os.environ[_VARIABLE] = variable
        if self._served is not None:
            self._served.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Measuring:
    """The node whose process this is."""

    node: NodeMetrics | None = None


def _install() -> None:
    # The library chooses at its import, and by a variable that says nothing of who was imported first.
    values.ValueClass = values.MultiProcessValue(_Identity())
    metrics.install(CollectorRegistry())


def _install_in_a_child() -> None:
    """With instruments of its own: another thread of the parent may have held a lock of the inherited ones.

    Where its files cannot be made (the folder was removed, the disk is full), it measures nothing, and works.
    """
    if _Measuring.node is None:
        return
    metrics.uninstall()
    try:
        _install()
    except OSError as error:
        _Measuring.node = None
        _log.warning("this process measures nothing: %s", error)


os.register_at_fork(after_in_child=_install_in_a_child)


class _Identity:
    """A name for each process that no other ever had: numbers of processes are given again."""

    def __init__(self) -> None:
        self._pid = -1
        self._name = ""

    def __call__(self) -> str:
        pid = os.getpid()
        if pid != self._pid:
            self._pid, self._name = pid, f"{pid}-{time.time_ns():x}"
        return self._name


def _add_up_the_dead(folder: Path) -> None:
    dead = [file for file in sorted(folder.glob("*.db")) if not _is_alive(file)]
    if len(dead) <= MOST_DEAD_FILES:
        return
    for kind in {file.name.partition("_")[0] for file in dead}:
        files = [file for file in dead if file.name.startswith(f"{kind}_")]
        sums: Counter[str] = Counter()
        for file in files:
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
                sums[key] += value
        new = folder / f"{kind}_{_DEAD}-{time.time_ns():x}.db"
        written = MmapedDict(str(new.with_suffix(".new")))
        for key, total in sums.items():
            written.write_value(key, total, 0.0)
        written.close()
        new.with_suffix(".new").replace(new)
        for file in files:
            file.unlink()


def _is_alive(file: Path) -> bool:
    """Whether the process that writes the file is there; a stranger with its number harms nobody."""
    pid = file.stem.partition("_")[2].partition("-")[0]
    if not pid.isdecimal():
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    return False
