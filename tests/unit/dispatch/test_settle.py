"""A person settles what is in doubt: once, with a name and a reason, and with the consequences that it has."""

from __future__ import annotations

import threading

import pytest

from app.adapters.memory.store import MemoryStore
from app.data_plane.dispatch.settle import (
    AlreadySettledError,
    NotAnsweredForError,
    NotInDoubtError,
    Settlement,
    UnknownActionError,
    foresee,
    settle,
)
from app.data_plane.orchestration.cancel import Cancellation, cancel
from app.data_plane.orchestration.cancel import foresee as foresee_cancelling
from app.data_plane.ports import Queue
from app.kernel.facts import (
    AnyFact,
    CancelRequested,
    DeliveryConfirmed,
    DeliveryInDoubt,
    DeliveryProbed,
    DeliveryRetried,
    DeliveryStarted,
    StepGaveUp,
)
from app.kernel.release import Target
from tests.doubtful_workflow import Decided, doubtful_release

PAGER, FORGE = Target(name="pager"), Target(name="forge", probe_path="/v1/keys/{key}")
KEYED = Target(name="tracker", honours_keys=True)


class World:
    """One orchestration in memory."""

    def __init__(self, *targets: Target) -> None:
        self.store = MemoryStore()
        self.decided = Decided(self.store, doubtful_release(*targets))
        self.recorder = self.decided.recorder

    def happen(self, *facts: AnyFact) -> None:
        for fact in facts:
            self.decided.happen(self.decided.ids[0], fact)

    def in_doubt(self, *targets: str) -> None:
        for name in targets:
            key = self.decided.action_id(name)
            self.happen(
                DeliveryStarted(action_id=key, attempt=1),
                DeliveryInDoubt(action_id=key, attempt=1, reason="no answer"),
            )

    def confirmed(self, target: str) -> None:
        key = self.decided.action_id(target)
        self.happen(
            DeliveryStarted(action_id=key, attempt=1),
            DeliveryConfirmed(action_id=key, attempt=1, http_status=201, receipt_digest="0" * 64),
        )

    def settlement(self, target: str, *, applied: bool = True, actor: str = "ines") -> Settlement:
        return Settlement(
            tenant_id="demo",
            orchestration_id=self.decided.ids[0],
            action_id=self.decided.action_id(target),
            applied=applied,
            actor=actor,
            reason="it stands in the pager's own log",
        )

    @property
    def status(self) -> str:
        return self.decided.state().status


def test_the_last_doubt_settled_as_applied_completes_the_orchestration() -> None:
    world = World(PAGER, KEYED)
    world.confirmed("tracker")
    world.in_doubt("pager")
    assert world.status == "dead_lettered"
    settled = settle(world.recorder, world.settlement("pager"))
    assert (settled.orchestration_status, settled.left) == ("completed", ())
    assert world.status == "completed"


def test_while_another_action_gave_up_it_stays_a_dead_letter_and_says_because_of_which() -> None:
    world = World(PAGER, FORGE)
    world.in_doubt("pager", "forge")
    settle(world.recorder, world.settlement("forge", applied=False))
    settled = settle(world.recorder, world.settlement("pager"))
    assert (settled.orchestration_status, settled.left) == ("dead_lettered", ("forge",))


def test_not_applied_leaves_a_dead_letter_that_can_be_resumed() -> None:
    world = World(PAGER)
    world.in_doubt("pager")
    assert (
        settle(world.recorder, world.settlement("pager", applied=False)).orchestration_status
        == "dead_lettered"
    )
    action = world.decided.action("pager")
    assert (action.status, action.applied) == ("settled", False)


def test_the_reason_is_content_and_the_fact_holds_its_digest() -> None:
    world = World(PAGER)
    world.in_doubt("pager")
    settle(world.recorder, world.settlement("pager"))
    facts = world.store.histories(["demo"], world.decided.ids)[world.decided.ids[0]].facts
    (fact,) = [one.fact for one in facts if one.fact.kind == "action_settled"]
    (body,) = world.store.contents(["demo"], [fact.reason_digest]).values()
    assert b"the pager's own log" in body
    assert "log" not in fact.model_dump_json()


def test_an_end_that_rests_on_what_a_person_said_does_not_claim_to_be_confirmed() -> None:
    world = World(PAGER)
    world.in_doubt("pager")
    settle(world.recorder, world.settlement("pager"))
    closed = world.decided.state().closed
    assert closed is not None
    assert closed.reason == "decided, and every permitted action is confirmed or settled"


def test_what_would_follow_is_foreseen_and_nothing_recorded() -> None:
    world = World(PAGER)
    world.in_doubt("pager")
    loaded = world.recorder.load(["demo"], world.decided.ids)[world.decided.ids[0]]
    assert foresee(loaded, world.settlement("pager")).orchestration_status == "completed"
    assert world.decided.action("pager").status == "in_doubt"


def test_one_that_is_still_asked_about_is_settled_by_a_person_and_not_asked_about_any_more() -> None:
    world = World(FORGE, KEYED)
    world.in_doubt("forge")
    assert world.status == "running"
    assert settle(world.recorder, world.settlement("forge")).orchestration_status == "running"
    claims = world.store.claim(Queue.DISPATCH, limit=9, worker="w")
    assert [claim.subject for claim in claims] == ["tracker"]


