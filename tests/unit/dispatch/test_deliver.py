"""How deliveries are made and asked about, whatever breaks between a start, a send and a record (promise 2)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from app.adapters.memory.store import MemoryStore
from app.data_plane.dispatch import deliver
from app.data_plane.dispatch.attempts import SEND_WITHIN_SECONDS
from app.data_plane.dispatch.deliver import ALONE_AT_ONCE, Dispatcher
from app.data_plane.orchestration.cancel import Cancellation, cancel
from app.data_plane.orchestration.state import MOST_PROBES
from app.data_plane.ports import Carrier, Change, Committed, Delivery, History, Probe, ProbeAnswer, Receipt
from app.kernel import fault_points
from app.kernel.errors import DefectError, TransientError
from app.kernel.facts import ActionSettled, CancelRequested, DeliveryConfirmed, DeliveryStarted
from app.kernel.fault_points import FaultPoint
from app.kernel.release import Target
from tests.doubtful_workflow import Decided, doubtful_release

KEYED = Target(name="tracker", honours_keys=True, timeout_seconds=1)
FORGETFUL = Target(name="pager", timeout_seconds=1)
ASKED = Target(name="forge", timeout_seconds=1, probe_path="/v1/keys/{key}")
TAKEN = Receipt("confirmed", 201, b"{}")
UNKNOWN = Receipt("unknown", reason="timed_out")
LATER_SECONDS = 3600.0


class ManualClock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """See ``Clock.now``."""
        return self.moment

    def seconds(self) -> float:
        """The same as seconds, for leases."""
        return self.moment.timestamp()

    def passes(self, seconds: float) -> None:
        """Let so much time pass."""
        self.moment += timedelta(seconds=seconds)


class ScriptedTargets:
    """``Targets`` that answer as a test says, and remember what they saw."""

    def __init__(self) -> None:
        self.sent: list[Delivery] = []
        self.asked: list[Probe] = []
        self.receipt: Callable[[Delivery], Awaitable[Receipt]] = self._taken
        self.answer = ProbeAnswer("applied", 200, b'{"applied":true}')

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Receipt]:
        """See ``Targets.deliver``."""
        self.sent += deliveries
        return [await self.receipt(delivery) for delivery in deliveries]

    async def probe(self, probes: Sequence[Probe]) -> list[ProbeAnswer]:
        """See ``Targets.probe``."""
        self.asked += probes
        return [self.answer for _ in probes]

    def always(self, receipt: Receipt) -> None:
        """Answer each delivery so."""

        async def answer(_: Delivery) -> Receipt:
            return receipt

        self.receipt = answer

    async def _taken(self, _: Delivery) -> Receipt:
        return TAKEN


class BreakingStore(MemoryStore):
    """A store whose connection breaks at some commits, before or after they count."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock, clock.seconds)
        self.breaks: list[str] = []
        self.after: Callable[[], None] | None = None

    def commit(self, changes: Sequence[Change]) -> Committed:
        """See ``Store.commit``."""
        broken = self.breaks.pop(0) if self.breaks else ""
        if broken == "before":
            raise TransientError("the connection broke before it committed")
        if broken == "defect":
            raise DefectError("a defect")
        committed = super().commit(changes)
        if self.after is not None:
            self.after()
        if broken == "after":
            raise TransientError("the connection broke while it committed")
        return committed


class World:
    """A dispatcher over a store in memory and scripted targets."""

    def __init__(self, *targets: Target, events: int = 1) -> None:
        self.clock = ManualClock()
        self.store = BreakingStore(self.clock)
        self.targets = ScriptedTargets()
        self.decided = Decided(self.store, doubtful_release(*targets), events)
        carrier = cast(Carrier, self.decided.carrier)
        self.dispatcher = Dispatcher(
            self.store, self.decided.recorder, self.targets, carrier, self.clock, batch_size=64
        )

    def deliver(self) -> tuple[int, int]:
        """Deliver whatever is due."""
        work = asyncio.run(self.dispatcher.deliver("w"))
        return work.steps, work.failed

    def later(self, seconds: float = LATER_SECONDS) -> tuple[int, int]:
        """Deliver whatever is due after so much time, in which every lease ends."""
        self.clock.passes(seconds)
        return self.deliver()


