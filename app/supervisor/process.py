"""One process that we own: started so that it cannot outlive us unseen, and ended by its own id."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from app.supervisor.errors import MissingBinaryError

_PR_SET_PDEATHSIG = 1
"""prctl(2), Linux only."""

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a server runs as when we are root and it refuses to be."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Stopping:
    """How a process is asked to end: a signal, and how long it may take before the next."""

    signal: signal.Signals
    seconds: float


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    output: IO[bytes] | int,
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a process in its own session, which receives ``death_signal`` when its parent is killed (Linux).

    Its own session keeps the terminal's Ctrl-C from reaching it before the supervisor has decided the order.
    The kernel ties the death signal to the starting *thread*: start processes from one that lives on.

    Raises:
        MissingBinaryError: the program is not there or may not be executed.
    """
    try:
        return subprocess.Popen(  # noqa: S603 - the command lines are our own topology's
            list(argv),
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
            preexec_fn=_die_with_parent(os.getpid(), death_signal),
        )
    except (FileNotFoundError, PermissionError) as error:
        raise MissingBinaryError(
            f"The program {argv[0]} cannot be executed: {error.strerror}.",
            "Install the service's requirements again (make .venv), or check the file's permissions.",
        ) from error


def _die_with_parent(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    def before_exec() -> None:
        if _LIBC is None:
            return
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return before_exec


def stop(process: subprocess.Popen[bytes], steps: Sequence[Stopping]) -> None:
    """End a child of ours, one step after the other until it is gone, and its group with it."""
    for step in steps:
        if process.poll() is not None:
            break
        process.send_signal(step.signal)
        try:
            process.wait(step.seconds)
        except subprocess.TimeoutExpired:
            continue
    if process.poll() is None:
        process.kill()
        process.wait()
    kill_group(process.pid)


def kill_group(leader: int) -> None:
    """Kill what is left of the session that ``leader`` led."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def stop_orphan(orphan: psutil.Process, steps: Sequence[Stopping]) -> None:
    """End a process that is not a child of ours (its supervisor was killed)."""
    for step in (*steps, Stopping(signal.SIGKILL, 10.0)):
        try:
            orphan.send_signal(step.signal)
        except psutil.NoSuchProcess:
            return
        if wait_until_gone(orphan, step.seconds):
            return


def wait_until_gone(process: psutil.Process, seconds: float) -> bool:
    """True when it has ended; a zombie has, though the first process of a container may never collect it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
