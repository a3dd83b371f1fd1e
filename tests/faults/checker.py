"""The checker, from outside: what was promised to senders, what the sinks saw, and what PostgreSQL says of it.

It shares no code with the product. ``python -m tests.faults.checker --database URL --folder OUTSIDE`` checks a service
that still runs, or one that was kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from tests.faults import call_rules
from tests.faults.known import Evidence, Window
from tests.faults.records import (
    FINAL,
    Action,
    Request,
    SinkFile,
    read_accepted,
    read_database,
    read_faults,
    read_requests,
)
from tests.faults.verdict import Figure, Verdict, Violation

MOST_FALSE_IN_DOUBT = 0.02
"""The share of actions in doubt whose outcome may in fact have been known."""


def check(
    database_url: str, histories: Sequence[Path], sinks: Sequence[SinkFile], faults: Sequence[Path]
) -> Verdict:
    """Read everything and judge it. Raises psycopg.OperationalError when the database does not answer."""
    evidence = Evidence(
        accepted=read_accepted(histories),
        requests=read_requests(sinks),
        database=read_database(database_url),
        honouring={sink.name: sink.honours_keys for sink in sinks},
        faults=[
            Window(line["at"], line["until"], frozenset(line["touches"])) for line in read_faults(faults)
        ],
    )
    return judge(evidence)


def judge(evidence: Evidence) -> Verdict:
    """Everything that is wrong, and the figures."""
    rules: tuple[Callable[[Evidence], list[Violation]], ...] = (
        _missing_events,
        _lost,
        _second_orchestrations,
        _closed_early,
        _applied_twice,
        _effects_without_intent,
        _resent_unknown,
        _confirmed_never_received,
        _ambiguous_not_in_doubt,
        _journal,
        call_rules.not_as_permitted,
        call_rules.not_as_called,
        call_rules.not_told,
        call_rules.asked_again,
        call_rules.waits_for_ever,
        call_rules.broken_run_chains,
    )
    violations = [violation for rule in rules for violation in rule(evidence)]
    false_ones = false_in_doubt(evidence)
    in_doubt = [one for one in evidence.actions if one.state == "in_doubt"]
    if len(false_ones) > MOST_FALSE_IN_DOUBT * len(in_doubt):
        violations += [
            Violation("false_in_doubt", action.action_id, f"of {action.orchestration_id} at {action.target}")
            for action in false_ones
        ]
    never_answered = [one for one in in_doubt if not any(_answers(evidence, one))]
    counts = _counts(evidence) | {
        "in_doubt": len(in_doubt),
        "in_doubt never answered": len(never_answered),
        "false_in_doubt": len(false_ones),
    }
    told = tuple(
        f"{action.action_id} at {action.target}: {_story(evidence, action)}" for action in false_ones
    )
    return Verdict(tuple(violations), _figures(evidence, violations, counts), counts, told)


def _answers(evidence: Evidence, action: Action) -> list[Request]:
    """The requests of an action that its target answered completely."""
    requests = evidence.requests_of.get((action.target, action.key), [])
    return [request for request in requests if request.answered_at is not None]


def _story(evidence: Evidence, action: Action) -> str:
    """What happened to it, in seconds from its first attempt."""
    began = action.moments[0].at
    parts = [(moment.at, f"{moment.kind} {moment.attempt}") for moment in action.moments]
    for request in evidence.requests_of.get((action.target, action.key), []):
        parts.append((request.at, "received"))
        if request.answered_at is not None:
            parts.append((request.answered_at, "answered"))
    return ", ".join(f"{at - began:.3f} {what}" for at, what in sorted(parts))


def _missing_events(evidence: Evidence) -> list[Violation]:
    """Accepted by 2xx, and PostgreSQL does not know the event."""
    return [
        Violation("missing_event", one.id, f"of {one.tenant}: answered with 2xx and not recorded")
        for key, one in evidence.accepted.items()
        if key not in evidence.database.events
    ]


def _lost(evidence: Evidence) -> list[Violation]:
    """Accepted by 2xx, and not (or not every orchestration of it) in a terminal state."""
    by_event: dict[tuple[str, str], list[str]] = defaultdict(list)
    for orchestration in evidence.database.orchestrations.values():
        is_over = (
            orchestration.status in FINAL
            and orchestration.closed_at is not None
            and orchestration.is_closed_in_journal
        )
        by_event[orchestration.tenant, orchestration.event_id].append("" if is_over else orchestration.status)
    found = []
    for key, one in evidence.accepted.items():
        states = by_event.get(key)
        if states is None:
            found.append(Violation("lost", one.id, f"of {one.tenant}: there is no orchestration of it"))
        elif still := [state for state in states if state]:
            found.append(Violation("lost", one.id, f"of {one.tenant}: still {', '.join(still)}"))
    return found


def _second_orchestrations(evidence: Evidence) -> list[Violation]:
    """One event began twice in one workflow, or its sender was told different orchestrations."""
    begun = Counter(
        (one.tenant, one.event_id, one.workflow)
        for one in evidence.database.orchestrations.values()
        if one.lane == "live"
    )
    found = [
        Violation("second_orchestration", event, f"of {tenant}: {count} live orchestrations by {workflow}")
        for (tenant, event, workflow), count in begun.items()
        if count > 1
    ]
    return found + [
        Violation("second_orchestration", one.id, f"of {one.tenant}: the answers to it differ")
        for one in evidence.accepted.values()
        if len(set(one.orchestrations)) > 1
    ]


def _closed_early(evidence: Evidence) -> list[Violation]:
    """Closed with an action on its way; or completed without a decision, or with an action that did not come to be."""
    found = []
    for one in evidence.database.orchestrations.values():
        if one.closed_at is None:
            continue
        states = Counter(action.state for action in one.actions.values())
        undone = states["sending"]
        if one.status == "completed":
            undone += states["authorised"] + states["failed"] + states["in_doubt"] + (not one.has_decision)
        if undone:
            found.append(Violation("closed_early", one.orchestration_id, f"{one.status} with {dict(states)}"))
    return found


def _applied_twice(evidence: Evidence) -> list[Violation]:
    """One action that was applied more than once: under its key, or under another for the same action.

    An orchestration of the harness's workflow uses each tool once at each sink, by its decision or by an agent's call,
    so that (sink, orchestration, tool) names an action.
    """
    applied: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for request in evidence.requests:
        if request.outcome == "applied":
            applied[request.sink, request.orchestration, request.tool].append(request.key)
    return [
        Violation(
            "applied_twice" if evidence.honouring[sink] else "sent_twice",
            orchestration,
            f"{tool} at {sink}: {len(keys)} times under {len(set(keys))} keys",
        )
        for (sink, orchestration, tool), keys in applied.items()
        if len(keys) > 1
    ]


def _effects_without_intent(evidence: Evidence) -> list[Violation]:
    """A request of which no attempt had been recorded when it came in: each attempt is committed before its call."""
    actions = {(action.target, action.key): action for action in evidence.actions}
    found = []
    for (sink, key), requests in evidence.requests_of.items():
        action = actions.get((sink, key))
        began = sorted(
            moment.at
            for moment in (action.moments if action is not None else ())
            if moment.kind == "delivery_started"
        )
        for number, request in enumerate(sorted(requests, key=lambda one: one.at), start=1):
            if sum(at <= request.at for at in began) < number:
                detail = f"request {number} of {key} at {sink}: {len(began)} attempts recorded in all"
                found.append(Violation("effect_without_intent", request.orchestration, detail))
                break
    return found


def _resent_unknown(evidence: Evidence) -> list[Violation]:
    """At a sink that does not honour keys, a new attempt although nobody knew what had become of the one before."""
    found = []
    for action in evidence.actions:
        if evidence.honouring[action.target]:
            continue
        kinds = [moment.kind for moment in action.moments]
        for before, after in pairwise(kinds):
            if after == "delivery_started" and before in {"delivery_started", "delivery_in_doubt"}:
                found.append(Violation("resent_unknown", action.action_id, f"at {action.target}: {kinds}"))
                break
    return found


def _confirmed_never_received(evidence: Evidence) -> list[Violation]:
    """Recorded as confirmed, and the sink never applied it."""
    return [
        Violation("confirmed_never_received", action.action_id, f"at {action.target}")
        for action in evidence.actions
        if action.state == "confirmed" and not evidence.applied(action)
    ]


def _ambiguous_not_in_doubt(evidence: Evidence) -> list[Violation]:
    """A sink that does not honour keys applied it, and it is over as something else than confirmed or in doubt.

    What reached no sink may be ``failed``: that is known. What was applied may be neither failed nor, by a probe or a
    person, settled as not applied; nor may it be unsent in a closed orchestration.
    """
    found = []
    for action in evidence.actions:
        closed = evidence.database.orchestrations[action.orchestration_id].closed_at is not None
        known = action.state in {"confirmed", "in_doubt"} or (action.state == "settled" and action.applied)
        if closed and not known and not evidence.honouring[action.target] and evidence.applied(action):
            detail = f"applied at {action.target} and {action.state}"
            found.append(Violation("ambiguous_not_in_doubt", action.action_id, detail))
    return found


def _journal(evidence: Evidence) -> list[Violation]:
    """The chain of hashes is broken, or the read model says something else than the journal."""
    found = [
        Violation("broken_chain", one.orchestration_id, "the journal's hashes do not follow each other")
        for one in evidence.database.orchestrations.values()
        if not one.chain_is_whole
    ]
    states = evidence.database.action_states
    return found + [
        Violation(
            "projection_differs", action.action_id, f"{action.state} and {states.get(action.action_id)}"
        )
        for action in evidence.actions
        if states.get(action.action_id) != action.state
    ]


def false_in_doubt(evidence: Evidence) -> list[Action]:
    """The actions in doubt whose outcome was in fact known.

    Let the last attempt before the doubt have been recorded as started at s, and the doubt at r. The outcome was known
    when the sink had handed over the whole answer to a request of that key between s and r, and no evidenced fault
    that touches dispatch, PostgreSQL or this sink lies (with any part of it) between s and r. What the sink never
    answered, or never received, was not known.
    """
    found = []
    for action in evidence.actions:
        if action.state != "in_doubt":
            continue
        doubt = next(one for one in action.moments if one.kind == "delivery_in_doubt")
        since = max(one.at for one in action.moments if one.kind == "delivery_started" and one.at <= doubt.at)
        relevant = {"dispatch", "postgresql", action.target}
        disturbed = any(
            window.at <= doubt.at and window.until >= since and window.touches & relevant
            for window in evidence.faults
        )
        answered = any(since <= (one.answered_at or 0.0) <= doubt.at for one in _answers(evidence, action))
        if answered and not disturbed:
            found.append(action)
    return found


def _counts(evidence: Evidence) -> dict[str, int]:
    statuses = Counter(one.status for one in evidence.database.orchestrations.values())
    counts = {"accepted": len(evidence.accepted), "orchestrations": len(evidence.database.orchestrations)}
    counts |= {f"orchestrations {status}": count for status, count in sorted(statuses.items())}
    for sink in evidence.honouring:
        of_sink = [request for request in evidence.requests if request.sink == sink]
        counts[f"requests at {sink}"] = len(of_sink)
        counts[f"applied at {sink}"] = sum(request.outcome == "applied" for request in of_sink)
        states = Counter(action.state for action in evidence.actions if action.target == sink)
        counts |= {f"{state} at {sink}": count for state, count in sorted(states.items())}
    calls = sum(len(one.calls) for one in evidence.database.orchestrations.values())
    more = {"calls of runs": calls, "dead letters": evidence.database.dead_letters}
    return counts | more | {"faults": len(evidence.faults)}


def _figures(
    evidence: Evidence, violations: Sequence[Violation], counts: Mapping[str, int]
) -> tuple[Figure, ...]:
    kinds = Counter(violation.kind for violation in violations)
    accepted = len(evidence.accepted)
    honoured = sum(evidence.honouring[action.target] for action in evidence.actions)
    others = len(evidence.actions) - honoured
    confirmed = sum(action.state == "confirmed" for action in evidence.actions)
    runs = evidence.database.runs.values()
    calls = sum(len(one.calls) for one in evidence.database.orchestrations.values())
    told = sum(len(run.told) for run in runs)
    cases = {
        "missing_event": accepted,
        "lost": accepted,
        "second_orchestration": accepted,
        "closed_early": len(evidence.database.orchestrations),
        "applied_twice": honoured,
        "sent_twice": others,
        "resent_unknown": others,
        "ambiguous_not_in_doubt": others,
        "effect_without_intent": len(evidence.requests),
        "confirmed_never_received": confirmed,
        "broken_chain": len(evidence.database.orchestrations) + len(runs),
        "projection_differs": len(evidence.actions),
        "not_as_permitted": len(evidence.requests),
        "not_as_called": calls,
        "not_told": sum(called.verdict != "denied" for run in runs for called in run.called.values()),
        "told_otherwise": told,
        "asked_again": sum(len(run.answered) for run in runs),
        "waits_for_ever": len(
            {call.run_id for one in evidence.database.orchestrations.values() for call in one.calls.values()}
        ),
    }
    found = [Figure(kind, kinds[kind], number) for kind, number in cases.items()]
    return (*found, Figure("false_in_doubt", counts["false_in_doubt"], counts["in_doubt"]))


def main() -> None:
    """Check one service and print what was found; exits with 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.checker", description=__doc__)
    parser.add_argument("--database", required=True, help="the owner's URL of the database")
    parser.add_argument(
        "--folder", required=True, type=Path, help="with the histories of sinks and generator"
    )
    chosen = parser.parse_args()
    sinks = [
        SinkFile(name, chosen.folder / f"{name}.jsonl", name == "ledger")
        for name in ("ledger", "pager", "siren")
    ]
    histories = sorted(chosen.folder.glob("generator*.jsonl"))
    verdict = check(chosen.database, histories, sinks, [chosen.folder / "faults.jsonl"])
    print(json.dumps(verdict.as_json(), indent=1))
    sys.exit(bool(verdict.violations))


if __name__ == "__main__":
    main()
