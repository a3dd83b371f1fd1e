"""What the checker reads: the generator's history, the sinks' histories, the evidence of faults, and PostgreSQL.

Nothing here knows the product's code: the formats are those of the files and of the tables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.runs import Proposed, Run, proposed_by

FINAL = frozenset({"completed", "failed", "dead_lettered", "cancelled"})
"""The states in which an orchestration is over."""


@dataclass(frozen=True, slots=True)
class SinkFile:
    """A sink's history, and whether that sink honours keys."""

    name: str
    path: Path
    honours_keys: bool


@dataclass(slots=True)
class Request:
    """One request as a sink received it. ``answered_at`` is None when its answer was never handed over."""

    sink: str
    number: int
    outcome: str
    key: str
    orchestration: str
    tool: str
    at: float
    answered_at: float | None = None
    body_digest: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """One fact about an action, in the journal's order."""

    kind: str
    attempt: int
    at: float
    answer: str = ""
    """Of a probe, or of the person who settled it."""


@dataclass(slots=True)
class Action:
    """An action as the journal has it."""

    action_id: str
    orchestration_id: str
    target: str
    tool: str
    key: str
    moments: list[Moment] = field(default_factory=list)
    arguments: str = ""
    """Their digest."""
    run_id: str = ""
    """Of the run whose model called for it; empty when the decision asks for it."""

    @property
    def state(self) -> str:
        """What became of it, by its last fact."""
        return _STATE_AFTER[self.moments[-1].kind] if self.moments else "authorised"

    @property
    def applied(self) -> bool:
        """What the last probe or person said, where one did."""
        return bool(self.moments) and self.moments[-1].answer == "applied"


_STATE_AFTER = {
    "delivery_started": "sending",
    "delivery_confirmed": "confirmed",
    "delivery_retried": "authorised",
    "delivery_failed": "failed",
    "delivery_in_doubt": "in_doubt",
    "delivery_probed": "settled",
    "action_settled": "settled",
}


@dataclass(slots=True)
class Orchestration:
    """An orchestration's row and what its journal says of it."""

    orchestration_id: str
    tenant: str
    event_id: str
    workflow: str
    lane: str
    status: str
    closed_at: float | None
    created_at: float
    actions: dict[str, Action] = field(default_factory=dict)
    calls: dict[str, Proposed] = field(default_factory=dict)
    """By action id: what its runs have called for."""
    denied: set[str] = field(default_factory=set)
    """The actions that the policy, or people, did not permit."""
    has_decision: bool = False
    is_closed_in_journal: bool = False
    chain_is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event whose sender was told that it is taken."""

    id: str
    tenant: str
    at: float
    """When the first 2xx was there."""
    orchestrations: tuple[frozenset[str], ...]
    """The answers' orchestrations, each of them."""


@dataclass(frozen=True, slots=True)
class Database:
    """What PostgreSQL holds."""

    events: frozenset[tuple[str, str]]
    """(tenant, event id)."""
    orchestrations: Mapping[str, Orchestration]
    action_states: Mapping[str, str]
    """By action id, as the read model has them."""
    dead_letters: int
    runs: Mapping[str, Run] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)
    """By run: the orchestration of each that waits to be woken."""


def read_accepted(histories: Sequence[Path]) -> dict[tuple[str, str], Accepted]:
    """The events that were answered with 2xx, by (tenant, event id)."""
    found: dict[tuple[str, str], Accepted] = {}
    for line in _lines(histories):
        if not 200 <= line["status"] < 300:
            continue
        key = (line["tenant"], line["id"])
        answer = frozenset(line["orchestrations"])
        before = found.get(key)
        at = line["answered_at"] if before is None else min(before.at, line["answered_at"])
        answers = (*(before.orchestrations if before is not None else ()), answer)
        found[key] = Accepted(line["id"], line["tenant"], at, answers)
    return found


