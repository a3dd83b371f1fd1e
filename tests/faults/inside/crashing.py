"""The hook behind the product's fault points: a process that comes to an armed point ends itself there, once.

Every point that a process passes is noted, armed or not: an empty file ``<folder>/passed/<queue>.<point>``.

A point is armed by a file ``<folder>/armed/<queue>.<point>``. Whoever takes the file (a rename: one process only)
writes and syncs a line of evidence, and then does what the file's text says.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

from app.kernel import fault_points
from app.kernel.fault_points import FaultPoint

_is_pool_child = False
_passed: set[str] = set()


def arm_this_process(folder: str) -> None:
    """Let every point that this process reaches look whether it is armed in ``folder``."""

    def hook(point: FaultPoint, queue: str) -> None:
        _reached(folder, f"{queue}.{point.value}")

    os.register_at_fork(after_in_child=_note_fork)
    fault_points.arm(hook)


def _note_fork() -> None:
    global _is_pool_child
    _is_pool_child = True


def _reached(folder: str, name: str) -> None:
    if name not in _passed:
        _passed.add(name)
        os.close(os.open(f"{folder}/passed/{name}", os.O_WRONLY | os.O_CREAT, 0o600))
    armed = f"{folder}/armed/{name}"
    try:
        with open(armed) as file:  # noqa: PTH123 - on the way of every unit of work: the cheapest look there is
            act, _, only = file.read().partition(" ")
    except FileNotFoundError:
        return
    if only and only != _role():
        return
    try:
        os.rename(armed, f"{folder}/taken/{name}.{time.time_ns()}")  # noqa: PTH104
    except FileNotFoundError:
        return
    _write_evidence(f"{folder}/struck.jsonl", name, act)
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)


def _role() -> str:
    if _is_pool_child:
        return "child"
    return "api" if "uvicorn" in sys.argv[0] else "worker"


def _write_evidence(path: str, name: str, act: str) -> None:
    queue, _, point = name.partition(".")
    line = {
        "point": point,
        "queue": queue,
        "act": act,
        "pid": os.getpid(),
        "role": _role(),
        "program": " ".join(sys.argv)[-400:],
        "thread": threading.get_ident(),
        "at": time.time(),
    }
    written = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(written, json.dumps(line).encode() + b"\n")
    os.fsync(written)
    os.close(written)