@pytest.fixture
def armed() -> Iterator[Callable[[fault_points.Hook], None]]:
    """Puts a hook behind the fault points, for as long as the test runs."""
    yield fault_points.arm
    fault_points.arm(None)


@pytest.mark.parametrize("target", [KEYED, FORGETFUL, ASKED])
def test_an_action_is_sent_once_and_confirmed(target: Target) -> None:
    world = World(target)
    assert world.deliver() == (1, 0)
    assert world.later() == (0, 0)
    assert world.decided.kinds(target.name) == [
        "action_authorised",
        "delivery_started",
        "delivery_confirmed",
    ]
    assert world.decided.state().status == "completed"
    assert [one.attempt for one in world.targets.sent] == [1]


class TestUnknown:
    """Sent, and no answer came back."""

    def test_at_a_target_that_honours_keys_it_is_sent_again_with_the_same_key(self) -> None:
        world = World(KEYED)
        world.targets.always(UNKNOWN)
        world.deliver()
        assert world.decided.action("tracker").ambiguous
        world.targets.always(TAKEN)
        assert world.later() == (1, 0)
        first, second = world.targets.sent
        assert first.idempotency_key == second.idempotency_key
        assert world.decided.state().status == "completed"

    def test_but_not_when_the_target_may_have_forgotten_the_key(self) -> None:
        world = World(KEYED)
        world.targets.always(UNKNOWN)
        world.deliver()
        world.later(KEYED.key_ttl_seconds)
        assert len(world.targets.sent) == 1
        assert world.decided.action("tracker").status == "in_doubt"
        assert world.decided.state().status == "dead_lettered"

    def test_at_a_target_that_cannot_be_asked_it_waits_for_a_person(self) -> None:
        world = World(FORGETFUL)
        world.targets.always(UNKNOWN)
        world.deliver()
        assert world.later() == (0, 0)
        assert len(world.targets.sent) == 1
        assert world.decided.state().status == "dead_lettered"

    @pytest.mark.parametrize(
        ("answer", "applied", "status"),
        [
            (ProbeAnswer("applied", 200), True, "completed"),
            (ProbeAnswer("not_applied", 404), False, "dead_lettered"),
        ],
    )
    def test_a_target_that_can_be_asked_settles_it_and_it_is_not_sent_again(
        self, answer: ProbeAnswer, applied: bool, status: str
    ) -> None:
        world = World(ASKED)
        world.targets.always(UNKNOWN)
        world.targets.answer = answer
        world.deliver()
        assert world.decided.state().status == "running"
        world.later()
        action = world.decided.action("forge")
        assert (action.status, action.applied) == ("settled", applied)
        assert world.decided.state().status == status
        assert world.later() == (0, 0)
        assert len(world.targets.sent) == 1
        (probe,) = world.targets.asked
        assert (probe.path, probe.idempotency_key) == (
            "/v1/keys/{key}",
            world.targets.sent[0].idempotency_key,
        )

    def test_it_is_not_asked_before_the_attempt_is_over_for_certain(self) -> None:
        """A connection that breaks at once says nothing about what its target is still doing."""
        world = World(ASKED)
        world.targets.always(UNKNOWN)
        world.deliver()
        assert world.later(ASKED.timeout_seconds) == (0, 0)
        assert world.targets.asked == []

    def test_one_that_gives_no_answer_is_asked_again_ever_later_until_a_person_must_tell(self) -> None:
        world = World(ASKED)
        world.targets.always(UNKNOWN)
        world.targets.answer = ProbeAnswer("unknown", 500, reason="http_500")
        world.deliver()
        waits: list[int] = []
        while world.decided.state().status == "running":
            waits.append(0)
            while world.later(1.0) == (0, 0):
                waits[-1] += 1
        assert len(world.targets.asked) == len(waits) == MOST_PROBES
        assert waits[1:] == sorted(waits[1:])
        assert world.decided.action("forge").status == "in_doubt"
        assert world.decided.state().status == "dead_lettered"
        assert world.later() == (0, 0)

    def test_a_target_that_may_have_forgotten_the_key_is_not_believed_that_it_never_knew_it(self) -> None:
        world = World(ASKED)
        world.targets.always(UNKNOWN)
        world.targets.answer = ProbeAnswer("not_applied", 404)
        world.deliver()
        world.later(ASKED.key_ttl_seconds)
        assert len(world.targets.asked) == 1
        assert world.decided.action("forge").status == "in_doubt"

    def test_a_person_is_faster_than_the_probe(self) -> None:
        world = World(ASKED)
        world.targets.always(UNKNOWN)
        world.deliver()
        key, orchestration = world.decided.action_id("forge"), world.decided.ids[0]
        told = ActionSettled(action_id=key, attempt=1, applied=True, actor="ines", reason_digest="0" * 64)
        world.decided.happen(orchestration, told)
        assert world.later() == (1, 0)
        assert world.targets.asked == []
        assert world.decided.state().status == "completed"

    def test_nothing_is_asked_of_a_cancelled_orchestration(self) -> None:
        world = World(ASKED)
        world.targets.always(UNKNOWN)
        world.deliver()
        world.decided.happen(world.decided.ids[0], CancelRequested(actor="ines", reason_digest="0" * 64))
        world.later()
        assert world.targets.asked == []
        assert world.later() == (0, 0)


