"""One provider after another, one beside another, within budgets and limits: each question once, each end a fact."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from app.adapters.memory.breakers import MemoryBreakers
from app.adapters.memory.budgets import MemoryBudgets
from app.data_plane.agent_runs.asking import Asker
from app.data_plane.agent_runs.purse import Purse
from app.data_plane.agent_runs.question import LeaseLostError, Questioner
from app.data_plane.agent_runs.run import Run, ended, interpret, resume
from app.data_plane.budgets.reservations import Account, Line, Refusal, Wanted
from app.data_plane.contents import Contents
from app.data_plane.models import ModelAnswer, ModelProvider, ModelRequest, ProviderUnavailableError
from app.data_plane.orchestration.recorder import Loaded
from app.data_plane.ports import Claim, History, Queue
from app.kernel.clock import SystemClock
from app.kernel.errors import TransientError
from app.kernel.facts import (
    AnyFact,
    BudgetRefused,
    ModelAnswered,
    ModelAsked,
    ModelFailed,
    ProposalMade,
    ProviderHop,
    RunFailed,
)
from app.kernel.release import BreakerPolicy, Release
from interlock.identity import run_id
from tests.branching_workflow import ORCHESTRATION, Example
from tests.modelled_workflow import NEVER_OPENS, modelled_release, openai

GOOD = ModelAnswer('{"level": "high"}', "some-model-1", input_tokens=10, output_tokens=5)
BAD = ModelAnswer("no idea", "some-model-1", input_tokens=10, output_tokens=5)
Behaviour = Callable[[ModelRequest], Awaitable[ModelAnswer]]


@dataclass
class Fake:
    """Providers that do as they are told, and remember what they were asked and what was cancelled."""

    behaviours: Mapping[str, Behaviour]
    asked: list[str] = field(default_factory=list)
    requests: list[ModelRequest] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def open(self, release: Release, name: str) -> ModelProvider:
        """See ``Providers``."""
        return cast(ModelProvider, _One(self, name))


@dataclass
class _One:
    fake: Fake
    name: str

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        self.fake.asked.append(self.name)
        self.fake.requests.append(request)
        try:
            return await self.fake.behaviours[self.name](request)
        except asyncio.CancelledError:
            self.fake.cancelled.append(self.name)
            raise


async def good(_: ModelRequest) -> ModelAnswer:
    return GOOD


async def bad(_: ModelRequest) -> ModelAnswer:
    return BAD


async def never(_: ModelRequest) -> ModelAnswer:
    await asyncio.Event().wait()
    raise AssertionError


async def unreachable(_: ModelRequest) -> ModelAnswer:
    raise ProviderUnavailableError("provider_unreachable", "nobody there")


def busy_once(seconds: float) -> Behaviour:
    seen: list[ModelRequest] = []

    async def behave(request: ModelRequest) -> ModelAnswer:
        seen.append(request)
        if len(seen) > 1:
            return GOOD
        raise ProviderUnavailableError("provider_busy", "later", retry_after_seconds=seconds)

    return behave


class OneTenant:
    """A tenant's account, if there is one."""

    def __init__(self, account: Account | None = None) -> None:
        self._account = account

    def account(self, tenant_id: str) -> Account | None:
        """See ``TenantAccounts``."""
        return self._account


@dataclass
class Asked:
    """A run that was carried to its end, and what was seen beside it."""

    run: Run
    fake: Fake
    budgets: MemoryBudgets

    def of(self, kind: type[AnyFact]) -> list[AnyFact]:
        return [fact for fact in self.run.chain if isinstance(fact, kind)]

    @property
    def hops(self) -> list[tuple[str, str, str]]:
        return [(hop.left, hop.to, hop.reason) for hop in self.run.chain if isinstance(hop, ProviderHop)]


def new_run(release: Release) -> Run:
    """A run of the release's one stage, claimed for the first time."""
    example = Example(release)
    example.begin()
    run = run_id(ORCHESTRATION, "classify", "alpha")
    claim = Claim(run, "demo", ORCHESTRATION, Queue.AGENT_RUNS, "classify", "alpha", None, 1, 1)
    history = History(ORCHESTRATION, "demo", release.digest, None, (), 0)
    return resume(claim, Loaded(history, example.state, Contents(example.contents.all())), (), {})


