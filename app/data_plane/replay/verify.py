"""``verify``: recompute a decision from its record, offline, and compare.

It reads the record and the release and nothing else: no provider, no target, no network, no clock. Four things must
hold: the chains are whole, the event is what its raw bytes say, the derived facts follow from the outside ones, and
each proposal is what its answer says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from app.data_plane.agent_runs.calls import Caller, proposal_of, spent
from app.data_plane.agent_runs.proposals import PARSER, Proposal, Rejection, read_answer
from app.data_plane.agent_runs.run import LONGEST_PATH, LONGEST_REASON, refusal_told
from app.data_plane.aggregation.aggregate import fold_run
from app.data_plane.budgets.costs import cost
from app.data_plane.contents import Contents
from app.data_plane.ingestion.normalisers import normalise
from app.data_plane.orchestration.progress import progress
from app.data_plane.orchestration.state import OrchestrationState, initial
from app.data_plane.replay.record import Record, StoredLink, named_contents, run_ids
from app.data_plane.replay.rejudging import wrong_verdict
from app.kernel.errors import DefectError, PermanentError
from app.kernel.facts import (
    AnswerRejected,
    AnyFact,
    CallProposed,
    DecisionMade,
    ModelAnswered,
    OrchestrationStarted,
    ProposalMade,
    Recorded,
    ReviewResolved,
    RunFailed,
    RunFolded,
    SnapshotTaken,
    ToolCalled,
    chain_hash,
    decode,
)
from app.kernel.release import Release, Stage
from interlock import strict_json
from interlock.canonical import canonical_bytes, digest_bytes
from interlock.envelope import from_json
from interlock.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where the record and the recomputation part, and why."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of verifying one orchestration.

    ``drift`` names events and answers that another version of the normaliser or parser read, and that today's would
    read otherwise: it is told and is no failure, as what was recorded stands.
    """

    orchestration_id: str
    facts: int
    decision_recorded: str | None
    decision_recomputed: str | None
    difference: Difference | None
    drift: tuple[str, ...] = ()

    @property
    def matches(self) -> bool:
        """Whether everything was found as recorded."""
        return self.difference is None


class _FoundError(PermanentError):
    """Carries a difference out of the place where it was found."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(reason)
        self.difference = Difference(place, reason)


@dataclass(slots=True)
class _Reading:
    """What was read of a record so far."""

    chain: tuple[Recorded, ...] = ()
    runs: dict[str, tuple[Recorded, ...]] = field(default_factory=dict)
    state: OrchestrationState | None = None
    recomputed: str | None = None
    drift: list[str] = field(default_factory=list)


def verify(record: Record, release: Release) -> Verification:
    """Compare a record with what pure code makes of it; never raises for what is in the record."""
    reading = _Reading()
    difference: Difference | None = None
    try:
        _read_chains(record, reading)
        _check_contents(record, reading)
        _renormalise(record, reading)
        _rederive(record, release, reading)
        _reread_answers(record, release, reading)
    except _FoundError as found:
        difference = found.difference
    except DefectError as error:
        difference = Difference(f"orchestration {record.orchestration_id}", error.what)
    decisions = [item.fact for item in reading.chain if isinstance(item.fact, DecisionMade)]
    return Verification(
        orchestration_id=record.orchestration_id,
        facts=len(record.chain) + sum(len(chain) for chain in record.runs.values()),
        decision_recorded=decisions[0].decision_digest if decisions else None,
        decision_recomputed=reading.recomputed,
        difference=difference,
        drift=tuple(reading.drift),
    )


def _read_chains(record: Record, reading: _Reading) -> None:
    """(a) Each chain is whole: places, hashes, heads; and each folded run is what its own chain says."""
    reading.chain = tuple(_read_chain(record.orchestration_id, record.chain))
    head = record.chain[-1].hash if record.chain else b""
    if (len(record.chain), head) != (record.head_seq, record.head_hash):
        raise _FoundError(
            f"{record.orchestration_id} head",
            f"the row tells of {record.head_seq} facts, the journal has {len(record.chain)} or ends otherwise",
        )
    for run, (stage, agent) in run_ids(record.orchestration_id, _facts(reading.chain)).items():
        links = record.runs.get(run, ())
        reading.runs[run] = tuple(_read_chain(run, links))
        for place, folded in _folded(reading.chain, run):
            expected = fold_run(stage, agent, run, reading.runs[run], links[-1].hash.hex() if links else "")
            if folded != expected:
                raise _FoundError(place, f"the run's own chain says otherwise: {_unlike(folded, expected)}")


def _read_chain(chain_id: str, links: Sequence[StoredLink]) -> Iterator[Recorded]:
    previous = b""
    for seq, link in enumerate(links):
        place = f"{chain_id} #{seq}"
        if chain_hash(previous, link.body) != link.hash:
            raise _FoundError(place, "its hash does not fit its content and the hash before it")
        try:
            recorded = decode(link.body)
        except ValidationError:
            raise _FoundError(place, "it is no fact that this version can read") from None
        if (recorded.chain_id, recorded.seq) != (chain_id, seq):
            raise _FoundError(place, f"it belongs at {recorded.chain_id} #{recorded.seq}")
        previous = link.hash
        yield recorded


def _folded(chain: Sequence[Recorded], run: str) -> list[tuple[str, RunFolded]]:
    return [
        (_place(item), item.fact)
        for item in chain
        if isinstance(item.fact, RunFolded) and item.fact.run_id == run
    ]


def _check_contents(record: Record, reading: _Reading) -> None:
    """Content is what its digest says. What was erased is missed only where the decision rests on it."""
    facts = _facts(reading.chain) + tuple(fact for chain in reading.runs.values() for fact in _facts(chain))
    for digest in sorted(named_contents(facts)):
        body = record.contents.get(digest)
        if body is not None and digest_bytes(body) != digest:
            raise _FoundError(f"content {digest[:12]}", "its bytes do not have this digest: it was changed")


def _renormalise(record: Record, reading: _Reading) -> None:
    """(b) The raw bytes, read again, give the recorded event; raw bytes that were erased are not missed."""
    for item in reading.chain:
        if not isinstance(item.fact, OrchestrationStarted):
            continue
        raw = record.contents.get(item.fact.raw_digest)
        again = _normalised(raw) if raw is not None else None
        if again is None or again.digest == item.fact.event_digest:
            continue
        reason = f"its raw bytes give another event: {again.problem or again.digest[:12]}"
        if again.normaliser in {item.fact.normaliser, ""}:
            raise _FoundError(_place(item), reason)
        reading.drift.append(
            f"{_place(item)}: {reason} (read by {item.fact.normaliser}, now {again.normaliser})"
        )


@dataclass(frozen=True, slots=True)
class _Normalised:
    """What today's normaliser makes of raw bytes; no name where none reads them."""

    normaliser: str = ""
    digest: str = ""
    problem: str = ""


