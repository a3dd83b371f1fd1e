"""Following chains fact by fact: is each in its place, and does its hash follow from the one before?

Nothing is decoded that need not be: a fact of a kind that this version does not know is checked like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import orjson

from app.kernel.facts import chain_hash
from interlock.canonical import JsonObject
from interlock.identity import orchestration_id, run_id

JournalRow: TypeAlias = tuple[str, int, str, bytes, bytes, int | None]
"""A fact as it is stored: chain, seq, tenant, body, hash, and the number of the transaction that wrote it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that is not what it was, or is not there."""

    place: str
    """The chain; or the line, of what is wrong with the anchors themselves."""
    seq: int | None
    reason: str

    def __str__(self) -> str:
        place = self.place if self.seq is None else f"{self.place} #{self.seq}"
        return f"{place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Run:
    """A run that an orchestration's facts call for; its own chain is as long as ``length`` says, once folded."""

    run_id: str
    orchestration_id: str
    tenant_id: str
    length: int | None = None
    """How many facts the fold counts; None while it is not folded."""
    hash: str = ""


@dataclass(slots=True)
class Chain:
    """One chain as far as it was followed."""

    chain_id: str
    tenant_id: str
    length: int = 0
    hash: bytes = b""
    fault: Fault | None = None
    """Its first bad row; what follows is only counted."""
    runs: dict[str, Run] = field(default_factory=dict)
    is_orchestration: bool = False

    def follow(self, row: JournalRow) -> str:
        """Take the next row; returns when its fact was recorded, or '' when that cannot be read."""
        _, seq, tenant, body, stored, _ = row
        expected, self.length = self.length, self.length + 1
        previous, self.hash = self.hash, stored
        if self.fault is not None:
            return ""
        if seq != expected:
            self._find(min(seq, expected), "it is missing" if seq > expected else "it has no such place")
            return ""
        if chain_hash(previous, body) != stored:
            self._find(seq, "its hash does not follow from its bytes and the hash before it")
            return ""
        try:
            place = orjson.loads(body)
            if place["chain"] != self.chain_id or place["seq"] != seq:
                self._find(seq, "its bytes tell of another place")
            elif tenant != self.tenant_id:
                self._find(seq, f"it was given to another tenant ({tenant})")
            elif (reads := _READERS.get(place["fact"]["kind"])) is not None:
                reads(self, place["fact"])
            return str(place["at"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            self._find(seq, "its bytes are no fact")
            return ""

    def _find(self, seq: int, reason: str) -> None:
        if self.fault is None:
            self.fault = Fault(self.chain_id, seq, reason)

    def _started(self, fact: JsonObject) -> None:
        self.is_orchestration = True
        source, event_id, workflow = (str(fact.get(name)) for name in ("source", "event_id", "workflow"))
        lane, ordinal = fact.get("lane"), fact.get("ordinal")
        derived = orchestration_id(self.tenant_id, source, event_id, workflow, lane, ordinal)  # type: ignore[arg-type]
        if self.length != 1 or derived != self.chain_id:
            self._find(self.length - 1, "it tells of the start of another tenant's or event's orchestration")

    def _stage(self, fact: JsonObject) -> None:
        agents = fact.get("agents")
        for agent in agents if isinstance(agents, list) else []:
            name = run_id(self.chain_id, str(fact.get("stage")), str(agent))
            self.runs.setdefault(name, Run(name, self.chain_id, self.tenant_id))

    def _folded(self, fact: JsonObject) -> None:
        name, length, digest = (fact.get(key) for key in ("run_id", "chain_length", "chain_hash"))
        if not (isinstance(name, str) and isinstance(length, int) and isinstance(digest, str)):
            self._find(self.length - 1, "it folds no run")
            return
        self.runs[name] = Run(name, self.chain_id, self.tenant_id, length, digest)


_READERS: dict[str, Callable[[Chain, JsonObject], None]] = {
    "orchestration_started": Chain._started,
    "stage_started": Chain._stage,
    "run_folded": Chain._folded,
}


def compare_with_head(chain: Chain, tenant_id: str, length: int, digest: bytes) -> Fault | None:
    """Whether an orchestration's chain ends where its row says."""
    if chain.fault is not None:
        return chain.fault
    if chain.tenant_id != tenant_id:
        return Fault(chain.chain_id, 0, f"its orchestration is another tenant's ({tenant_id})")
    if chain.length < length:
        return Fault(chain.chain_id, chain.length, f"it is missing: the head counts {length} facts")
    if chain.length > length:
        return Fault(chain.chain_id, length, f"it was added: the head counts {length} facts")
    if chain.hash != digest:
        return Fault(chain.chain_id, length - 1, "its hash is not the head's")
    return None


def compare_with_fold(chain: Chain, run: Run) -> Fault | None:
    """Whether a run's own chain is the one that its orchestration folded."""
    if chain.fault is not None:
        return chain.fault
    if chain.tenant_id != run.tenant_id:
        return Fault(chain.chain_id, 0, f"its orchestration is another tenant's ({run.tenant_id})")
    if run.length is None:
        return None
    if chain.length < run.length:
        return Fault(chain.chain_id, chain.length, f"it is missing: the fold counts {run.length} facts")
    if chain.length > run.length:
        return Fault(chain.chain_id, run.length, f"it was added: the fold counts {run.length} facts")
    if chain.hash.hex() != run.hash:
        return Fault(chain.chain_id, run.length - 1, "its hash is not the one that was folded")
    return None


def follow(rows: Iterable[JournalRow]) -> list[Chain]:
    """The chains of rows that are in the order of (chain, seq) and all in memory."""
    chains: list[Chain] = []
    for row in rows:
        if not chains or chains[-1].chain_id != row[0]:
            chains.append(Chain(row[0], row[2]))
        chains[-1].follow(row)
    return chains


def check_orchestration(
    orchestration_id: str, head: tuple[str, int, bytes], rows: Iterable[JournalRow]
) -> Fault | None:
    """Whether all chains of one orchestration are whole: its own, as its row says, and its runs', as it folded them.

    Args:
        head: tenant, number of facts and the last one's hash, as the orchestration's row says.
        rows: its own chain and its runs', in the order of (chain, seq).
    """
    chains = {chain.chain_id: chain for chain in follow(rows)}
    own = chains.pop(orchestration_id, None)
    if own is None:
        return Fault(orchestration_id, 0, "the whole chain is gone: its orchestration is still there")
    if (fault := compare_with_head(own, *head)) is not None:
        return fault
    for run in own.runs.values():
        chain = chains.pop(run.run_id, None)
        if chain is not None:
            fault = compare_with_fold(chain, run)
        elif run.length:
            fault = Fault(run.run_id, 0, f"the whole chain is gone: {orchestration_id} folded it")
        if fault is not None:
            return fault
    return next((Fault(name, 0, "no orchestration knows this chain") for name in chains), None)
