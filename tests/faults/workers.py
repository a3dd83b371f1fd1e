"""Worker processes that the harness runs beside those of ``up``, as a team that scales does; what dies starts again.

``up`` waits longer and longer before it starts again what dies often. Here it is at once: another worker is what a team
has for that, and the harness kills more in a minute than a year does.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.cli.plan import worker_program
from app.data_plane.ports import Queue
from app.supervisor.children import Program
from app.supervisor.process import Stopping, spawn, stop
from config.settings import CHECKOUT, Settings
from config.topology import Pool, WorkerGroup

TICK_SECONDS = 0.1


def one_for_all(pool: Pool = "threads", concurrency: int = 4) -> tuple[WorkerGroup, ...]:
    """One process for every queue."""
    return (WorkerGroup("second", tuple(Queue), pool, concurrency),)


class Beside:
    """Worker processes of the harness's own, started and watched by one thread."""

    def __init__(
        self, groups: Sequence[WorkerGroup], settings: Settings, environment: Mapping[str, str], logs: Path
    ) -> None:
        self._programs = {group.name: worker_program(group, settings) for group in groups}
        self._environment = environment
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        # The kernel ends a process with the thread that started it: one thread starts them all, and lives on.
        self._thread = threading.Thread(target=self._watch, name="beside", daemon=True)

    def start(self) -> None:
        """Start them all, and keep them running."""
        self._thread.start()

    def stop(self) -> None:
        """End them all: SIGTERM to each at once, then what outstays its time is killed."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(10)
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            stop(process, (Stopping(signal.SIGTERM, 20.0),))

    def pids(self) -> dict[str, int]:
        """Those that run, by name."""
        with self._lock:
            return {name: process.pid for name, process in self._processes.items() if process.poll() is None}

    def _watch(self) -> None:
        while not self._ended.is_set():
            for name, program in self._programs.items():
                with self._lock:
                    running = self._processes.get(name)
                    if running is None or running.poll() is not None:
                        self._processes[name] = self._spawn(program)
            self._ended.wait(TICK_SECONDS)

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        with (self._logs / f"{program.name}.log").open("ab") as log:
            return spawn(
                program.command(),
                cwd=CHECKOUT,
                output=log,
                env={**self._environment, **program.env},
            )
