"""``python -m tests.unit.parsing.score``: how the parser does on the development set and on the typed set.

Where ``json_repair`` can be imported, it is scored on the development set as well; it is no dependency.
"""

from __future__ import annotations

import importlib
from typing import Any

from tests.unit.parsing.scoring import REJECTED, Case, Score, development_set, score, typed_set, untyped_set


def _told(name: str, counted: Score) -> None:
    print(f"{name}: {counted}")
    for kind, ids in (("wrong", counted.wrong), ("rejected", counted.rejected)):
        if ids:
            print(f"  {kind}: {', '.join(ids)}")


def main() -> None:
    """Print the scores."""
    cases = development_set()
    broken = [case for case in cases if not case.is_plain]
    _told("development set, plain JSON", score(case for case in cases if case.is_plain))
    _told("development set, the rest", score(broken))
    _told("untyped set", score(untyped_set()))
    _told("typed set", score(typed_set()))
    try:
        loads = importlib.import_module("json_repair").loads
    except ImportError:
        return

    def theirs(case: Case) -> Any:
        try:
            return loads(case.text)
        except (ValueError, RecursionError):
            return REJECTED

    _told("json_repair, the rest", score(broken, theirs))


if __name__ == "__main__":
    main()
