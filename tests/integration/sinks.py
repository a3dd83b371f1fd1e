"""A real sink as its own process, for as long as a block lasts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.settings import CHECKOUT
from tests.eventually import assert_eventually


@contextmanager
def a_sink(log: Path, *options: str) -> Iterator[str]:
    """Start a sink with these options; gives its address."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli.sink", *options],
            cwd=CHECKOUT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        assert_eventually(lambda: b"\n" in log.read_bytes() or process.poll() is not None, what="the sink")
        yield log.read_text().splitlines()[0]
    finally:
        process.terminate()
        process.wait(10)
