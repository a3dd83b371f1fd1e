"""A small service under the real supervisor, as its own process, so that tests can kill it.

Run as ``python -m tests.integration.a_service HOME PORT``; prints ``ready`` when it is up, ends on SIGTERM.
Its programs are a listener, and one that ignores SIGTERM: the hardest kind to leave no trace of.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from app.supervisor.children import Program
from app.supervisor.run_folder import RunFolder
from app.supervisor.service import TICK_SECONDS, Listener, Plan, Service
from tests.eventually import assert_eventually

LISTENER = """
import socket, sys, time
door = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    door.accept()[0].close()
"""

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("stubborn", flush=True)
while True:
    time.sleep(1)
"""


def plan(home: Path, port: int, before: tuple[Program, ...] = ()) -> Plan:
    """Both embedded servers, a listener and a program that ignores SIGTERM."""
    return Plan(
        folder=RunFolder(home),
        cwd=Path.cwd(),
        before=before,
        programs=(
            Program("listener", ("python", "-c", LISTENER, str(port))),
            Program("stubborn", ("python", "-c", STUBBORN), stop_seconds=0.5),
        ),
        listeners=(Listener("listener", "127.0.0.1", port, "THE_PORT"),),
        durable=False,
    )


def main() -> None:
    """Run until SIGTERM."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    home = Path(sys.argv[1])
    with Service(plan(home, int(sys.argv[2]))) as service:
        stubborn = RunFolder(home).logs / "stubborn.log"
        assert_eventually(lambda: b"stubborn" in stubborn.read_bytes(), what="SIGTERM is ignored")
        print("ready", flush=True)
        while not asked:
            service.tick()
            time.sleep(TICK_SECONDS)


if __name__ == "__main__":
    main()
