"""How bugs get into a running service: its modules are changed as they are imported, each bug switched by a file.

A bug ``<name>`` is there while the file ``<folder>/on/<name>`` is. Each time that it makes a difference it writes a
line of evidence: a planted bug counts only when it was met.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


class Switches:
    """Which bugs are there now."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def on(self, name: str) -> bool:
        """Whether the bug is to be met."""
        return os.path.exists(f"{self._folder}/on/{name}")  # noqa: PTH110 - on the way of every unit of work

    def take(self, name: str) -> bool:
        """Switch it off: True for the one process that did."""
        try:
            os.unlink(f"{self._folder}/on/{name}")  # noqa: PTH108
        except FileNotFoundError:
            return False
        return True

    def met(self, name: str) -> None:
        """It makes a difference now."""
        line = json.dumps({"bug": name, "pid": os.getpid(), "at": time.time()}).encode() + b"\n"
        with self._lock:
            written = os.open(f"{self._folder}/met.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(written, line)
            os.fsync(written)
            os.close(written)


Change = Callable[[ModuleType, Switches], None]


def plant(folder: str) -> None:
    """Let the bugs into whatever of the product this process imports from now on."""
    from tests.faults.inside.bugs import CHANGES

    sys.meta_path.insert(0, _Changing(CHANGES, Switches(folder)))


class _Changing(importlib.abc.MetaPathFinder):
    """Finds the modules that are to be changed, and changes each after it was executed."""

    def __init__(self, changes: dict[str, Change], switches: Switches) -> None:
        self._changes = changes
        self._switches = switches
        self._finding: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Called by the import system."""
        change = self._changes.get(fullname)
        if change is None or fullname in self._finding:
            return None
        self._finding.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._finding.discard(fullname)
        if spec is not None and spec.loader is not None:
            _execute_and_change(spec.loader, change, self._switches)
        return spec


def _execute_and_change(loader: Any, change: Change, switches: Switches) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        change(module, switches)

    loader.exec_module = exec_module
