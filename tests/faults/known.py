"""All that is known from outside, for the rules to judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tests.faults.records import Accepted, Action, Database, Request


@dataclass(frozen=True, slots=True)
class Window:
    """When a fault lasted, and what it touched."""

    at: float
    until: float
    touches: frozenset[str]


@dataclass(frozen=True)
class Evidence:
    """All that is known from outside."""

    accepted: Mapping[tuple[str, str], Accepted]
    requests: Sequence[Request]
    database: Database
    honouring: Mapping[str, bool]
    faults: Sequence[Window]

    @cached_property
    def actions(self) -> list[Action]:
        """Every action that was authorised."""
        return [
            action
            for orchestration in self.database.orchestrations.values()
            for action in orchestration.actions.values()
        ]

    @cached_property
    def requests_of(self) -> Mapping[tuple[str, str], list[Request]]:
        """What a sink received, by (sink, key), in its order."""
        found: dict[tuple[str, str], list[Request]] = defaultdict(list)
        for request in self.requests:
            found[request.sink, request.key].append(request)
        return found

    def applied(self, action: Action) -> list[Request]:
        """The requests by which the action's target applied it."""
        return [
            one for one in self.requests_of.get((action.target, action.key), []) if one.outcome == "applied"
        ]
