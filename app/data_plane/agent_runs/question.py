"""One question to one model: admitted by its breaker, within the budgets, asked, and told of as facts."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from app.data_plane.agent_runs import calls, moves
from app.data_plane.agent_runs.prompts import prompt_bytes
from app.data_plane.agent_runs.purse import Asking, Purse
from app.data_plane.agent_runs.recordings import read_recording, recording
from app.data_plane.agent_runs.run import Answer, Run
from app.data_plane.budgets.costs import MARGIN_SECONDS, cost, worst_case
from app.data_plane.budgets.reservations import Amounts, Refusal, Settlement
from app.data_plane.models import (
    Admission,
    Breakers,
    Correction,
    ModelAnswer,
    ModelProvider,
    ModelRequest,
    ProviderRefusedError,
    Providers,
    ProviderUnavailableError,
    Told,
)
from app.data_plane.ports import Queue
from app.kernel import fault_points
from app.kernel.clock import Clock, to_text
from app.kernel.errors import Fate, InterlockError, TransientError
from app.kernel.facts import AnswerRejected, BudgetRefused, ModelAnswered, ModelAsked, ModelFailed
from app.kernel.fault_points import FaultPoint
from app.kernel.release import Price, Provider, Release, RemoteProvider
from app.telemetry import tracing
from app.telemetry.redaction import redact_known

_log = logging.getLogger(__name__)

TIMED_OUT = "timed_out"
DEFECT = "defect"


class LeaseLostError(TransientError):
    """What a question had reserved has returned with its lease: somebody else does the run."""

    code = "lease_lost"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"The lease of {run_id} is over.", "Whoever has it now goes on with it.")


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be asked."""

    position: int
    provider: str
    again: AnswerRejected | None = None
    hedge: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A question is over. ``reason`` is why the provider is left; empty when it answered."""

    provider: str
    reason: str


@dataclass(slots=True)
class _UnderWay:
    """A question from its admission to its end."""

    run: Run
    question: Question
    request: ModelRequest
    price: Price | None
    worst: Amounts
    asked: ModelAsked
    reservation_id: str
    margin_seconds: float
    """How much longer than its limit it is waited for: the adapter says better what became of it."""
    since_ns: int
    started: float
    """By the event loop's clock."""

    def milliseconds(self) -> int:
        return int((asyncio.get_running_loop().time() - self.started) * 1000)