class TestRefused:
    """With what, why, and what to do; and without a fact."""

    @pytest.mark.parametrize(("actor", "reason"), [("", "seen"), ("  ", "seen"), ("ines", ""), ("ines", " ")])
    def test_without_a_name_or_a_reason(self, actor: str, reason: str) -> None:
        world = World(PAGER)
        world.in_doubt("pager")
        of = world.settlement("pager")
        with pytest.raises(NotAnsweredForError):
            settle(
                world.recorder,
                Settlement(of.tenant_id, of.orchestration_id, of.action_id, True, actor, reason),
            )
        assert world.decided.action("pager").status == "in_doubt"

    def test_of_what_is_unknown(self) -> None:
        world = World(PAGER)
        of = world.settlement("pager")
        with pytest.raises(UnknownActionError):
            settle(
                world.recorder,
                Settlement(of.tenant_id, of.orchestration_id, "act_unknown", True, "ines", "seen"),
            )

    def test_of_what_is_not_in_doubt(self) -> None:
        world = World(PAGER, KEYED)
        for refused in ("authorised", "confirmed"):
            with pytest.raises(NotInDoubtError, match=refused):
                settle(world.recorder, world.settlement("tracker"))
            if refused == "authorised":
                world.confirmed("tracker")

    def test_of_what_somebody_has_settled_by_name(self) -> None:
        world = World(PAGER)
        world.in_doubt("pager")
        settle(world.recorder, world.settlement("pager", applied=False))
        with pytest.raises(AlreadySettledError, match=r"ines has settled .* it was not applied") as refused:
            settle(world.recorder, world.settlement("pager", actor="otto"))
        assert "replay" in refused.value.remedy

    def test_of_what_its_target_has_told(self) -> None:
        world = World(FORGE)
        world.in_doubt("forge")
        world.happen(
            DeliveryProbed(
                action_id=world.decided.action_id("forge"),
                attempt=1,
                probe=1,
                answer="applied",
                reason="",
                receipt_digest="0" * 64,
            )
        )
        with pytest.raises(AlreadySettledError, match="Its target"):
            settle(world.recorder, world.settlement("forge"))


def test_what_was_in_doubt_when_it_was_cancelled_is_settled_and_nothing_follows() -> None:
    """Whoever cancels is told what stays in doubt; it can be told later, else retention would keep it for ever."""
    world = World(PAGER, KEYED)
    world.in_doubt("pager")
    key = world.decided.action_id("tracker")
    world.happen(
        DeliveryStarted(action_id=key, attempt=1),
        DeliveryRetried(action_id=key, attempt=1, reason="no answer", ambiguous=True),
    )
    assert foresee_cancelling(world.decided.state(), ()).in_doubt == ("pager", "tracker")
    world.happen(CancelRequested(actor="otto", reason_digest="0" * 64))
    assert (
        settle(world.recorder, world.settlement("pager", applied=False)).orchestration_status == "cancelled"
    )
    action = world.decided.action("pager")
    assert (action.status, action.applied) == ("settled", False)
    claims = world.store.claim(Queue.DISPATCH, limit=9, worker="w")
    assert "pager" not in [claim.subject for claim in claims]


@pytest.mark.parametrize("busy", [False, True], ids=["closes at once", "waits for another's outcome"])
def test_cancelling_puts_in_doubt_what_may_have_been_applied_and_it_can_be_settled(busy: bool) -> None:
    """An attempt that nobody heard of is not made again, so that nobody would ever find out without a person."""
    world = World(PAGER, KEYED)
    pager, tracker = (world.decided.action_id(name) for name in ("pager", "tracker"))
    world.happen(
        DeliveryStarted(action_id=tracker, attempt=1),
        DeliveryRetried(action_id=tracker, attempt=1, reason="timed_out", ambiguous=True),
    )
    if busy:
        world.happen(DeliveryStarted(action_id=pager, attempt=1))
    cancel(world.recorder, Cancellation("demo", world.decided.ids[0], "otto", "no need", (pager, tracker)))
    assert world.status == ("running" if busy else "cancelled")
    assert world.decided.action("tracker").status == "in_doubt"
    if busy:
        world.happen(DeliveryConfirmed(action_id=pager, attempt=1, http_status=201, receipt_digest="0" * 64))
    else:
        assert world.decided.action("pager").status == "authorised", "it was never sent"
    assert settle(world.recorder, world.settlement("tracker")).orchestration_status == "cancelled"
    assert world.decided.action("tracker").status == "settled"


def test_of_two_people_at_once_one_wins_and_the_other_is_told_by_whom() -> None:
    """Promise 2 needs one truth: two that contradict each other would be none."""
    for _ in range(10):
        world = World(PAGER)
        world.in_doubt("pager")
        together = threading.Barrier(2)
        outcomes: dict[str, str] = {}

        def say(
            actor: str,
            world: World = world,
            together: threading.Barrier = together,
            outcomes: dict[str, str] = outcomes,
        ) -> None:
            settlement = world.settlement("pager", applied=actor == "ines", actor=actor)
            together.wait()
            try:
                settle(world.recorder, settlement)
                outcomes[actor] = "won"
            except AlreadySettledError as refused:
                outcomes[actor] = refused.what

        people = [threading.Thread(target=say, args=(actor,)) for actor in ("ines", "otto")]
        for person in people:
            person.start()
        for person in people:
            person.join()
        (winner,) = [actor for actor, outcome in outcomes.items() if outcome == "won"]
        (loser,) = set(outcomes) - {winner}
        assert outcomes[loser].startswith(f"{winner} has settled")
        assert world.decided.action("pager").applied == (winner == "ines")


def test_what_another_step_gave_up_is_not_mended_by_it() -> None:
    world = World(PAGER, KEYED)
    world.in_doubt("pager")
    world.happen(
        StepGaveUp(
            step_id=world.decided.action_id("tracker"), queue="dispatch", code="lost_worker", attempts=5
        )
    )
    assert settle(world.recorder, world.settlement("pager")).orchestration_status == "dead_lettered"
