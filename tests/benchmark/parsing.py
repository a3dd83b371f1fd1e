"""What reading answers costs: long ones that are nearly JSON, and hostile ones of 5 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from app.data_plane.parsing.answer import read, read_as
from tests.unit.parsing.hostile_answers import NAMES, hostile_answer
from tests.unit.parsing.long_answers import SCHEMA, long_answers

ROOT = Path(__file__).parents[2]
LONG = 1_000_000
HOSTILE = (5_000_000, 1_150_000)
"""Beyond what is read at all, and as long as is read."""
_ONE = "import sys; from tests.benchmark.parsing import one; one(sys.argv[1], int(sys.argv[2]))"


@dataclass(frozen=True)
class Reading:
    """Seconds of one reading, with what it was of."""

    name: str
    characters: int
    seconds: float
    megabytes: int = 0


def long_readings() -> Iterator[Reading]:
    """Answers of 1 MB, however they are written."""
    for answer in long_answers(LONG):
        for way, schema in (("read", None), ("read_as", SCHEMA)):
            started = perf_counter()
            if schema is None:
                read(answer.text)
            else:
                read_as(answer.text, schema)
            yield Reading(f"{answer.name}, {way}", len(answer.text), perf_counter() - started)


def hostile_readings(size: int, every: int) -> list[Reading]:
    """Hostile answers of one size, each read with and without a schema in a process of its own."""
    found: list[Reading] = []
    for name in NAMES[::every]:
        done = subprocess.run(
            [sys.executable, "-c", _ONE, name, str(size)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, megabytes = json.loads(done.stdout)
        found.append(Reading(name, size, seconds, megabytes))
    return found


def one(name: str, size: int) -> None:
    """Read one hostile answer both ways and print the slower one's seconds and the peak memory."""
    import resource

    text = hostile_answer(name, size)
    seconds = []
    for way in (lambda: read(text), lambda: read_as(text, SCHEMA)):
        started = perf_counter()
        way()
        seconds.append(perf_counter() - started)
    print(json.dumps([max(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))
