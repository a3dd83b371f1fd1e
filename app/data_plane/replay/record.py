"""One orchestration as it is recorded: the links of its chains as they are stored, and the content they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.kernel.facts import (
    ActionAuthorised,
    ActionDenied,
    ActionSettled,
    AnyFact,
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRequested,
    CallProposed,
    CancelRequested,
    DecisionMade,
    DeliveryConfirmed,
    DeliveryProbed,
    ModelAnswered,
    ModelAsked,
    OrchestrationResumed,
    OrchestrationStarted,
    ProposalMade,
    Recorded,
    ReviewResolved,
    RunFolded,
    SnapshotTaken,
    StageDecided,
    StageStarted,
    ToolAnswered,
    ToolCalled,
    decode,
)
from interlock.identity import run_id


@dataclass(frozen=True, slots=True)
class StoredLink:
    """One fact's canonical bytes and the hash that stands beside them."""

    body: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that is kept of one orchestration, as it is kept: nothing in it has been checked yet.

    Args:
        head_seq: how many facts the orchestration's row says there are.
        head_hash: the hash of the last one, as the row says.
        runs: the runs' own chains, by run id.
        contents: by digest; what is absent was erased, or never written.
    """

    orchestration_id: str
    tenant_id: str
    release: str
    head_seq: int
    head_hash: bytes
    chain: tuple[StoredLink, ...]
    runs: Mapping[str, tuple[StoredLink, ...]]
    contents: Mapping[str, bytes]


def run_ids(orchestration_id: str, facts: tuple[AnyFact, ...]) -> dict[str, tuple[str, str]]:
    """The runs that the orchestration's facts called for: by run id, their stage and agent."""
    return {
        run_id(orchestration_id, fact.stage, agent): (fact.stage, agent)
        for fact in facts
        if isinstance(fact, StageStarted)
        for agent in fact.agents
    }


def named_contents(facts: tuple[AnyFact, ...]) -> set[str]:
    """The digests of all content that these facts name."""
    return {digest for fact in facts for digest in _named(fact) if digest}


def _named(fact: AnyFact) -> tuple[str | None, ...]:
    match fact:
        case OrchestrationStarted():
            return fact.raw_digest, fact.event_digest
        case SnapshotTaken():
            return (fact.snapshot_digest,)
        case RunFolded() | ProposalMade():
            return (fact.proposal_digest,)
        case StageDecided():
            return fact.outcome_digest, fact.votes_digest
        case DecisionMade():
            return (fact.outcome_digest,)
        case ActionAuthorised() | ActionDenied() | ApprovalRequested() | CallProposed() | ToolCalled():
            return fact.arguments_digest, fact.provenance_digest
        case ToolAnswered():
            return (fact.result_digest,)
        case DeliveryConfirmed() | DeliveryProbed():
            return (fact.receipt_digest,)
        case ReviewResolved():
            return fact.outcome_digest, fact.reason_digest
        case (
            ApprovalGranted()
            | ApprovalDenied()
            | CancelRequested()
            | ActionSettled()
            | OrchestrationResumed()
        ):
            return (fact.reason_digest,)
        case ModelAsked():
            return (fact.prompt_digest,)
        case ModelAnswered():
            return (fact.answer_digest,)
        case _:
            return ()


def read_chain(links: Sequence[StoredLink]) -> tuple[Recorded, ...]:
    """The facts of a chain as far as they can be read; what they are worth is for ``verify`` to say."""
    recorded: list[Recorded] = []
    for link in links:
        try:
            recorded.append(decode(link.body))
        except ValueError:
            break
    return tuple(recorded)
