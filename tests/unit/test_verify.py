"""A decision is a function of its record: what was recorded yesterday is decided the same by today's code.

And whoever edits a record is found, whether or not the hashes were made to fit again.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.data_plane.agent_runs.proposals import Proposal
from app.data_plane.ingestion.normalisers import normalise
from app.data_plane.replay import verify as verifying
from app.data_plane.replay.explain import explain
from app.data_plane.replay.record import Record, StoredLink
from app.data_plane.replay.verify import verify
from app.kernel.facts import chain_hash
from interlock.canonical import canonical_bytes, digest, digest_bytes
from interlock.envelope import from_json
from tests.recorded import HISTORIES, load

ALL = sorted(HISTORIES.glob("*.json"))
PULL_REQUEST = HISTORIES / "pull_request.json"

Edit = Callable[[dict[str, object]], None]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_recorded_history_is_decided_the_same_by_new_code(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 3, with the network unplugged. The histories are never regenerated to make this pass."""
    monkeypatch.setattr(socket, "socket", None)

    verification = verify(*load(path))

    assert verification.difference is None
    assert verification.decision_recomputed == verification.decision_recorded
    assert verification.decision_recorded is not None
    assert verification.drift == ()


def test_a_changed_byte_in_the_journal_is_found_where_it_is() -> None:
    """The chain is tamper-evident."""
    record, release = load(PULL_REQUEST)
    link = record.chain[3]
    edited = StoredLink(link.body.replace(b'"at":"20', b'"at":"19'), link.hash)
    assert edited != link

    verification = verify(_with_chain(record, 3, edited), release)

    assert verification.difference is not None
    assert verification.difference.place == f"{record.orchestration_id} #3"
    assert "hash" in verification.difference.reason


def test_a_tail_that_was_cut_off_is_found_by_the_row_s_head() -> None:
    """A shorter chain is whole in itself."""
    record, release = load(PULL_REQUEST)

    verification = verify(replace(record, chain=record.chain[:-1]), release)

    assert verification.difference is not None
    assert "head" in verification.difference.place


def test_an_edited_proposal_is_found_although_its_digests_and_hashes_fit_again() -> None:
    """Somebody swaps a proposal, names it by its right digest, and makes every hash anew: the answer gives it away."""
    record, release = load(PULL_REQUEST)
    run = _run_of(record, "classifier")
    old = _fact(record.runs[run][-1])["proposal_digest"]
    proposal = json.loads(record.contents[str(old)]) | {"label": "security"}
    new = digest(proposal)
    edited = _rewritten(
        replace(record, contents={**record.contents, new: canonical_bytes(proposal)}),
        lambda fact: fact.update(proposal_digest=new) if fact.get("proposal_digest") == old else None,
    )

    verification = verify(edited, release)

    assert not verification.matches
    assert verification.decision_recomputed != verification.decision_recorded


def test_an_edited_answer_is_found_by_its_proposal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded proposal must be what the recorded answer says, where the same parser read it."""
    monkeypatch.setattr(verifying, "PARSER", "strict_json/1")
    record, release = load(PULL_REQUEST)
    run = _run_of(record, "classifier")
    old = next(str(fact["answer_digest"]) for fact in map(_fact, record.runs[run]) if "answer_digest" in fact)
    answer = record.contents[old].replace(b'"p', b'"p1 or p', 1)
    new = digest_bytes(answer)
    edited = _rewritten(
        replace(record, contents={**record.contents, new: answer}),
        lambda fact: fact.update(answer_digest=new) if fact.get("answer_digest") == old else None,
        only=run,
    )

    verification = verify(edited, release)

    assert verification.difference is not None
    assert verification.difference.place.startswith(run)


def test_an_edited_raw_payload_is_found_although_its_digests_and_hashes_fit_again() -> None:
    """What came over the wire, read again by the recorded normaliser, must give the event that was decided on."""
    record, release = load(PULL_REQUEST)
    old = str(_fact(record.chain[0])["raw_digest"])
    held = json.loads(record.contents[old])
    held["data"]["pull_request"]["title"] = "Nothing to see here"
    raw = canonical_bytes(held)
    new = digest_bytes(raw)
    edited = _rewritten(
        replace(record, contents={**record.contents, new: raw}),
        lambda fact: fact.update(raw_digest=new) if fact.get("raw_digest") == old else None,
    )

    verification = verify(edited, release)

    assert verification.difference is not None
    assert verification.difference.place == f"{record.orchestration_id} #0 (orchestration_started)"
    assert "raw bytes" in verification.difference.reason


def test_an_event_that_another_version_of_the_normaliser_read_may_drift_and_still_match(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Improving a normaliser breaks no old digest: the recorded event stands."""
    record, release = load(PULL_REQUEST)
    other = load(HISTORIES / "issue.json")[0]
    raw = other.contents[str(_fact(other.chain[0])["raw_digest"])]
    event = normalise(from_json(json.loads(raw)))[1]
    monkeypatch.setattr(verifying, "normalise", lambda envelope: ("github/2", event))

    verification = verify(record, release)

    assert verification.matches
    assert "now github/2" in verification.drift[0]