def _normalised(raw: bytes) -> _Normalised:
    try:
        normaliser, event = normalise(from_json(strict_json.read(raw)))
    except (PermanentError, InvalidInputError) as error:
        return _Normalised(problem=str(error))
    return _Normalised(normaliser, digest_bytes(canonical_bytes(event.to_json())))


def _rederive(record: Record, release: Release, reading: _Reading) -> None:
    """(c) Feed in what came from outside; all else must follow from it, fact by fact, in the same order."""
    if release.digest != record.release:
        raise _FoundError("release", f"given is {release.digest[:12]}, pinned is {record.release[:12]}")
    contents = Contents(_outside_contents(record, reading.chain))
    state = initial(record.orchestration_id, record.tenant_id, release)
    found: _FoundError | None = None
    pending: list[AnyFact] = []
    for item in reading.chain:
        try:
            if item.fact.outside:
                _must_be_empty(pending, item)
                if isinstance(item.fact, OrchestrationStarted) and item.fact.release != record.release:
                    raise _FoundError(
                        _place(item), "it is pinned to another release than the orchestration's row"
                    )
                after = progress(state, item.fact, contents)
                if not after.facts:
                    raise _FoundError(_place(item), "it cannot follow the facts before it")
                state, pending = after.state, list(after.facts[1:])
            else:
                _must_be_next(pending, item)
        except _FoundError as error:
            # The first difference is told; going on shows which decision the outside facts lead to.
            found = found or error
    reading.state = state
    reading.recomputed = state.decision.decision_digest if state.decision is not None else None
    if found is None and pending:
        found = _FoundError(
            f"{record.orchestration_id} end", f"{pending[0].kind} should follow and is not there"
        )
    if found is not None:
        raise found


def _outside_contents(record: Record, chain: Sequence[Recorded]) -> dict[str, bytes]:
    """Only what came from outside: other outcomes, votes and arguments are to be made anew, not read."""
    outside = (OrchestrationStarted, SnapshotTaken, RunFolded, ReviewResolved, CallProposed)
    wanted = named_contents(tuple(item.fact for item in chain if isinstance(item.fact, outside)))
    return {digest: record.contents[digest] for digest in wanted if digest in record.contents}


def _must_be_empty(pending: list[AnyFact], item: Recorded) -> None:
    if pending:
        missing = pending[0].kind
        pending.clear()
        raise _FoundError(_place(item), f"{missing} should stand here and is not there")


def _must_be_next(pending: list[AnyFact], item: Recorded) -> None:
    if not pending:
        raise _FoundError(_place(item), "it does not follow from the facts before it")
    expected = pending.pop(0)
    if expected != item.fact:
        raise _FoundError(_place(item), f"recomputed otherwise: {_unlike(item.fact, expected)}")


def _reread_answers(record: Record, release: Release, reading: _Reading) -> None:
    """(d) Each answer, read again, gives the recorded proposal, or the recorded refusal."""
    called = run_ids(record.orchestration_id, _facts(reading.chain))
    for item in reading.chain:
        if isinstance(item.fact, CallProposed) and item.fact.run_id not in called:
            raise _FoundError(_place(item), "there is no such run")
    for run, chain in reading.runs.items():
        stage = release.template.stage(called[run][0])
        _check_costs(chain, release)
        _judge_calls_again(record, reading.state, called[run], run, chain)
        _check_handed_over(reading, called[run], run, chain)
        for answer, read in _interpreted(chain):
            if answer.calls:
                continue
            body = record.contents.get(answer.answer_digest)
            if body is None:
                raise _FoundError(_place(read), "the answer that it rests on is not in the payload store")
            difference = _read_again(read, body.decode("utf-8", "replace"), stage)
            if difference is not None and _parser(read.fact) == PARSER:
                raise difference
            if difference is not None:
                was = _parser(read.fact)
                reading.drift.append(f"{difference.difference} (read by {was}, now {PARSER})")