class TestCancelledMeanwhile:
    """Somebody cancels while an attempt is under way; its outcome is waited for, and nothing more is sent."""

    @pytest.mark.parametrize("target", [KEYED, FORGETFUL], ids=lambda target: target.name)
    def test_an_outcome_that_nobody_knows_is_in_doubt(self, target: Target) -> None:
        """Promise 2: it is neither sent again nor told to be unsent, and a person can settle it."""
        world = World(target)
        self._cancelled_before(world, UNKNOWN)
        world.deliver()
        assert world.decided.action(target.name).status == "in_doubt"
        assert world.decided.state().status == "cancelled"
        assert world.later() == (0, 0)

    def test_what_was_certainly_not_taken_stays_unsent(self) -> None:
        world = World(KEYED)
        self._cancelled_before(world, Receipt("retry", 429, reason="http_429"))
        world.deliver()
        assert world.decided.action("tracker").status == "authorised"
        assert world.decided.state().status == "cancelled"

    def test_what_was_not_taken_now_but_perhaps_before_is_in_doubt(self) -> None:
        world = World(KEYED)
        world.targets.always(UNKNOWN)
        world.deliver()
        self._cancelled_before(world, Receipt("retry", 429, reason="http_429"))
        world.later()
        assert world.decided.action("tracker").status == "in_doubt"
        assert world.decided.state().status == "cancelled"

    def _cancelled_before(self, world: World, receipt: Receipt) -> None:
        async def answer(_: Delivery) -> Receipt:
            key = world.decided.ids[0]
            cancel(world.decided.recorder, Cancellation("demo", key, "ines", "no need", ()))
            return receipt

        world.targets.receipt = answer


