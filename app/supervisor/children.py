"""The programs of a service as children of one process: started, watched, started again, ended together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.supervisor.errors import ProgramFailedError
from app.supervisor.process import Stopping, kill_group, spawn, stop
from app.supervisor.run_folder import RunFolder

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 15.0
"""A program that ran this long before it died is started again without a pause."""

LARGEST_LOG_BYTES = 20_000_000
"""A log file larger than this is set aside (one old one is kept) when its program starts."""

Say = Callable[[str, str], None]
"""Told a program's name and one line of its output."""


@dataclass(frozen=True, slots=True)
class Program:
    """A command line of the topology and how it is run.

    Args:
        argv: ``celery`` and ``python`` as the first word mean this virtual environment's.
        env: added to the environment that the child inherits.
        stop_seconds: how long after SIGTERM it may take to end.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 20.0

    def command(self) -> list[str]:
        """The command line for this machine."""
        match self.argv:
            case ("python", *rest):
                return [sys.executable, *rest]
            case ("celery", *rest):
                return [sys.executable, "-m", "celery", *rest]
            case _:
                return list(self.argv)


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    started: float
    read_to: int
    rest: bytes = b""
    restarts: int = 0
    pause: float = FIRST_PAUSE_SECONDS
    again_at: float | None = None


class Children:
    """Runs programs and keeps them running.

    Nothing happens between calls: whoever owns this calls :meth:`tick` a few times a second, from the thread
    that started the children (the kernel ends them with that thread).

    Args:
        folder: where their log files go (``logs/<name>.log``).
        cwd: the folder they are started in.
        say: told every line that they write, and what becomes of them.
    """

    def __init__(self, folder: RunFolder, cwd: Path, say: Say = lambda _name, _line: None) -> None:
        self._folder = folder
        self._cwd = cwd
        self._say = say
        self._children: dict[str, _Child] = {}

    def start(self, program: Program) -> int:
        """Start a program; returns its pid. Raises MissingBinaryError."""
        self._folder.logs.mkdir(parents=True, exist_ok=True)
        log = self.log_of(program.name)
        if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
            log.replace(log.with_suffix(".log.old"))
        with log.open("ab") as output:
            begin = output.tell()
            process = spawn(program.command(), cwd=self._cwd, output=output, env=self._environment(program))
        self._children[program.name] = _Child(program, process, time.monotonic(), begin)
        return process.pid

    def run(self, program: Program, *, abandoned: Callable[[], bool] = lambda: False) -> None:
        """Run a program to its end, as a step before the others; ended early when ``abandoned`` says so.

        Raises:
            ProgramFailedError: it ended with an error; its last lines are in the message.
        """
        self.start(program)
        child = self._children[program.name]
        while child.process.poll() is None:
            if abandoned():
                stop(child.process, (Stopping(signal.SIGTERM, 5.0),))
                break
            time.sleep(0.02)
        self._tail(child)
        del self._children[program.name]
        if child.process.returncode != 0 and not abandoned():
            raise ProgramFailedError(
                f"{program.name} ended with {child.process.returncode}: {self.last_words(program.name)}",
                f"Read {self.log_of(program.name)}.",
            )

    def tick(self) -> bool:
        """Pass on new output and start again what died; True when a process was started or lost."""
        changed = False
        for child in list(self._children.values()):
            self._tail(child)
            if child.process.poll() is None:
                continue
            if child.again_at is None:
                kill_group(child.process.pid)
                self._plan_restart(child)
                changed = True
            elif time.monotonic() >= child.again_at:
                self._restart(child)
                changed = True
        return changed

    def stop(self, *names: str) -> None:
        """End these programs, or all, at once: SIGTERM to each, then SIGKILL to what outstays its time."""
        ending = [child for name, child in self._children.items() if not names or name in names]
        for child in ending:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        for child in ending:
            left = max(0.1, child.program.stop_seconds - (time.monotonic() - begin))
            try:
                child.process.wait(left)
            except subprocess.TimeoutExpired:
                self._say(child.program.name, f"did not end within {child.program.stop_seconds:g} s: killed")
            stop(child.process, (Stopping(signal.SIGKILL, 5.0),))
            self._tail(child)
            del self._children[child.program.name]

    def pids(self) -> dict[str, int]:
        """The programs that run now."""
        return {
            name: child.process.pid for name, child in self._children.items() if child.process.poll() is None
        }

    def restarts(self) -> dict[str, int]:
        """How often each was started again."""
        return {name: child.restarts for name, child in self._children.items()}

    def log_of(self, name: str) -> Path:
        """Where a program's output is kept."""
        return self._folder.logs / f"{name}.log"

    def last_words(self, name: str) -> str:
        """The end of a program's output, for an error's message."""
        lines = self.log_of(name).read_bytes()[-4000:].decode(errors="replace").strip().splitlines()
        return " / ".join(line.strip() for line in lines[-3:]) or "it said nothing."

    def _environment(self, program: Program) -> dict[str, str]:
        return {
            **os.environ,
            "INTERLOCK_HOME": str(self._folder.home),
            "PYTHONUNBUFFERED": "1",
            **program.env,
        }

    def _plan_restart(self, child: _Child) -> None:
        ran = time.monotonic() - child.started
        if ran >= STEADY_SECONDS:
            child.pause = FIRST_PAUSE_SECONDS
        child.again_at = time.monotonic() + (0.0 if ran >= STEADY_SECONDS else child.pause)
        self._say(child.program.name, f"ended with {child.process.returncode}; starting it again")
        child.pause = min(child.pause * 2, LONGEST_PAUSE_SECONDS)

    def _restart(self, child: _Child) -> None:
        self.start(child.program)
        fresh = self._children[child.program.name]
        fresh.restarts = child.restarts + 1
        fresh.pause = child.pause

    def _tail(self, child: _Child) -> None:
        with self.log_of(child.program.name).open("rb") as log:
            log.seek(child.read_to)
            fresh = log.read()
        child.read_to += len(fresh)
        *lines, child.rest = (child.rest + fresh).split(b"\n")
        for line in lines:
            self._say(child.program.name, line.decode(errors="replace"))
