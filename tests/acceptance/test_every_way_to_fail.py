"""Whatever a model does, the workflow ends in a typed decision within its limit, and the record says why.

One release for each provider, fault, and chain (alone, or with another provider behind it); one event begins them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from app.kernel.facts import AnyFact, ModelAnswered, ModelFailed, ProposalMade, ProviderHop, RunFailed, decode
from app.kernel.release import Release, ScriptedFailure, ScriptedProvider, ScriptedRule
from tests.acceptance.two_sinks import PATIENCE_SECONDS
from tests.model_faults import (
    OTHER_MODEL,
    Asked,
    Behaviour,
    FaultyModels,
    Protocol,
    faulty_models,
    nobody_listening,
)
from tests.modelled_workflow import KEY, MODEL, anthropic, issues, modelled_release, openai
from tests.system import RunningSystem

STAGE_SECONDS = 24.0
GOOD = '{"level": "high"}'
PROTOCOLS: tuple[Protocol, ...] = ("openai", "anthropic")

EXPECTED: dict[str, str] = {
    "answers": "A",
    "uncounted": "A",
    "other_model": "A",
    "in_parts": "A",
    "busy": "provider_busy",
    "busy_for_30_s": "provider_busy",
    "busy_for_1_s": "provider_busy",
    "fails": "provider_failed",
    "down": "provider_busy",
    "overloaded": "provider_busy",
    "refused_connection": "provider_unreachable",
    "hangs": "provider_timed_out",
    "drips": "provider_timed_out",
    "cuts": "provider_failed",
    "closes": "provider_failed",
    "empty_body": "provider_malformed",
    "not_json": "provider_malformed",
    "other_protocol": "provider_malformed",
    "endless": "provider_malformed",
    "compressed": "provider_malformed",
    "declines": "provider_no_text",
    "empty_text": "invalid_answer",
    "wrong_schema": "invalid_answer",
    "five_megabytes": "invalid_answer",
    "refusal_text": "invalid_answer",
}
"""What comes of the first provider: ``A`` for an answer that counts, else why it is left."""
RECOVERS = {"busy_for_1_s"}
"""Alone, it is waited for as long as it says, and answers then."""


@dataclass(frozen=True)
class Cell:
    """One provider, one fault, one chain."""

    protocol: str
    fault: str
    alone: bool

    @property
    def name(self) -> str:
        chain = "alone" if self.alone else "backed"
        return f"{self.protocol}-{self.fault.replace('_', '-')}-{chain}"


CELLS = [
    Cell(protocol, fault, alone) for protocol in PROTOCOLS for fault in EXPECTED for alone in (True, False)
]
SCRIPTED = [
    Cell("scripted", code, alone)
    for code in ("provider_unreachable", "provider_timed_out", "provider_busy", "provider_failed", "nonsense")
    for alone in (True, False)
]


def recovering(fault: str) -> Callable[[Asked], Behaviour]:
    """What says when it may be asked again answers then."""
    asked_before: list[Asked] = []

    def choose(asked: Asked) -> Behaviour:
        asked_before.append(asked)
        return "answers" if len(asked_before) > 1 else "busy_for_1_s"

    return choose if fault in RECOVERS else lambda _: fault  # type: ignore[return-value]


def release_of(cell: Cell, url: str, backup: str) -> Release:
    """The faulty provider first; behind it, where there is one, the other protocol's."""
    make, other = (openai, anthropic) if cell.protocol == "openai" else (anthropic, openai)
    chain = [make("first", url)] if cell.alone else [make("first", url), other("second", backup)]
    return _release(cell, chain)  # type: ignore[arg-type]


def scripted_release(cell: Cell, backup: str) -> Release:
    """A scripted provider that fails, or answers nonsense."""
    rule = (
        ScriptedRule(agent="alpha", answer="I would rather not say.")
        if cell.fault == "nonsense"
        else ScriptedRule(agent="alpha", failure=ScriptedFailure(code=cell.fault))  # type: ignore[arg-type]
    )
    first = ScriptedProvider(kind="scripted", name="first", version=1, rules=(rule,))
    return _release(cell, [first] if cell.alone else [first, openai("second", backup)])


def _release(cell: Cell, chain: list[object]) -> Release:
    return modelled_release(
        chain,  # type: ignore[arg-type]
        name=cell.name,
        agent={"timeout_seconds": 8.0},
        stage_fields={"timeout_seconds": STAGE_SECONDS},
    )


@dataclass
class Ended:
    """What is recorded of one cell."""

    facts: list[AnyFact]
    level: str
    degraded: bool
    seconds: float

    def kinds(self, kind: type[AnyFact]) -> list[AnyFact]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


@pytest.fixture(scope="module")
def matrix(module_database: str, module_home: Path) -> Iterator[dict[str, Ended]]:
    """All cells, run once at the same time by the same workers."""
    with ExitStack() as stack:
        backups: dict[str, FaultyModels] = {
            protocol: stack.enter_context(faulty_models("answers", GOOD)) for protocol in PROTOCOLS
        }
        system = stack.enter_context(RunningSystem(module_database, module_home, beat=True, environment=KEY))
        system.publish_shipped(route=False)
        _warm_up(system, backups)
        for cell in CELLS:
            other: Protocol = "anthropic" if cell.protocol == "openai" else "openai"
            url = stack.enter_context(_first(cell))
            system.publish_one(release_of(cell, url, backups[other].url(other)))
        for cell in SCRIPTED:
            system.publish_one(scripted_release(cell, backups["openai"].url("openai")))
        system.accept(issues(["all"]))
        system.wait_until_all_ended(within=PATIENCE_SECONDS)
        assert system.verify_all() == {}
        yield _ended(system)


