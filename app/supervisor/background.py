"""A service that goes on when the terminal is closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from app.supervisor.errors import ProgramFailedError
from app.supervisor.run_folder import RunFolder
from app.supervisor.service import recorded

START_SECONDS = 180.0


def start_in_background(folder: RunFolder, cwd: Path, options: Sequence[str] = ()) -> dict[str, str]:
    """Run ``up`` in a process of its own and wait until it is ready; returns where its parts listen.

    Raises:
        ProgramFailedError: it ended instead; its own error is repeated.
    """
    folder.logs.mkdir(parents=True, exist_ok=True)
    log = folder.logs / "supervisor.log"
    with log.open("ab") as output:
        begin = output.tell()
        started = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "app", "up", "--json", *options],
            cwd=cwd,
            env={**os.environ, "INTERLOCK_HOME": str(folder.home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and started.poll() is None:
        record = recorded(folder)
        supervisor = record.process("supervisor")
        if record.ready and supervisor is not None and supervisor.pid == started.pid:
            return dict(record.listens or {})
        time.sleep(0.05)
    said = log.read_bytes()[begin:].decode(errors="replace").strip()
    if started.poll() is None:
        started.terminate()
        started.wait()
        raise ProgramFailedError(f"The service was not ready within {START_SECONDS:g} s.", f"Read {log}.")
    raise _repeated(said, log)


def _repeated(said: str, log: Path) -> ProgramFailedError:
    try:
        error = json.loads(said.splitlines()[-1])["error"]
        return ProgramFailedError(str(error["what"]), str(error["remedy"]))
    except (ValueError, KeyError, TypeError, IndexError):
        return ProgramFailedError(
            f"The service did not start: {said[-300:] or 'it said nothing'}.", f"Read {log}."
        )