def read_requests(sinks: Sequence[SinkFile]) -> list[Request]:
    """What the sinks received, in each sink's order."""
    requests: list[Request] = []
    for sink in sinks:
        of_sink: dict[int, Request] = {}
        for line in _lines([sink.path]):
            if "answered" in line:
                of_sink[line["answered"]].answered_at = line["at"]
                continue
            of_sink[line["number"]] = Request(
                sink.name,
                line["number"],
                line["outcome"],
                line["key"],
                line["orchestration"],
                line["tool"],
                line["at"],
                body_digest=line["body_digest"],
            )
        requests += of_sink.values()
    return requests


def read_faults(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The evidence of faults that hit."""
    return [line for line in _lines(paths) if line["hit"]]


def read_database(url: str) -> Database:
    """Everything that is checked, in one snapshot. ``url`` must be the owner's: row-level security hides nothing."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        events = connection.execute("SELECT tenant_id, event_id FROM events").fetchall()
        rows = connection.execute(
            "SELECT orchestration_id, tenant_id, event_id, workflow, lane, status,"
            " extract(epoch FROM closed_at)::float8,"
            " extract(epoch FROM created_at)::float8 FROM orchestrations"
        ).fetchall()
        orchestrations = {row[0]: Orchestration(*row) for row in rows}
        runs: dict[str, Run] = {}
        journal = connection.execute("SELECT chain_id, seq, body, hash FROM journal ORDER BY chain_id, seq")
        _read_journal(journal, orchestrations, runs)
        waiting = connection.execute(
            "SELECT step_id, orchestration_id FROM work_index"
            " WHERE queue = 'agent_runs' AND due_at = 'infinity' AND finished_at IS NULL"
        ).fetchall()
        states = connection.execute("SELECT action_id, state FROM actions").fetchall()
        dead = connection.execute("SELECT count(*) FROM dead_letters").fetchall()
    return Database(frozenset(events), orchestrations, dict(states), dead[0][0], runs, dict(waiting))


def _read_journal(
    rows: Iterator[tuple[Any, ...]] | psycopg.Cursor[Any],
    orchestrations: Mapping[str, Orchestration],
    runs: dict[str, Run],
) -> None:
    """Every chain that is not an orchestration's is a run's own."""
    previous, chain, expected = b"", "", 0
    for chain_id, seq, body, digest in rows:
        if chain_id != chain:
            previous, chain, expected = b"", chain_id, 0
        one = orchestrations.get(chain_id) or runs.setdefault(chain_id, Run(chain_id))
        if seq != expected or hashlib.sha256(previous + bytes(body)).digest() != bytes(digest):
            one.chain_is_whole = False
        previous, expected = bytes(digest), seq + 1
        entry = json.loads(bytes(body))
        if isinstance(one, Run):
            one.take(entry["fact"], _seconds(entry["at"]))
        else:
            _take(one, entry["fact"], _seconds(entry["at"]))


def _take(orchestration: Orchestration, fact: Mapping[str, Any], at: float) -> None:
    kind = fact["kind"]
    if kind == "orchestration_closed":
        orchestration.is_closed_in_journal = True
    elif kind == "orchestration_resumed":
        orchestration.is_closed_in_journal = False
    elif kind == "decision_made":
        orchestration.has_decision = True
    elif kind == "action_authorised":
        key, target, tool = fact["idempotency_key"], fact["target"], fact["tool"]
        action = Action(fact["action_id"], orchestration.orchestration_id, target, tool, key)
        action.arguments, action.run_id = fact["arguments_digest"], fact.get("run_id") or ""
        orchestration.actions[action.action_id] = action
    elif kind == "action_denied":
        orchestration.denied.add(fact["action_id"])
    elif kind == "call_proposed":
        orchestration.calls[fact["action_id"]] = proposed_by(fact)
    elif kind in _STATE_AFTER and fact["action_id"] in orchestration.actions:
        if kind == "delivery_probed" and fact["answer"] == "unknown":
            return
        answer = str(fact.get("answer") or ("applied" if fact.get("applied") else ""))
        orchestration.actions[fact["action_id"]].moments.append(Moment(kind, fact["attempt"], at, answer))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _lines(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for path in paths:
        if not path.exists():
            continue
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)
