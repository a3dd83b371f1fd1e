"""Remote control: inspection is answered, control is denied.

Whoever reaches the broker could otherwise shut workers down, revoke messages or change rates with one broadcast.
Workers are started and stopped by whoever runs their processes.
Source: docs.celeryq.dev/en/stable/userguide/workers.html#remote-control.
"""

from __future__ import annotations

from celery import signals
from celery.worker.control import Panel

_HARMLESS = frozenset({"heartbeat"})
"""A worker says that it is there; whoever begins to watch asks for it."""


def deny_control() -> None:
    """Take the control commands from this process's worker as it starts; a sender gets no answer to one."""
    signals.worker_init.connect(_take_control_commands, weak=False)


def _take_control_commands(**_: object) -> None:
    for name, command in list(Panel.meta.items()):
        if command.type == "control" and name not in _HARMLESS:
            Panel.data.pop(name, None)
