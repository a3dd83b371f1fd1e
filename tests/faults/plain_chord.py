"""``python -m tests.faults.plain_chord``: the same load and faults on a plain Celery chord and on Interlock.

A table for docs/reliability.md, or ``--json``. Each run has processes, servers and sinks of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from platform import python_version

from tests.branching_workflow import AGENTS
from tests.faults import plain_chord_interlock, plain_chord_peer
from tests.faults.plain_chord_load import STEP_SECONDS, Fault, Outcome, Scenario, SystemName

HOUR = 3600.0
SHORT = 1.0
MEASURES: dict[SystemName, Callable[[Scenario], Outcome]] = {
    "chord": plain_chord_peer.measure,
    "interlock": plain_chord_interlock.measure,
}
ROWS: tuple[tuple[SystemName, Fault, float | None], ...] = (
    ("chord", Fault.NONE, HOUR),
    ("interlock", Fault.NONE, None),
    ("chord", Fault.NONE, SHORT),
    ("interlock", Fault.NONE, SHORT),
    ("chord", Fault.WORKER_KILLED, HOUR),
    ("chord", Fault.WORKER_KILLED, SHORT),
    ("interlock", Fault.WORKER_KILLED, None),
    ("chord", Fault.FLUSHED, HOUR),
    ("interlock", Fault.FLUSHED, None),
    ("chord", Fault.CHILD_KILLED, HOUR),
    ("interlock", Fault.CHILD_KILLED, None),
)
WORDS = {
    Fault.NONE: "no fault",
    Fault.WORKER_KILLED: "a worker killed, with its children",
    Fault.FLUSHED: "one FLUSHALL",
    Fault.CHILD_KILLED: "four pool children killed",
}


@dataclass(frozen=True)
class Line:
    """One run and what came of it."""

    scenario: Scenario
    outcome: Outcome


def main() -> int:
    """Run all rows, or those of one fault, and print the table."""
    arguments = _arguments()
    if arguments.one:
        scenario = _scenario(json.loads(arguments.one))
        print(json.dumps(asdict(MEASURES[scenario.system](scenario))), flush=True)
        # Its pending results would be given back to a broker that is gone.
        os._exit(0)
    rows = [row for row in ROWS if not arguments.fault or row[1] == arguments.fault]
    lines = []
    for number, (system, fault, visibility) in enumerate(rows, start=1):
        scenario = Scenario(
            system, fault, visibility, arguments.workflows, arguments.deadline, arguments.seed
        )
        print(f"{number} of {len(rows)}: {_name(scenario)}, {_words(scenario)}", file=sys.stderr, flush=True)
        lines.append(Line(scenario, _apart(scenario)))
        print(f"    {lines[-1].outcome.evidence}", file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps({"about": _about(arguments), "runs": [asdict(line) for line in lines]}, indent=2))
    else:
        print(_table(lines, arguments))
    return 0 if all(_kept(line) for line in lines if line.scenario.system == "interlock") else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.plain_chord",
        description=(__doc__ or "").partition("\n\n")[2],
        epilog="Exits 1 when Interlock lost, doubled or left anything stuck. About 12 minutes in full.",
    )
    parser.add_argument("--workflows", type=int, default=24, help="how many in each run (24)")
    parser.add_argument(
        "--deadline", type=float, default=60, help="seconds to the end after the last began (60)"
    )
    parser.add_argument("--seed", type=int, default=7, help="chooses the pool children that are killed (7)")
    parser.add_argument(
        "--fault", choices=[fault.value for fault in Fault], help="only the rows of one fault"
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def _apart(scenario: Scenario) -> Outcome:
    """In a process of its own: a Celery application keeps connections to the first broker it met."""
    command = [sys.executable, "-m", "tests.faults.plain_chord", "--one", json.dumps(asdict(scenario))]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Outcome(**json.loads(printed.splitlines()[-1]))


def _scenario(said: dict[str, object]) -> Scenario:
    return Scenario(**{**said, "fault": Fault(str(said["fault"]))})  # type: ignore[arg-type]


def _kept(line: Line) -> bool:
    outcome = line.outcome
    return outcome.lost == outcome.stuck == outcome.doubled == 0


def _name(scenario: Scenario) -> str:
    return "Interlock" if scenario.system == "interlock" else "plain chord"


def _words(scenario: Scenario) -> str:
    if scenario.visibility_seconds == SHORT:
        return f"{WORDS[scenario.fault]}, visibility timeout 1 s".removeprefix("no fault, ")
    return WORDS[scenario.fault]


def _about(arguments: argparse.Namespace) -> dict[str, object]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "python": python_version(),
        "celery": version("celery"),
        "kombu": version("kombu"),
        "workflows": arguments.workflows,
        "step_seconds": STEP_SECONDS,
        "deadline_seconds": arguments.deadline,
        "seed": arguments.seed,
    }


def _table(lines: Sequence[Line], arguments: argparse.Namespace) -> str:
    calls = arguments.workflows * len(AGENTS)
    head = (
        f"| what happens | system | finished, of {arguments.workflows} | lost | stuck | effects doubled | in doubt"
        f" | repeats absorbed | model calls, of {calls} | messages again | seconds |"
    )
    about = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in _about(arguments).items())
    return "\n".join([about, "", head, "|" + "---|" * 11, *(_row(line) for line in lines)])


def _row(line: Line) -> str:
    outcome = line.outcome
    cells = (
        *(_words(line.scenario), _name(line.scenario)),
        *(outcome.finished, outcome.lost, outcome.stuck, outcome.doubled, outcome.in_doubt),
        *(outcome.absorbed, outcome.model_calls, outcome.redelivered, f"{outcome.seconds:.0f}"),
    )
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