def _warm_up(system: RunningSystem, backups: dict[str, FaultyModels]) -> None:
    """Let the workers load what the vendors' clients weigh, so that no limit is spent on that."""
    chain = (
        [openai("first", backups["openai"].url("openai"))],
        [anthropic("first", backups["anthropic"].host)],
    )
    for number, providers in enumerate(chain):
        system.publish_one(modelled_release(providers, name=f"warm-{number}"))  # type: ignore[arg-type]
    system.start_workers()
    system.accept(issues(["warm"]))
    system.wait_until_all_ended(within=PATIENCE_SECONDS)


@contextmanager
def _first(cell: Cell) -> Iterator[str]:
    if cell.fault == "refused_connection":
        with nobody_listening() as url:
            yield f"{url}/v1" if cell.protocol == "openai" else url
        return
    with faulty_models(recovering(cell.fault), GOOD) as models:
        yield models.url(cell.protocol)  # type: ignore[arg-type]


def _ended(system: RunningSystem) -> dict[str, Ended]:
    chains: dict[str, list[tuple[int, str, AnyFact]]] = {}
    for body, chain in system.rows("SELECT body, chain_id FROM journal ORDER BY chain_id, seq"):
        recorded = decode(bytes(body))
        chains.setdefault(chain, []).append((recorded.seq, recorded.at, recorded.fact))
    found = {}
    decided = "SELECT orchestration_id, workflow FROM orchestrations"
    runs = dict(system.rows("SELECT orchestration_id, step_id FROM work_index WHERE queue = 'agent_runs'"))
    contents = dict(system.rows("SELECT encode(digest, 'hex'), body FROM payloads"))
    for orchestration, workflow in system.rows(decided):
        whole = {fact.kind: (at, fact) for _, at, fact in chains[orchestration]}
        since, until = (datetime.fromisoformat(whole[kind][0]) for kind in ("stage_started", "stage_decided"))
        stage, decision = whole["stage_decided"][1], whole["decision_made"][1]
        found[workflow] = Ended(
            facts=[fact for _, _, fact in chains[runs[orchestration]]],
            level=json.loads(bytes(contents[stage.outcome_digest]))["level"],  # type: ignore[union-attr]
            degraded=decision.degraded,  # type: ignore[union-attr]
            seconds=(until - since).total_seconds(),
        )
    return found


@pytest.mark.parametrize("cell", [*CELLS, *SCRIPTED], ids=lambda cell: cell.name)
def test_whatever_a_provider_does_ends_in_the_expected_decision(matrix: dict[str, Ended], cell: Cell) -> None:
    """The next provider answers where there is one, else the template's fallback, which is flagged."""
    ended = matrix[cell.name]
    reason = "invalid_answer" if cell.fault == "nonsense" else EXPECTED.get(cell.fault, cell.fault)
    answered = reason == "A" or not cell.alone or cell.fault in RECOVERS
    assert (ended.level, ended.degraded) == (("high", False) if answered else ("low", True))
    assert isinstance(ended.facts[-1], ProposalMade if answered else RunFailed)
    assert ended.seconds < STAGE_SECONDS + 2, "within the stage's limit"
    _check_hops(ended, cell, reason)
    _check_failures(ended, cell, reason)


def _check_hops(ended: Ended, cell: Cell, reason: str) -> None:
    hops = [(hop.left, hop.to, hop.reason) for hop in ended.facts if isinstance(hop, ProviderHop)]
    if reason == "A":
        assert hops == []
    elif cell.alone and cell.fault in RECOVERS:
        assert hops == [("first", "first", reason)], "it is turned to again when it said it may be"
    else:
        assert hops == [("first", "" if cell.alone else "second", reason)]


def _check_failures(ended: Ended, cell: Cell, reason: str) -> None:
    failures = [fact for fact in ended.facts if isinstance(fact, ModelFailed)]
    answers = [fact for fact in ended.facts if isinstance(fact, ModelAnswered)]
    if reason == "invalid_answer":
        kinds = [fact.kind for fact in ended.facts if fact.kind in {"answer_rejected", "model_asked"}]
        assert kinds[:4] == ["model_asked", "answer_rejected", "model_asked", "answer_rejected"], "one re-ask"
        assert failures == []
    elif reason != "A":
        assert [fact.code for fact in failures] == [reason]
        unknown = reason in {"provider_timed_out", "provider_malformed"}
        unknown |= cell.fault in {"cuts", "closes"}
        assert failures[0].presumed == unknown, "what may have been billed is presumed at its worst"
        costs = cell.protocol != "scripted" and (unknown or reason == "provider_no_text")
        assert (failures[0].nano_usd > 0) == costs
    for fact in answers:
        scripted = cell.protocol == "scripted" and fact.provider == "first"
        named = OTHER_MODEL if cell.fault == "other_model" else MODEL
        assert fact.model == ("scripted" if scripted else named)
        assert fact.started_at
        assert (fact.nano_usd > 0) != scripted, "what costs money is counted"
        assert fact.presumed == (cell.fault == "uncounted"), "what nobody counted is presumed at its worst"