class Questioner:
    """Asks single questions. Whatever comes of one is in the run's facts when it is over."""

    def __init__(self, providers: Providers, breakers: Breakers, purse: Purse, clock: Clock) -> None:
        self._providers = providers
        self._breakers = breakers
        self._purse = purse
        self._clock = clock
        self._opened: set[tuple[str, str]] = set()

    async def ask(self, run: Run, question: Question) -> Asked:
        """Ask it, unless its breaker or a budget says no. The run has the answer, or the facts say why not."""
        provider = run.state.release.providers[question.provider]
        admission = await self._admit(provider)
        if not admission.admitted:
            forced = admission.reason == moves.FORCED_OPEN
            return Asked(question.provider, moves.FORCED_OPEN if forced else moves.BREAKER_OPEN)
        told: Told = "neither"
        try:
            under_way = await self._reserve(run, question, admission)
            if isinstance(under_way, Asked):
                return under_way
            run.recording_is_urgent |= provider.kind != "scripted"
            asked, told = await self._ask(under_way)
            return asked
        finally:
            if told == "neither" and run.outrun == question.provider:
                # Slower than its agent's `hedge_after_seconds`: whoever always is so is as good as away.
                told = "failed"
            await self._tell(provider, admission, told)

    async def _admit(self, provider: Provider) -> Admission:
        if not isinstance(provider, RemoteProvider):
            return Admission(admitted=True)
        return await self._breakers.admit(provider)

    async def _tell(self, provider: Provider, admission: Admission, told: Told) -> None:
        if isinstance(provider, RemoteProvider):
            # Also when the run is cancelled: a probe that nobody hears of would keep the breaker open for longer.
            await asyncio.shield(self._breakers.tell(provider, admission, told))

    async def _reserve(self, run: Run, question: Question, admission: Admission) -> _UnderWay | Asked:
        request = _request(run, question)
        price = run.state.release.prices.get(question.provider)
        remote = isinstance(run.state.release.providers[question.provider], RemoteProvider)
        prompt = prompt_bytes(request)
        worst = worst_case(request, prompt, price, is_free=not remote)
        asking = Asking(run.claim, run.state.release.template, run.stage, worst, tuple(run.settlements))
        run.is_reserving = True
        reserved = await self._purse.reserve(asking)
        run.is_reserving = False
        if isinstance(reserved, Refusal):
            run.chain.append(_refused(question, request, reserved))
            return Asked(question.provider, moves.OUT_OF_BUDGET)
        asked = ModelAsked(
            position=question.position,
            provider=question.provider,
            model=request.model,
            prompt_digest=run.contents.add_bytes(prompt),
            again=question.again is not None,
            hedge=question.hedge,
            probe=admission.probe,
        )
        now = asyncio.get_running_loop().time()
        margin = MARGIN_SECONDS if remote else 0.0
        return _UnderWay(
            run,
            question,
            request,
            price,
            worst,
            asked,
            reserved.reservation_id,
            margin,
            tracing.now_ns(),
            now,
        )

    async def _ask(self, under_way: _UnderWay) -> tuple[Asked, Told]:
        run, question, request = under_way.run, under_way.question, under_way.request
        await self._sending(under_way)
        provider = await self._open(run.state.release, question.provider)
        under_way.started, under_way.since_ns = asyncio.get_running_loop().time(), tracing.now_ns()
        started_at = to_text(self._clock.now())
        fault_points.reached(FaultPoint.BEFORE_EFFECT, Queue.AGENT_RUNS)
        try:
            with run.watched.asking(question.position):
                async with asyncio.timeout(request.timeout_seconds + under_way.margin_seconds):
                    answer = await provider.ask(request)
        except TimeoutError:
            _fail(under_way, TIMED_OUT, Fate.TRANSIENT, presumed=True)
            return Asked(question.provider, TIMED_OUT), "failed"
        except asyncio.CancelledError:
            _fail(under_way, moves.CANCELLED, Fate.TRANSIENT, presumed=True)
            raise
        except InterlockError as error:
            return _failed(under_way, error), _told(error)
        except Exception:
            # The boundary: a defect in one provider's adapter is a fact, and the next provider is asked.
            _log.exception("a question could not be asked")
            _fail(under_way, DEFECT, Fate.DEFECT, presumed=True)
            return Asked(question.provider, DEFECT), "neither"
        _answered(under_way, answer, started_at)
        return Asked(question.provider, ""), "answered"

    async def _open(self, release: Release, name: str) -> ModelProvider:
        """The provider; the first time in a thread, as it may load a vendor's library while others are under way."""
        if (release.digest, name) in self._opened:
            return self._providers.open(release, name)
        provider = await asyncio.to_thread(self._providers.open, release, name)
        self._opened.add((release.digest, name))
        return provider

    async def _sending(self, under_way: _UnderWay) -> None:
        """Say that it goes out. Raises LeaseLostError, or TransientError when the store is away."""
        under_way.run.is_reserving = True
        try:
            if not await self._purse.sending(under_way.reservation_id):
                raise LeaseLostError(under_way.run.claim.step_id)
            under_way.run.is_reserving = False
        except asyncio.CancelledError:
            # It was never sent, and cost nothing.
            _settle(under_way.run, Settlement(under_way.reservation_id, Amounts()))
            raise


def _request(run: Run, question: Question) -> ModelRequest:
    request = ModelRequest(
        agent=run.agent.name,
        model=run.state.release.providers[question.provider].model,
        instructions=run.agent.instructions,
        inputs=run.inputs,
        schema=run.stage.proposal,
        temperature=run.agent.temperature,
        max_output_tokens=run.agent.max_output_tokens,
        timeout_seconds=run.agent.timeout_seconds,
        tools=calls.offers(run.state, run.agent, run.calls_made),
        turns=run.turns(),
    )
    if question.again is None:
        return request
    correction = Correction(run.last_text, question.again.path, question.again.reason)
    return replace(request, correction=correction)


