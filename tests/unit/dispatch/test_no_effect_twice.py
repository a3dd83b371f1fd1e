"""Promise 2 as a law: whatever targets, crashes, probes, people and time do, nothing is applied twice.

Hypothesis plays the world: it makes answers and crashes, lets time pass, forgets keys when the target may, and has
people and targets say what is true. What is sent, and when, is decided by the pure code alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.data_plane.dispatch.attempts import SEND_WITHIN_SECONDS, after_receipt, before_attempt
from app.data_plane.dispatch.doubts import after_probe, can_be_asked, too_early_seconds
from app.data_plane.orchestration.action_state import ActionState
from app.data_plane.orchestration.progress import progress
from app.data_plane.ports import Delivery, ProbeAnswer, Receipt
from app.kernel.clock import to_text
from app.kernel.facts import (
    ActionSettled,
    AnyFact,
    DeliveryStarted,
    OrchestrationResumed,
    Recorded,
)
from app.kernel.release import Target
from tests.branching_workflow import ORCHESTRATION, Example
from tests.doubtful_workflow import doubtful_release

KEY_TTL = 60
TIMEOUT = 2.0
KEYED = Target(
    name="target", honours_keys=True, key_ttl_seconds=KEY_TTL, timeout_seconds=TIMEOUT, max_attempts=3
)
FORGETFUL = Target(name="target", key_ttl_seconds=KEY_TTL, timeout_seconds=TIMEOUT, max_attempts=3)
KINDS = [
    target.model_copy(update={"probe_path": path})
    for target in (KEYED, FORGETFUL)
    for path in (None, "/v1/keys/{key}")
]

quick = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])

Fate = Literal["confirmed", "refused", "retry", "unknown", "crash"]
FATES: list[Fate] = ["unknown", "crash", "unknown", "retry", "refused", "confirmed"]
"""Doubts come first: nothing interesting follows a confirmation."""


@lru_cache(maxsize=len(KINDS))
def decided(honours_keys: bool, probe_path: str | None) -> Example:
    """The orchestration up to where its one action may be sent; made once, as nothing changes it."""
    (target,) = (one for one in KINDS if (one.honours_keys, one.probe_path) == (honours_keys, probe_path))
    example = Example(doubtful_release(target))
    example.begin()
    example.fold("classify", "alpha", "low")
    return example


@dataclass
class World:
    """One action at one target, and what is true of it."""

    target: Target
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    facts: list[Recorded] = field(default_factory=list)
    sent: int = 0
    applied: int = 0
    key_known_until: datetime | None = None
    unheard_of: bool = False
    """An attempt was made whose outcome nobody was told, and nobody has found out since."""
    first_sent: datetime | None = None

    def __post_init__(self) -> None:
        example = decided(self.target.honours_keys, self.target.probe_path)
        self.state, self.contents = example.state, example.contents
        self.facts += example.recorded(self.now)
        (self.key,) = self.state.actions_by_id

    @property
    def action(self) -> ActionState:
        """What is known of the action."""
        return self.state.actions_by_id[self.key]

    def happen(self, fact: AnyFact) -> None:
        """Let it be recorded, with what follows from it."""
        step = progress(self.state, fact, self.contents)
        self.state = step.state
        for one in step.facts:
            self.facts.append(Recorded(ORCHESTRATION, len(self.facts), to_text(self.now), one))

    def attempt(self, fate: Fate, took: float, lost: bool) -> None:
        """A dispatcher's turn: if it sends, the target acts or not, and its answer comes or not."""
        fact = before_attempt(self.state, self.key, self.facts, self.now)
        if fact is None:
            return
        self.happen(fact)
        if not isinstance(fact, DeliveryStarted):
            return
        self.now += timedelta(seconds=took)
        self._send(acts=fate == "confirmed" or (fate in {"unknown", "crash"} and not lost))
        if fate == "crash":
            self.unheard_of = True
            return
        delivery = Delivery(
            "demo", "target", self.key, "", "", "", "", "", {}, b"", TIMEOUT, fact.attempt, None
        )
        after = after_receipt(delivery, self.action, self.target, Receipt(fate))
        self.unheard_of = fate == "unknown" or (self.unheard_of and fate != "confirmed")
        self.happen(after.fact)

    def _send(self, *, acts: bool) -> None:
        assert self.target.honours_keys or not self.unheard_of, "sent, though an attempt was not heard of"
        if self.unheard_of:
            assert self.first_sent is not None
            assert self.now < self.first_sent + timedelta(seconds=KEY_TTL), "sent past key_ttl"
        self.sent += 1
        self.first_sent = self.first_sent or self.now
        known = self.key_known_until is not None and self.now < self.key_known_until
        if acts and not (known and self.target.honours_keys):
            self.applied += 1
            self.key_known_until = self.now + timedelta(seconds=KEY_TTL)

    def ask(self, *, answers: bool) -> None:
        """A dispatcher's other turn: the target says what it knows."""
        if not can_be_asked(self.state, self.key):
            return
        self.now += timedelta(seconds=too_early_seconds(self.action, self.target, self.facts, self.now))
        known = self.key_known_until is not None and self.now < self.key_known_until
        answer = ProbeAnswer("unknown", 500)
        if answers:
            answer = ProbeAnswer("applied", 200) if known else ProbeAnswer("not_applied", 404)
        self.happen(after_probe(self.action, self.target, self.facts, answer, self.now).fact)
        self.unheard_of = self.unheard_of and self.action.status != "settled"

    def settle(self) -> None:
        """A person looks, and says what is true."""
        if self.action.status == "in_doubt":
            applied = self.applied > 0
            fact = ActionSettled(
                action_id=self.key,
                attempt=self.action.attempts,
                applied=applied,
                actor="ines",
                reason_digest="0" * 64,
            )
            self.happen(fact)
            self.unheard_of = False

    def resume(self, number: int) -> None:
        """A person has it go on."""
        self.happen(OrchestrationResumed(replay_id=f"rpl_{number}", actor="ines", reason_digest="0" * 64))


