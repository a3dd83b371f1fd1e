"""``python -m tests.faults``: the matrix of crashes, every kind of fault, the storm, and what the checker sees."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.faults import matrix, one_by_one, planted, report, stimuli, storm
from tests.faults.service import Options
from tests.faults.trial import Trial
from tests.faults.workers import one_for_all

console = Console()
progress = Console(stderr=True, highlight=False)


AROUND_SECONDS = 150.0
"""What a storm takes besides: the service's start, and the last ends."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was asked for."""

    parts: tuple[str, ...]
    seed: int
    workflows: int
    faults: int
    minutes: float
    restarts: int
    keep: Path | None


@dataclass(frozen=True, slots=True)
class Result:
    """One part's figures, and what keeps it from being a pass."""

    figures: dict[str, object]
    failures: list[str]


def run_matrix(chosen: Chosen, show: Console) -> Result:
    """Every registered fault point of every queue, in a worker process and in a pool's child."""
    with Trial(seed=chosen.seed, keep=chosen.keep) as trial:
        stimuli.clean_run(trial, "clean")
        of_workers = matrix.run(trial, matrix.all_cells("api", "worker"), tell)
    report.show_matrix(show, of_workers)
    with Trial(Options(beside=one_for_all("prefork")), seed=chosen.seed, keep=chosen.keep) as trial:
        of_children = matrix.run(trial, matrix.all_cells("child"), tell)
    report.show_matrix(show, of_children)
    figures: dict[str, object] = {"workers": of_workers.as_json(), "children": of_children.as_json()}
    return Result(figures, [*of_workers.failures, *of_children.failures])


def run_one_by_one(chosen: Chosen, show: Console) -> Result:
    """Every kind of fault alone."""
    options = Options(proxied=True, beside=one_for_all("prefork"))
    with Trial(options, seed=chosen.seed, keep=chosen.keep) as trial:
        kinds = one_by_one.every_kind(trial.service, chosen.restarts)
        found = one_by_one.run(trial, kinds, chosen.seed, tell)
    report.show_one_by_one(show, found)
    return Result(found.as_json(), found.failures)


def run_storm(chosen: Chosen, show: Console) -> Result:
    """Many workflows under many random faults."""
    seconds = max(chosen.minutes * 30, chosen.minutes * 60 - AROUND_SECONDS)
    plan = storm.Plan(chosen.workflows, chosen.faults, seconds, chosen.seed)
    options = Options(proxied=True, beside=one_for_all("prefork"))
    with Trial(options, seed=chosen.seed, keep=chosen.keep) as trial:
        found = storm.run(trial, plan, tell)
    report.show_storm(show, found)
    return Result(found.as_json(), found.failures)


def run_planted(chosen: Chosen, show: Console) -> Result:
    """Every planted bug."""
    options = Options(planted=True, hang_every=3)
    with Trial(options, seed=chosen.seed, keep=chosen.keep) as trial:
        seen = planted.run(trial, planted.BUGS, tell)
    report.show_planted(show, seen)
    unseen = [f"{one.bug} was not seen" for one in seen if not one.is_seen]
    return Result({"bugs": [one.as_json() for one in seen]}, unseen)


PARTS: dict[str, Callable[[Chosen, Console], Result]] = {
    "planted": run_planted,
    "matrix": run_matrix,
    "kinds": run_one_by_one,
    "storm": run_storm,
}


def tell(line: str) -> None:
    """Progress, as it comes."""
    progress.print(f"{time.strftime('%H:%M:%S')} {line}", markup=False, soft_wrap=True)


def main() -> None:
    """Run the parts and print what was seen; exits with 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; without any, all")
    parser.add_argument(
        "--seed", type=int, default=1, help="draws the storm's faults; the same gives the same"
    )
    parser.add_argument("--workflows", type=int, default=200, help="of the storm")
    parser.add_argument("--faults", type=int, default=20, help="of the storm, each with evidence")
    parser.add_argument("--minutes", type=float, default=4.0, help="that the storm takes at most")
    parser.add_argument(
        "--restarts", type=int, default=one_by_one.RESTARTS, help="of each server, among the kinds"
    )
    parser.add_argument("--keep", type=Path, help="keep logs, histories and evidence in this folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    chosen = Chosen(
        tuple(asked.parts) or tuple(PARTS),
        asked.seed,
        asked.workflows,
        asked.faults,
        asked.minutes,
        asked.restarts,
        asked.keep,
    )
    show = Console(quiet=True) if asked.json else console
    results = {}
    for part in chosen.parts:
        progress.rule(part)
        results[part] = PARTS[part](chosen, show)
    if asked.json:
        print(json.dumps({name: found.figures for name, found in results.items()}, default=str))
    failures = [f"{name}: {failure}" for name, found in results.items() for failure in found.failures]
    for failure in failures:
        progress.print(f"Failed: {failure}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