def _refused(question: Question, request: ModelRequest, refusal: Refusal) -> BudgetRefused:
    return BudgetRefused(
        provider=question.provider,
        model=request.model,
        level=refusal.level,
        unit=refusal.unit,
        limit=refusal.limit,
        taken=refusal.taken,
        asked=refusal.asked,
    )


def _failed(under_way: _UnderWay, error: InterlockError) -> Asked:
    run, question = under_way.run, under_way.question
    if isinstance(error, ProviderUnavailableError) and error.retry_after_seconds is not None:
        now = asyncio.get_running_loop().time()
        run.may_be_asked_at[question.provider] = now + error.retry_after_seconds
    tokens = error.tokens if isinstance(error, ProviderRefusedError) else (0, 0)
    presumed = isinstance(error, ProviderUnavailableError) and error.may_be_billed
    _fail(under_way, error.code, error.fate, presumed=presumed, tokens=tokens)
    return Asked(question.provider, error.code)


def _told(error: InterlockError) -> Told:
    """A provider that refuses a question answers; one whose key is not there was never asked."""
    if isinstance(error, ProviderUnavailableError):
        return "failed"
    return "answered" if isinstance(error, ProviderRefusedError) else "neither"


def _fail(
    under_way: _UnderWay, code: str, fate: Fate, *, presumed: bool, tokens: tuple[int, int] = (0, 0)
) -> None:
    milliseconds = under_way.milliseconds()
    known = Amounts(sum(tokens), cost(under_way.price, *tokens), calls=1)
    spent = replace(_presumed(under_way) if presumed else known, milliseconds=milliseconds)
    failed = ModelFailed(
        position=under_way.question.position,
        provider=under_way.question.provider,
        code=code,
        fate=fate.value,
        duration_ms=milliseconds,
        tokens=spent.tokens,
        nano_usd=spent.nano_usd,
        presumed=presumed,
    )
    _over(under_way, failed, Settlement(under_way.reservation_id, spent, presumed))


def _presumed(under_way: _UnderWay) -> Amounts:
    """The worst case, as far as it is known."""
    return under_way.worst if under_way.price is not None else replace(under_way.worst, nano_usd=0)


def _answered(under_way: _UnderWay, answer: ModelAnswer, started_at: str) -> None:
    run, question = under_way.run, under_way.question
    if run.answer is not None:
        # Another provider's answer counts, and it was paid for all the same.
        tokens = (answer.input_tokens, answer.output_tokens)
        _fail(under_way, moves.CANCELLED, Fate.TRANSIENT, presumed=not answer.counted, tokens=tokens)
        return
    # What is interpreted is what was recorded, to the byte.
    recorded = recording(answer)
    told = Amounts(
        tokens=answer.input_tokens + answer.output_tokens,
        nano_usd=cost(under_way.price, answer.input_tokens, answer.output_tokens),
        calls=1,
    )
    # Whoever does not say what it counted is presumed to have counted the worst.
    spent = replace(told if answer.counted else _presumed(under_way), milliseconds=under_way.milliseconds())
    answered = ModelAnswered(
        position=question.position,
        provider=question.provider,
        model=redact_known(answer.model),
        answer_digest=run.contents.add_bytes(recorded),
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        started_at=started_at,
        duration_ms=spent.milliseconds,
        nano_usd=spent.nano_usd,
        presumed=not answer.counted,
        calls=len(answer.calls),
    )
    text, called = read_recording(recorded, len(answer.calls))
    run.answer = Answer(question.position, question.provider, text, called)
    _over(under_way, answered, Settlement(under_way.reservation_id, spent, presumed=not answer.counted))


def _over(under_way: _UnderWay, outcome: ModelAnswered | ModelFailed, settlement: Settlement) -> None:
    run = under_way.run
    run.chain += [under_way.asked, outcome]
    run.watched.asked(under_way.since_ns, under_way.asked, outcome)
    _settle(run, settlement)


def _settle(run: Run, settlement: Settlement) -> None:
    if settlement.reservation_id:
        run.settlements.append(settlement)