def carry(
    behaviours: Mapping[str, Behaviour],
    *,
    account: Account | None = None,
    breakers: MemoryBreakers | None = None,
    agent: Mapping[str, object] | None = None,
    stage: Mapping[str, object] | None = None,
    budgets: MemoryBudgets | None = None,
    priced: bool = True,
    breaker: BreakerPolicy | None = None,
) -> Asked:
    """Ask until the run is over."""
    release = modelled_release(
        [openai(name, "http://127.0.0.1:9", breaker or NEVER_OPENS) for name in behaviours],
        agent=agent,
        stage_fields=stage,
    )
    if not priced:
        release = release.model_copy(update={"prices": {}})
    fake, budgets = Fake(behaviours), budgets or MemoryBudgets(lambda _step, _fence: True)
    purse = Purse(budgets, OneTenant(account))
    asker = Asker(Questioner(fake, breakers or MemoryBreakers(), purse, SystemClock()))
    run = new_run(release)

    async def to_the_end() -> None:
        async with asyncio.timeout(30):
            while not ended(run):
                await asker.ask(run)
                interpret(run, asyncio.get_running_loop().time(), "2026-01-01T00:00:00Z")

    asyncio.run(to_the_end())
    budgets.settle((), run.settlements)
    return Asked(run, fake, budgets)


class TestInOrder:
    """The chain, and its ends."""

    def test_the_first_answer_that_is_a_proposal_ends_it(self) -> None:
        told = carry({"first": unreachable, "second": good, "third": good})
        assert told.fake.asked == ["first", "second"]
        assert told.hops == [("first", "second", "provider_unreachable")]
        (answered,) = told.of(ModelAnswered)
        assert isinstance(answered, ModelAnswered)
        assert (answered.provider, answered.nano_usd) == ("second", 10 * 1000 + 5 * 4000)

    def test_a_rejected_answer_is_asked_for_again_with_its_reason_and_then_another_provider(self) -> None:
        told = carry({"first": bad, "second": good})
        assert told.fake.asked == ["first", "first", "second"]
        correction = told.fake.requests[1].correction
        assert correction is not None
        assert correction.answer == BAD.text
        assert told.fake.requests[2].correction is None
        assert told.hops == [("first", "second", "invalid_answer")]

    def test_nobody_left_is_the_end_and_a_turn_to_nobody(self) -> None:
        told = carry({"first": unreachable, "second": unreachable})
        assert told.hops[-1] == ("second", "", "provider_unreachable")
        (end,) = told.of(RunFailed)
        assert isinstance(end, RunFailed)
        assert end.failure == "provider_unavailable"

    def test_who_says_when_is_asked_again_then(self) -> None:
        told = carry({"first": busy_once(0.01)})
        assert told.fake.asked == ["first", "first"]
        assert told.hops == [("first", "first", "provider_busy")]

    def test_who_says_when_is_not_waited_for_beyond_the_stages_limit(self) -> None:
        told = carry({"first": busy_once(60)}, stage={"timeout_seconds": 1})
        assert told.fake.asked == ["first"]

    def test_at_the_stages_limit_the_call_in_flight_is_cancelled_and_nobody_else_is_asked(self) -> None:
        told = carry({"first": never, "second": good}, stage={"timeout_seconds": 0.05})
        assert (told.fake.asked, told.fake.cancelled) == (["first"], ["first"])
        (cut,) = told.of(ModelFailed)
        assert isinstance(cut, ModelFailed)
        assert (cut.code, cut.presumed, cut.nano_usd > 0) == ("cancelled", True, True)
        (end,) = told.of(RunFailed)
        assert isinstance(end, RunFailed)
        assert end.failure == "timed_out"


class TestBreakers:
    """What a breaker does not admit is not asked."""

    def test_an_open_breaker_is_passed_over_and_heard_of_as_a_fact(self) -> None:
        breakers = MemoryBreakers()
        breakers.ordered["first", "some-model-1"] = "forced_open"
        told = carry({"first": good, "second": good}, breakers=breakers)
        assert told.fake.asked == ["second"]
        assert told.hops == [("first", "second", "forced_open")]

    def test_what_a_stages_limit_cuts_off_is_no_failure_of_the_provider(self) -> None:
        """Or slow stages would take providers from everybody else."""
        breakers, provider = MemoryBreakers(), openai("first", "http://x", BreakerPolicy(failures=1))
        carry({"first": never}, stage={"timeout_seconds": 0.05}, breakers=breakers)
        assert asyncio.run(breakers.admit(provider)).admitted
        told = carry({"first": bad}, breakers=breakers)
        assert len(told.fake.asked) == 2, "and neither is an answer that is no proposal"


