"""The whole service on one machine: servers, what must be done before, and the programs that keep running."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from app.kernel.errors import InterlockError
from app.supervisor.children import Children, Program, Say
from app.supervisor.embedded import EmbeddedServers
from app.supervisor.errors import AlreadyRunningError, PortInUseError, ProgramFailedError
from app.supervisor.lock import FolderLock
from app.supervisor.process import kill_group, stop_orphan, wait_until_gone
from app.supervisor.record import Recorded, RecordFile, ServiceRecord
from app.supervisor.run_folder import RunFolder

READY_SECONDS = 60.0
"""How long after their start the listening programs may take to listen."""

ORPHAN_SECONDS = 5.0
"""How long what a killed supervisor left behind may take to end after SIGTERM."""

DOWN_SECONDS = 60.0
"""How long a supervisor may take to end after SIGTERM."""

TICK_SECONDS = 0.2
SUPERVISOR = "supervisor"
_SERVERS = frozenset({"postgresql", "redis"})


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that a program will listen on. ``setting`` names the variable that moves it."""

    name: str
    host: str
    port: int
    setting: str

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. ``embed_*`` say which servers are ours; ``before`` runs to its end, in order.

    With ``together`` the programs start meanwhile; the service is ready when all is done, in either case.
    """

    folder: RunFolder
    cwd: Path
    before: tuple[Program, ...]
    programs: tuple[Program, ...]
    listeners: tuple[Listener, ...] = ()
    embed_postgresql: bool = True
    embed_redis: bool = True
    durable: bool = True
    together: bool = False


def _silent(_name: str, _line: str) -> None:
    return


class Service:
    """One service in one run folder, for as long as the ``with`` block lasts; call :meth:`tick` in between.

    Args:
        say: told every line that the programs write.
        abandoned: asked during the start; True ends it early (Ctrl-C).

    Raises:
        AlreadyRunningError, PortInUseError, MissingBinaryError, ServerStartError, ProgramFailedError: on
            entering; nothing is left running then.
    """

    def __init__(
        self, plan: Plan, *, say: Say = _silent, abandoned: Callable[[], bool] = lambda: False
    ) -> None:
        self._plan = plan
        self._say = say
        self._abandoned = abandoned
        self._servers = EmbeddedServers(
            plan.folder.home,
            durable=plan.durable,
            postgresql=plan.embed_postgresql,
            redis=plan.embed_redis,
        )
        self._children = Children(plan.folder, plan.cwd, say)
        self._lock = _lock(plan.folder)
        self._record = _record(plan.folder)
        self._ready = False

    @property
    def listens(self) -> dict[str, str]:
        """Where each part listens."""
        found = {listener.name: listener.url for listener in self._plan.listeners}
        if self._plan.embed_postgresql:
            found["postgresql"] = self._servers.database_url
        if self._plan.embed_redis:
            found["redis"] = self._servers.redis_url
        return found

    def start(self) -> None:
        """Start everything in order; when a part fails, nothing stays."""
        self._lock.acquire()
        try:
            stop_orphans(self._plan.folder)
            self._write_record()
            for listener in self._plan.listeners:
                _require_free(listener)
            self._servers.start()
            self._write_record()
            if self._plan.together:
                self._start_programs()
            for program in self._plan.before:
                self._children.run(program, abandoned=self._abandoned)
            if not self._plan.together:
                self._start_programs()
            self._wait_until_listening()
        except BaseException:
            self.stop()
            raise
        self._ready = True
        self._write_record()

    def tick(self) -> None:
        """Start again what died, servers first; pass on new output."""
        changed = self._children.tick()
        for name, server in (("postgresql", self._servers.postgresql), ("redis", self._servers.redis)):
            if server is not None and server.pid is None:
                self._say(name, "ended; starting it again")
                try:
                    server.start()
                except InterlockError as error:
                    self._say(name, str(error))
                changed = True
        if changed:
            self._write_record()

    def stop(self) -> None:
        """End the programs, then the servers; give the run folder free."""
        self._children.stop()
        self._servers.stop()
        self._record.clear()
        self._lock.release()

    def pids(self) -> dict[str, int]:
        """Every process that runs now, by name."""
        return self._servers.pids() | self._children.pids()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_programs(self) -> None:
        for program in self._plan.programs:
            if not self._abandoned():
                self._children.start(program)
        self._write_record()

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        missing = list(self._plan.listeners)
        while missing and not self._abandoned():
            self._children.tick()
            missing = [listener for listener in missing if not _listens(listener)]
            for listener in missing:
                if self._children.restarts().get(listener.name, 0) >= 2 or time.monotonic() > deadline:
                    raise ProgramFailedError(
                        f"{listener.name} does not come up on {listener.url}:"
                        f" {self._children.last_words(listener.name)}",
                        f"Read {self._children.log_of(listener.name)}.",
                    )
            if missing:
                time.sleep(0.05)

    def _write_record(self) -> None:
        pids = {SUPERVISOR: os.getpid()} | self.pids()
        self._record.write(pids, self._children.restarts(), self.listens, ready=self._ready)


def _lock(folder: RunFolder) -> FolderLock:
    return FolderLock(folder.run / "supervisor.lock", "Interlock")


def _record(folder: RunFolder) -> RecordFile:
    return RecordFile(folder.run / "service.json")


def recorded(folder: RunFolder) -> ServiceRecord:
    """What runs in a folder according to its record; the processes may have ended since."""
    return _record(folder).read()


def stop_orphans(folder: RunFolder) -> list[str]:
    """End what a killed supervisor left behind in this folder; returns the names.

    The caller holds the folder's lock, so whatever is alive has no owner.
    """
    orphans = [
        entry
        for entry in recorded(folder).processes
        if entry.name not in _SERVERS and entry.name != SUPERVISOR and entry.find() is not None
    ]
    _stop_together(orphans)
    return [entry.name for entry in orphans]


def _stop_together(orphans: Iterable[Recorded]) -> None:
    alive = [found for entry in orphans if (found := entry.find()) is not None]
    for process in alive:
        try:
            process.send_signal(signal.SIGTERM)
        except psutil.NoSuchProcess:
            continue
    deadline = time.monotonic() + ORPHAN_SECONDS
    for process in alive:
        if not wait_until_gone(process, deadline - time.monotonic()):
            stop_orphan(process, ())
        kill_group(process.pid)


def down(folder: RunFolder) -> list[str]:
    """End the service of a run folder, whoever owns it; returns the names of what was ended.

    Raises:
        AlreadyRunningError: its supervisor did not end in time, or cannot be found.
    """
    lock = _lock(folder)
    try:
        lock.acquire()
    except AlreadyRunningError:
        return _ask_the_supervisor(folder, lock)
    try:
        return _end_what_has_no_owner(folder)
    finally:
        lock.release()


def wipe(folder: RunFolder) -> None:
    """Remove what an earlier service left in its run folder, its data and its secrets included; the locks stay.

    Raises:
        AlreadyRunningError: a live process uses the folder; nothing is removed.
    """
    lock = _lock(folder)
    lock.acquire()
    try:
        _end_what_has_no_owner(folder)
        for part in (
            folder.postgres,
            folder.redis,
            folder.logs,
            folder.home / "secrets",
            folder.home / "metrics",
        ):
            if part.exists():
                shutil.rmtree(part)
    finally:
        lock.release()


def _end_what_has_no_owner(folder: RunFolder) -> list[str]:
    names = stop_orphans(folder) + EmbeddedServers(folder.home).stop_orphans_of_a_killed_owner()
    _record(folder).clear()
    return names


def _ask_the_supervisor(folder: RunFolder, lock: FolderLock) -> list[str]:
    record = recorded(folder)
    supervisor = record.process(SUPERVISOR)
    if supervisor is not None:
        supervisor.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + DOWN_SECONDS
    while True:
        try:
            lock.acquire()
        except AlreadyRunningError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
            continue
        lock.release()
        return [entry.name for entry in record.processes]


def _require_free(listener: Listener) -> None:
    with socket.socket(_family(listener.host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listener.host, listener.port))
        except OSError as error:
            raise PortInUseError(
                f"{listener.name} cannot listen on {listener.host}:{listener.port}: {error.strerror}.",
                f"Stop what holds the port, or choose another with {listener.setting}.",
            ) from error


def _listens(listener: Listener) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.host, listener.host)  # noqa: S104 - a comparison
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, listener.port)) == 0


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