def _judge_calls_again(
    record: Record,
    state: OrchestrationState | None,
    whose: tuple[str, str],
    run: str,
    chain: Sequence[Recorded],
) -> None:
    """(e) Each call of a tool, judged again from what the run knew then, has the recorded verdict."""
    stage, agent = whose
    if state is None or not any(isinstance(item.fact, ModelAnswered) and item.fact.calls for item in chain):
        return
    caller = Caller(state, state.release.agents[agent], stage, run, Contents(record.contents))
    wrong = wrong_verdict(caller, chain)
    if wrong is not None:
        raise _FoundError(_place(wrong[0]), wrong[1])


def _check_handed_over(
    reading: _Reading, whose: tuple[str, str], run: str, chain: Sequence[Recorded]
) -> None:
    """(f) What the orchestration was asked for is what the run's own chain says that it has called for."""
    state, facts = reading.state, _facts(chain)
    for item in reading.chain:
        asked = item.fact
        if state is None or not isinstance(asked, CallProposed) or asked.run_id != run:
            continue
        places = [
            place
            for place, fact in enumerate(facts)
            if isinstance(fact, ToolCalled) and fact.action_id == asked.action_id
        ]
        called = facts[places[0]] if places else None
        if not isinstance(called, ToolCalled):
            raise _FoundError(_place(item), "its run has not called for it")
        stage, agent = whose
        caller = Caller(state, state.release.agents[agent], stage, run, Contents({}))
        expected = proposal_of(caller, called, spent(caller, facts[: places[0]]))
        if expected != asked:
            raise _FoundError(_place(item), f"the run's own chain says otherwise: {_unlike(asked, expected)}")


def _check_costs(chain: Sequence[Recorded], release: Release) -> None:
    """Each answer cost what the release's price table says."""
    for item in chain:
        fact = item.fact
        if isinstance(fact, ModelAnswered) and not fact.presumed:
            price = release.prices.get(fact.provider)
            if fact.nano_usd != cost(price, fact.input_tokens, fact.output_tokens):
                raise _FoundError(_place(item), "the release's price table gives another cost")


def _interpreted(chain: Sequence[Recorded]) -> Iterator[tuple[ModelAnswered, Recorded]]:
    """Each answer that was interpreted, with the fact that says what it was found to be."""
    answers: dict[int, ModelAnswered] = {}
    for item in chain:
        match item.fact:
            case ModelAnswered():
                answers[item.fact.position] = item.fact
            case AnswerRejected(position=position) if position in answers:
                yield answers.pop(position), item
            case ProposalMade() | RunFailed() if answers:
                # Of the answers that are left, the last is what the run ended with.
                yield answers[max(answers)], item


def _read_again(read: Recorded, text: str, stage: Stage) -> _FoundError | None:
    again = read_answer(text, stage.proposal)
    match read.fact:
        case ProposalMade(proposal_digest=digest):
            if not isinstance(again, Proposal):
                return _FoundError(_place(read), f"the answer gives no proposal: {again}")
            if again.digest != digest:
                return _FoundError(_place(read), "the answer gives another proposal")
        case AnswerRejected() | RunFailed(failure="invalid_answer") if isinstance(again, Proposal):
            return _FoundError(_place(read), "the answer gives a proposal, and was refused")
        case AnswerRejected(path=path, reason=reason) if isinstance(again, Rejection):
            # A record that is older than redaction holds them as they were.
            as_it_was = (again.path[:LONGEST_PATH], again.reason[:LONGEST_REASON])
            if (path, reason) not in (refusal_told(again), as_it_was):
                return _FoundError(_place(read), "the answer is refused for another reason")
    return None


def _parser(fact: AnyFact) -> str:
    return fact.parser if isinstance(fact, (ProposalMade, AnswerRejected, RunFailed)) else ""


def _unlike(recorded: AnyFact, expected: AnyFact) -> str:
    """The first field in which two facts differ."""
    if recorded.kind != expected.kind:
        return f"{recorded.kind} is recorded, {expected.kind} follows"
    told, made = recorded.model_dump(mode="json"), expected.model_dump(mode="json")
    # A field that says nothing is left out of a fact's JSON.
    name = next(name for name in {**told, **made} if told.get(name) != made.get(name))
    return f"{name} is recorded as {told.get(name)!r}, and is {made.get(name)!r}"


def _place(item: Recorded) -> str:
    return f"{item.chain_id} #{item.seq} ({item.fact.kind})"


def _facts(chain: Sequence[Recorded]) -> tuple[AnyFact, ...]:
    return tuple(item.fact for item in chain)