class TestHedging:
    """A second provider beside a slow one."""

    def test_the_second_is_asked_when_the_first_is_slow_and_the_first_answer_counts(self) -> None:
        told = carry({"first": never, "second": good}, agent={"hedge_after_seconds": 0.02})
        assert (told.fake.asked, told.fake.cancelled) == (["first", "second"], ["first"])
        assert told.hops == [("first", "second", "slow")]
        (lost,) = told.of(ModelFailed)
        assert isinstance(lost, ModelFailed)
        assert (lost.provider, lost.code, lost.presumed) == ("first", "cancelled", True)
        assert ended(told.run)

    def test_nobody_else_is_asked_when_the_first_answers_in_time(self) -> None:
        told = carry({"first": good, "second": good}, agent={"hedge_after_seconds": 5})
        assert told.fake.asked == ["first"]
        assert told.hops == []

    def test_who_was_only_slower_may_be_asked_again(self) -> None:
        """The faster one's answers are no proposals: a hedge must not make a run weaker."""
        calls: list[ModelRequest] = []

        async def slow_then_good(request: ModelRequest) -> ModelAnswer:
            calls.append(request)
            return await (never(request) if len(calls) == 1 else good(request))

        told = carry({"first": slow_then_good, "second": bad}, agent={"hedge_after_seconds": 0.02})
        assert told.fake.asked == ["first", "second", "second", "first"]
        assert isinstance(told.run.chain[-1], ProposalMade)

    def test_who_is_always_slower_is_as_good_as_away(self) -> None:
        breakers, provider = MemoryBreakers(), openai("first", "http://x", BreakerPolicy(failures=1))
        one_strike = {"first": never, "second": good}
        carry(one_strike, agent={"hedge_after_seconds": 0.02}, breakers=breakers, breaker=provider.breaker)
        assert not asyncio.run(breakers.admit(provider)).admitted

    @pytest.mark.parametrize("counted", [True, False])
    def test_an_answer_that_came_too_late_is_paid_for_and_presumed_where_nobody_counted(
        self, counted: bool
    ) -> None:
        answered = asyncio.Event()

        async def together(_: ModelRequest) -> ModelAnswer:
            await answered.wait()
            return replace(GOOD, counted=counted)

        async def faster(_: ModelRequest) -> ModelAnswer:
            answered.set()
            return GOOD

        told = carry({"first": together, "second": faster}, agent={"hedge_after_seconds": 0.02})
        (late,) = told.of(ModelFailed)
        assert isinstance(late, ModelFailed)
        assert told.fake.cancelled == []
        assert (late.provider, late.presumed) == ("first", not counted)
        assert late.tokens == 15 if counted else late.tokens > 15

    def test_each_question_has_a_place_of_its_own(self) -> None:
        breakers = MemoryBreakers()
        breakers.ordered["first", "some-model-1"] = "forced_open"
        told = carry({"first": good, "second": bad, "third": good}, breakers=breakers)
        places = [fact.position for fact in told.run.chain if isinstance(fact, ModelAsked)]
        assert len(set(places)) == len(places) == 3

    def test_both_may_fail_and_the_third_is_asked(self) -> None:
        async def slow_failure(request: ModelRequest) -> ModelAnswer:
            await asyncio.sleep(0.05)
            return await unreachable(request)

        told = carry(
            {"first": slow_failure, "second": unreachable, "third": good},
            agent={"hedge_after_seconds": 0.02},
        )
        assert told.fake.asked == ["first", "second", "third"]
        assert told.hops[-1][1] == "third"