def test_an_edited_outcome_is_found_in_the_payload_store() -> None:
    """Content is what its digest says."""
    record, release = load(PULL_REQUEST)
    outcome = next(
        str(fact["outcome_digest"]) for fact in map(_fact, record.chain) if "outcome_digest" in fact
    )
    edited = replace(record, contents={**record.contents, outcome: b'{"label":"security"}'})

    verification = verify(edited, release)

    assert verification.difference is not None
    assert verification.difference.place == f"content {outcome[:12]}"


def test_an_edited_outcome_is_found_although_its_digests_and_hashes_fit_again() -> None:
    """Derived facts are made anew from the proposals, not read."""
    record, release = load(PULL_REQUEST)
    new = digest({"label": "security"})
    edited = _rewritten(
        replace(record, contents={**record.contents, new: canonical_bytes({"label": "security"})}),
        lambda fact: fact.update(outcome_digest=new) if fact["kind"] == "stage_decided" else None,
    )

    verification = verify(edited, release)

    assert verification.difference is not None
    assert "stage_decided" in verification.difference.place
    assert "outcome_digest" in verification.difference.reason


def test_an_edited_cost_is_found_although_its_hashes_fit_again() -> None:
    """What an answer cost follows from its tokens and the pinned price table."""
    record, release = load(PULL_REQUEST)
    run = _run_of(record, "classifier")
    edited = _rewritten(
        record,
        lambda fact: fact.update(nano_usd=1) if fact["kind"] == "model_answered" else None,
        only=run,
    )

    verification = verify(edited, release)

    assert verification.difference is not None
    assert verification.difference.place.startswith(run)
    assert "cost" in verification.difference.reason


def test_two_facts_that_changed_places_are_found_although_the_hashes_fit_again() -> None:
    """Order is part of the record: derived facts must follow in the order in which they were made."""
    record, release = load(PULL_REQUEST)
    kinds = [_fact(link)["kind"] for link in record.chain]
    first = next(
        place for place in range(len(kinds) - 1) if kinds[place : place + 2] == ["stage_started"] * 2
    )
    chain = list(record.chain)
    chain[first], chain[first + 1] = chain[first + 1], chain[first]

    verification = verify(_rewritten(replace(record, chain=tuple(chain)), lambda _fact: None), release)

    assert verification.difference is not None
    assert verification.difference.place.startswith(f"{record.orchestration_id} #{first} ")


def test_another_release_than_the_pinned_one_is_refused() -> None:
    """One byte changed, another digest."""
    record, release = load(PULL_REQUEST)
    other = release.model_copy(
        update={"template": release.template.model_copy(update={"description": "Else."})}
    )

    verification = verify(record, other)

    assert verification.difference is not None
    assert verification.difference.place == "release"