class TestUnheardOf:
    """An attempt whose process was never heard of again."""

    def test_is_in_doubt_where_keys_are_not_honoured_and_asked_about_where_that_helps(self) -> None:
        world = World(FORGETFUL, ASKED)
        self._begin(world, "pager", "forge")
        assert world.deliver() == (2, 0)
        assert world.targets.sent == []
        assert [world.decided.action(name).status for name in ("pager", "forge")] == ["in_doubt"] * 2
        world.later()
        assert world.decided.action("forge").status == "settled"
        assert world.decided.action("pager").status == "in_doubt"
        assert world.targets.sent == []

    def test_is_asked_about_only_when_whoever_made_it_cannot_be_at_it_any_more(self) -> None:
        """Its worker may have been slow and not dead: the attempt ends by its own time limits."""
        world = World(ASKED)
        self._begin(world, "forge")
        world.deliver()
        assert world.later(SEND_WITHIN_SECONDS + ASKED.timeout_seconds) == (0, 0)
        assert world.later(LATER_SECONDS) == (1, 0)
        assert len(world.targets.asked) == 1

    def test_is_sent_again_where_keys_are_honoured(self) -> None:
        world = World(KEYED)
        self._begin(world, "tracker")
        assert world.deliver() == (1, 0)
        assert [one.attempt for one in world.targets.sent] == [2]

    def _begin(self, world: World, *targets: str) -> None:
        for name in targets:
            fact = DeliveryStarted(action_id=world.decided.action_id(name), attempt=1)
            world.decided.happen(world.decided.ids[0], fact)


class TestTheDatabaseIsAway:
    """What the process knows is not put in doubt by a connection that breaks."""

    @pytest.mark.parametrize("breaks", [["before"], ["after"], ["before", "after"], ["after", "before"]])
    @pytest.mark.parametrize("target", [KEYED, FORGETFUL])
    def test_a_start_that_may_be_recorded_is_its_own_when_it_is_found(
        self, target: Target, breaks: list[str]
    ) -> None:
        """No second start comes of that confusion, and nothing that was not sent is in doubt."""
        world = World(target)
        world.store.breaks = list(breaks)
        assert world.deliver() == (1, 0)
        assert world.decided.kinds(target.name) == [
            "action_authorised",
            "delivery_started",
            "delivery_confirmed",
        ]
        assert len(world.targets.sent) == 1

    @pytest.mark.parametrize("breaks", [["before"], ["after"], ["before", "before", "after"]])
    @pytest.mark.parametrize(
        ("receipt", "last"),
        [(TAKEN, "delivery_confirmed"), (UNKNOWN, "delivery_in_doubt")],
    )
    def test_a_receipt_is_held_on_to_and_recorded_once(
        self, receipt: Receipt, last: str, breaks: list[str]
    ) -> None:
        world = World(FORGETFUL)

        async def answer(_: Delivery) -> Receipt:
            world.store.breaks = list(breaks)
            return receipt

        world.targets.receipt = answer
        world.deliver()
        assert world.decided.kinds("pager") == ["action_authorised", "delivery_started", last]
        assert world.later() == (0, 0)
        assert len(world.targets.sent) == 1

    def test_a_start_that_was_recorded_long_ago_is_not_sent_any_more_and_not_in_doubt(self) -> None:
        """Its lease may be over and another worker at it: nothing was sent, and that is known."""
        world = World(FORGETFUL)

        def slow() -> None:
            world.clock.passes(SEND_WITHIN_SECONDS + 1)
            world.store.after = None

        world.store.after = slow
        assert world.deliver() == (1, 1)
        assert world.targets.sent == []
        assert world.decided.kinds("pager")[-2:] == ["delivery_started", "delivery_retried"]
        assert world.later() == (1, 0)
        assert [one.attempt for one in world.targets.sent] == [2]

    def test_a_defect_in_one_delivery_lets_the_others_be_recorded_before_it_is_told(self) -> None:
        """Whoever is told gives the message's leases back: not before all of its attempts are over."""
        world = World(FORGETFUL, KEYED)

        async def answer(delivery: Delivery) -> Receipt:
            if delivery.target == "pager":
                world.store.breaks = ["defect"]
            else:
                await asyncio.sleep(0.1)
            return TAKEN

        world.targets.receipt = answer
        with pytest.raises(DefectError):
            world.deliver()
        assert world.decided.kinds("tracker")[-1] == "delivery_confirmed"
        assert world.decided.action("pager").status == "sending"


