"""Planted bugs of what agents' runs call for: the hand-over, the key, the wake, and a run that is taken up again."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

from tests.faults.inside.planting import Change, Switches

KEY_HEADER = "Idempotency-Key"


def changed_calls(changes: Sequence[Any], bugs: Switches) -> list[Any]:
    """Changes as they are committed when one of these bugs is there."""
    for name, bug in _BUGS.items():
        if bugs.on(name):
            changes = [bug(change, bugs) for change in changes]
    return list(changes)


def _without_wake(change: Any, bugs: Switches) -> Any:
    if not change.wake:
        return change
    bugs.met("lose_the_wake")
    return replace(change, wake=())


def _without_the_runs_facts(change: Any, bugs: Switches) -> Any:
    """The orchestration knows of a call, and the run's own chain does not."""
    if change.run is None or not (change.settle == "wait" or any(map(_is_handed_over, change.run.facts))):
        return change
    bugs.met("hand_over_alone")
    return replace(change, run=None)


def _is_handed_over(fact: Any) -> bool:
    return bool(fact.kind == "tool_called" and fact.verdict == "handed_over")


_BUGS: dict[str, Callable[[Any, Switches], Any]] = {
    "lose_the_wake": _without_wake,
    "hand_over_alone": _without_the_runs_facts,
}


def with_another_key(delivery: Any) -> Any:
    """The same delivery under a key that was drawn for it."""
    key = f"key_{secrets.token_hex(16)}"
    return replace(delivery, idempotency_key=key, headers={**delivery.headers, KEY_HEADER: key})


def with_other_arguments(delivery: Any) -> Any:
    """The same delivery with something else in it."""
    return replace(delivery, body=b'{"planted":true}')


def change_authorisation(module: ModuleType, bugs: Switches) -> None:
    """The key of an effect is drawn when it is permitted, and not derived."""
    derived = module.idempotency_key

    def changed(*parts: Any) -> str:
        if not bugs.on("draw_the_key"):
            return str(derived(*parts))
        bugs.met("draw_the_key")
        return f"key_{secrets.token_hex(16)}"

    vars(module)["idempotency_key"] = changed


def change_run(module: ModuleType, bugs: Switches) -> None:
    """A run that is begun again, after a crash or a wait, asks its model anew and calls once more."""
    take_up = module._take_up

    def changed(run: Any, facts: Sequence[Any], answers: Any) -> None:
        if bugs.on("ask_again") and any(fact.kind == "tool_called" for fact in facts):
            bugs.met("ask_again")
            return
        take_up(run, facts, answers)

    vars(module)["_take_up"] = changed


CHANGES: dict[str, Change] = {
    "app.data_plane.orchestration.authorisation": change_authorisation,
    "app.data_plane.agent_runs.run": change_run,
}
"""By the module that each changes."""