class TestBudgets:
    """Out of budget is a verdict before the call is made."""

    def test_a_call_whose_worst_case_does_not_fit_is_never_made(self) -> None:
        told = carry({"first": good}, stage={"call_budget": {"tokens": 60}})
        assert told.fake.asked == []
        (refused,) = told.of(BudgetRefused)
        assert isinstance(refused, BudgetRefused)
        assert (refused.level, refused.unit, refused.limit) == ("call", "tokens", 60)
        assert refused.asked > 60
        (end,) = told.of(RunFailed)
        assert isinstance(end, RunFailed)
        assert end.failure == "out_of_budget"

    def test_what_an_answer_did_cost_takes_the_place_of_its_worst_case(self) -> None:
        account = Account("demo/2026", "tenant", {"tokens": 100_000, "calls": 10})
        told = carry({"first": unreachable, "second": good}, account=account)
        assert told.budgets.lines() == {
            ("demo/2026", "tokens"): Line(100_000, spent=15),
            ("demo/2026", "calls"): Line(10, spent=2),
        }

    def test_a_run_may_not_ask_for_ever_on_its_tenants_budget(self) -> None:
        told = carry({"first": bad, "second": bad}, stage={"run_budget": {"calls": 2}})
        assert told.fake.asked == ["first", "first"]
        assert told.hops == [("first", "second", "invalid_answer"), ("second", "", "out_of_budget")]

    def test_a_call_that_was_cut_off_is_presumed_at_its_worst(self) -> None:
        account = Account("demo/2026", "tenant", {"tokens": 100_000})
        told = carry({"first": never}, account=account, stage={"timeout_seconds": 0.05})
        line = told.budgets.lines()["demo/2026", "tokens"]
        assert (line.reserved, line.spent) == (0, 0)
        assert line.presumed > 50, "the prompt and the longest answer"

    def test_what_a_failed_question_held_is_no_reason_to_refuse_the_next_one(self) -> None:
        """It cost nothing, and its run has room for one worst case at a time."""
        told = carry({"first": unreachable, "second": good}, stage={"run_budget": {"tokens": 1_500}})
        assert told.fake.asked == ["first", "second"]
        assert told.of(BudgetRefused) == []

    def test_who_does_not_say_what_it_counted_is_presumed_to_have_counted_the_worst(self) -> None:
        async def uncounted(_: ModelRequest) -> ModelAnswer:
            return ModelAnswer(GOOD.text, GOOD.model, 0, 0, counted=False)

        account = Account("demo/2026", "tenant", {"tokens": 100_000, "nano_usd": 10**12})
        told = carry({"first": uncounted}, account=account)
        lines = told.budgets.lines()
        assert lines["demo/2026", "tokens"].presumed > 50
        assert lines["demo/2026", "nano_usd"].presumed > 0
        (answered,) = told.of(ModelAnswered)
        assert isinstance(answered, ModelAnswered)
        assert (answered.presumed, answered.nano_usd > 0) == (True, True)

    def test_a_model_without_a_price_fits_in_no_budget_in_money(self) -> None:
        """Or a tenant's limit in dollars would hold for some models and not for others."""
        account = Account("demo/2026", "tenant", {"nano_usd": 10**12})
        told = carry({"first": good}, account=account, priced=False)
        assert told.fake.asked == []
        assert carry({"first": good}, priced=False).fake.asked == ["first"], "and no limit asks for no price"

    def test_a_run_whose_lease_is_over_asks_nobody(self) -> None:
        """Whoever has it now is asking already."""
        account = Account("demo/2026", "tenant", {"calls": 10})
        with pytest.raises(LeaseLostError):
            carry(
                {"first": good, "second": good}, account=account, budgets=Returned(lambda _step, _fence: True)
            )

    def test_a_batch_whose_commit_was_not_heard_of_is_reserved_once(self) -> None:
        account = Account("demo/2026", "tenant", {"calls": 1})
        told = carry({"first": good}, account=account, budgets=Unheard(lambda _step, _fence: True))
        assert told.fake.asked == ["first"]
        assert told.budgets.lines()["demo/2026", "calls"] == Line(1, spent=1)


class Returned(MemoryBudgets):
    """Whatever was reserved has returned when it is to be sent."""

    def sending(self, reservation_ids: Sequence[str]) -> set[str]:
        """See ``Budgets``."""
        return set()


class Unheard(MemoryBudgets):
    """The first reservation is kept, and its answer lost."""

    def __init__(self, lives: Callable[[str, int], bool]) -> None:
        super().__init__(lives)
        self._lost = False

    def reserve(self, wanted: Sequence[Wanted]) -> list[Refusal | None]:
        """See ``Budgets``."""
        verdicts = super().reserve(wanted)
        if not self._lost:
            self._lost = True
            raise TransientError("the connection broke")
        return verdicts