def test_an_answer_that_another_version_of_the_parser_read_may_drift_and_still_match(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Improving the parser breaks no old digest: the recorded proposal stands."""
    record, release = load(PULL_REQUEST)
    monkeypatch.setattr(verifying, "PARSER", "another/2")
    monkeypatch.setattr(verifying, "read_answer", lambda text, schema: Proposal({"read": "otherwise"}))

    verification = verify(record, release)

    assert verification.matches
    assert verification.drift


def test_explain_says_who_said_what_which_stage_was_skipped_and_what_the_policy_said() -> None:
    """The four answers, from the record alone."""
    told = explain(*load(HISTORIES / "issue.json"))

    by_name = {stage.name: stage for stage in told.stages}
    assert by_name["risk"].status == "skipped"
    assert by_name["risk"].why == "condition_false"
    assert {voice.agent for voice in by_name["classify"].voices} == {
        "classifier",
        "maintainer",
        "newcomer-advocate",
    }
    assert told.actions[0].permitted
    assert told.actions[0].policies
    assert told.decision.reason
    assert told.version.parsers
    assert told.version.models
    assert any("runs verify" in line for line in told.replay)


@pytest.mark.parametrize("taken", ["orchestration_resumed", "orchestration_closed"])
def test_a_resume_that_was_taken_out_of_the_record_is_missed(taken: str) -> None:
    """An orchestration that gave up, was resumed and ended well: neither its first end nor who reopened it can go."""
    record, release = load(HISTORIES / "resumed.json")
    assert verify(record, release).matches
    place = next(place for place, link in enumerate(record.chain) if _fact(link)["kind"] == taken)
    chain = _chain(
        record.orchestration_id,
        (*record.chain[:place], *record.chain[place + 1 :]),
        lambda _fact: None,
    )
    edited = replace(record, chain=chain, head_seq=len(chain), head_hash=chain[-1].hash)

    verification = verify(edited, release)

    assert verification.difference is not None
    assert verification.decision_recomputed == verification.decision_recorded, (
        "no decision changes by a resume"
    )


def test_explain_says_how_to_replay_what_gave_up() -> None:
    """The fourth question, of a dead letter and of what was mended since."""
    record, release = load(HISTORIES / "resumed.json")
    ended = [
        place for place, link in enumerate(record.chain) if _fact(link)["kind"] == "orchestration_closed"
    ]
    gave_up = replace(record, chain=record.chain[: ended[0] + 1])
    assert any("--mode resume --dry-run" in line for line in explain(gave_up, release).replay)
    mended = explain(record, release)
    assert not any("--mode resume" in line for line in mended.replay)
    assert any("--mode rerun --dry-run" in line for line in mended.replay)
    assert any("alice had it go on" in moment.text for moment in mended.happened)


def _fact(link: StoredLink) -> dict[str, object]:
    fact: dict[str, object] = json.loads(link.body)["fact"]
    return fact


def _run_of(record: Record, agent: str) -> str:
    return next(
        str(fact["run_id"])
        for fact in map(_fact, record.chain)
        if fact["kind"] == "run_folded" and fact["agent"] == agent
    )


def _with_chain(record: Record, place: int, link: StoredLink) -> Record:
    return replace(record, chain=(*record.chain[:place], link, *record.chain[place + 1 :]))


def _rewritten(record: Record, edit: Edit, only: str | None = None) -> Record:
    """The record after an edit of its facts by somebody who then makes all places, hashes and heads fit again."""
    runs = {
        run: _chain(run, links, edit if only in {None, run} else lambda _fact: None)
        for run, links in record.runs.items()
    }

    def fold(fact: dict[str, object]) -> None:
        if only is None:
            edit(fact)
        if fact["kind"] == "run_folded":
            fact["chain_hash"] = runs[str(fact["run_id"])][-1].hash.hex()

    chain = _chain(record.orchestration_id, record.chain, fold)
    return replace(record, chain=chain, runs=runs, head_hash=chain[-1].hash)


def _chain(chain_id: str, links: tuple[StoredLink, ...], edit: Edit) -> tuple[StoredLink, ...]:
    made: list[StoredLink] = []
    previous = b""
    for seq, link in enumerate(links):
        held = json.loads(link.body)
        edit(held["fact"])
        body = canonical_bytes({**held, "chain": chain_id, "seq": seq})
        previous = chain_hash(previous, body)
        made.append(StoredLink(body, previous))
    return tuple(made)