def play(data: st.DataObject, target: Target) -> World:
    """A life of an action at such a target."""
    world = World(target)
    for turn in range(data.draw(st.integers(1, 14))):
        move = data.draw(st.sampled_from(["attempt", "attempt", "ask", "settle", "resume", "wait", "wait"]))
        if move == "attempt":
            fate = data.draw(st.sampled_from(FATES))
            took = data.draw(st.floats(0, SEND_WITHIN_SECONDS + TIMEOUT))
            world.attempt(fate, took, data.draw(st.booleans()))
        elif move == "ask":
            world.now += timedelta(seconds=data.draw(st.sampled_from([0.0, KEY_TTL * 3])))
            world.ask(answers=data.draw(st.booleans()))
        elif move == "settle":
            world.settle()
        elif move == "resume":
            world.resume(turn)
        else:
            world.now += timedelta(seconds=data.draw(st.sampled_from([1.0, KEY_TTL / 2, KEY_TTL * 3])))
    return world


@pytest.mark.parametrize("target", KINDS, ids=["keyed", "keyed-asked", "forgetful", "forgetful-asked"])
@quick
@given(data=st.data())
def test_nothing_is_applied_twice_and_nothing_that_is_unheard_of_is_sent_where_that_could(
    target: Target, data: st.DataObject
) -> None:
    """Nor is anything that nobody heard of sent at a target without keys, or past the time that a key is kept."""
    world = play(data, target)
    assert world.applied <= 1


@pytest.mark.parametrize("target", KINDS, ids=["keyed", "keyed-asked", "forgetful", "forgetful-asked"])
@quick
@given(data=st.data())
def test_what_is_said_of_an_action_is_true(target: Target, data: st.DataObject) -> None:
    """Confirmed and settled as applied: it was. Failed and settled as not applied: it was not."""
    world = play(data, target)
    action = world.action
    if action.status == "confirmed" or (action.status == "settled" and action.applied):
        assert world.applied == 1
    if action.status == "failed" or (action.status == "settled" and not action.applied):
        assert world.applied == 0
