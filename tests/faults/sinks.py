"""The sinks under the service: one honours keys, one does not, and one acts and then never answers, now and then.

Each is a process of its own behind a proxy of its own, so that the way to it can fail, too.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from config.settings import CHECKOUT
from tests.faults.proxy import Proxy, Tcp


@dataclass(frozen=True, slots=True)
class SinkKind:
    """How a sink treats its callers, as options of ``python -m app sink``."""

    name: str
    honours_keys: bool
    options: tuple[str, ...]


def three_kinds(hang_every: int) -> tuple[SinkKind, ...]:
    """The targets of the harness's workflow; every so many-th request to the siren is never answered."""
    forgetful = ("--no-honours-keys",)
    return (
        SinkKind("ledger", True, ()),
        SinkKind("pager", False, forgetful),
        SinkKind("siren", False, (*forgetful, "--act-then-hang-every", str(hang_every))),
    )


class SinkUnderTest:
    """One sink and the proxy in front of it."""

    def __init__(self, kind: SinkKind, folder: Path) -> None:
        self.kind = kind
        self.history = folder / f"{kind.name}.jsonl"
        self._log = folder / f"{kind.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.proxy: Proxy

    @property
    def url(self) -> str:
        """Where the service finds it: through the proxy."""
        assert isinstance(self.proxy.address, Tcp)
        return f"http://127.0.0.1:{self.proxy.address.port}"

    def begin(self) -> None:
        """Start the process, without waiting for it."""
        command = [sys.executable, "-m", "app.cli.sink", "--history", str(self.history), "--answers"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *self.kind.options], cwd=CHECKOUT, stdout=log, stderr=subprocess.STDOUT
            )

    def ready(self) -> None:
        """Wait until it listens, and start the proxy. Raises AssertionError when it ended instead."""
        assert self._process is not None
        while b"\n" not in self._log.read_bytes():
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.02)
        port = int(self._log.read_text().splitlines()[0].rpartition(":")[2])
        self.proxy = Proxy(Tcp(), Tcp(port))
        self.proxy.start()

    def stop(self) -> None:
        """End both."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            if hasattr(self, "proxy"):
                self.proxy.stop()