class TestCancelling:
    """A time-out or a shutdown cancels the task in the middle."""

    @pytest.mark.parametrize(("target", "then"), [(KEYED, "confirmed"), (FORGETFUL, "in_doubt")])
    def test_an_attempt_that_is_cut_off_stays_begun_and_the_next_claim_finds_it(
        self, target: Target, then: str
    ) -> None:
        world = World(target)

        async def cut_off() -> None:
            under_way = asyncio.Event()

            async def never(_: Delivery) -> Receipt:
                under_way.set()
                await asyncio.Event().wait()
                raise AssertionError

            world.targets.receipt = never
            task = asyncio.create_task(world.dispatcher.deliver("w"))
            await under_way.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cut_off())
        assert world.decided.kinds(target.name) == ["action_authorised", "delivery_started"]
        world.targets.always(TAKEN)
        world.later()
        assert world.decided.action(target.name).status == then


class TestOneByOne:
    """Targets that do not honour keys get one call at a time, and few at once."""

    def test_a_delivery_whose_turn_does_not_come_in_time_is_given_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Waiting behind a slow target, its lease would end, and count as a lost worker's."""
        world = World(FORGETFUL, events=ALONE_AT_ONCE + 2)
        monkeypatch.setattr(deliver, "turn_seconds", lambda *_: 0.1)

        async def hangs(_: Delivery) -> Receipt:
            await asyncio.sleep(0.4)
            return TAKEN

        world.targets.receipt = hangs
        assert world.deliver() == (ALONE_AT_ONCE + 2, 2)
        assert len(world.targets.sent) == ALONE_AT_ONCE
        assert world.decided.carrier.times > 0
        world.targets.always(TAKEN)
        assert world.deliver() == (2, 0)
        assert {world.decided.state(key).status for key in world.decided.ids} == {"completed"}


def test_a_step_whose_lease_is_over_before_it_is_begun_is_given_back() -> None:
    """Another worker may have it any moment: two would be at it."""
    world = World(FORGETFUL)
    histories = world.store.histories

    def slow(tenants: Sequence[str], orchestration_ids: Sequence[str]) -> dict[str, History]:
        world.clock.passes(60)
        world.store.histories = histories  # type: ignore[method-assign]
        return histories(tenants, orchestration_ids)

    world.store.histories = slow  # type: ignore[method-assign]
    assert world.deliver() == (1, 0)
    assert world.decided.kinds("pager") == ["action_authorised"]
    assert world.deliver() == (1, 0)
    assert len(world.targets.sent) == 1


def test_the_fault_points_stand_around_the_effect(armed: Callable[[fault_points.Hook], None]) -> None:
    """The start is recorded at the first of them; at the second the target has it, and no answer is recorded."""
    world = World(FORGETFUL)
    seen: list[tuple[str, int]] = []

    def look(point: FaultPoint, queue: str) -> None:
        if queue == "dispatch" and point in {
            FaultPoint.BEFORE_EFFECT,
            FaultPoint.AFTER_EFFECT_BEFORE_RECORD,
        }:
            seen.append((world.decided.kinds("pager")[-1], len(world.targets.sent)))

    armed(look)
    world.deliver()
    assert seen == [("delivery_started", 0), ("delivery_started", 1)]


def test_what_the_target_says_of_a_key_is_kept_with_the_fact() -> None:
    """The digest of the answer's bytes, and the bytes in the payload store."""
    world = World(ASKED)
    world.targets.always(UNKNOWN)
    world.deliver()
    world.later()
    history = world.store.histories(["demo"], world.decided.ids)[world.decided.ids[0]]
    (probed,) = [one.fact for one in history.facts if one.fact.kind == "delivery_probed"]
    assert probed.probe == 1
    found = world.store.contents(["demo"], [probed.receipt_digest])
    assert list(found.values()) == [world.targets.answer.body]
    assert not any(isinstance(one.fact, DeliveryConfirmed) for one in history.facts)
