"""Asking the models: an agent's providers in order, until one answers."""

from __future__ import annotations

import asyncio
import logging

from app.data_plane.agent_runs.prompts import prompt_bytes
from app.data_plane.agent_runs.run import Run
from app.data_plane.models import ModelAnswer, ModelRequest, Providers
from app.data_plane.ports import Queue
from app.kernel import fault_points
from app.kernel.clock import Clock, to_text
from app.kernel.errors import Fate, InterlockError
from app.kernel.facts import ModelAnswered, ModelAsked, ModelFailed
from app.kernel.fault_points import FaultPoint
from app.telemetry import tracing

_log = logging.getLogger(__name__)


class Asker:
    """Asks for runs. Each provider is asked once; what it did not answer is a fact with its reason."""

    def __init__(self, providers: Providers, clock: Clock) -> None:
        self._providers = providers
        self._clock = clock

    async def ask(self, run: Run) -> Run:
        """The run with an answer, or with why there is none. Never raises for what a model or its provider did."""
        if run.answer is not None or run.failure is not None:
            return run
        try:
            async with asyncio.timeout(run.stage.timeout_seconds):
                await self._ask_in_order(run)
        except TimeoutError:
            run.failure, run.detail = "timed_out", f"the stage's limit is {run.stage.timeout_seconds:g} s"
        except Exception as error:
            # The boundary: a defect in asking one run becomes that run's failure, and the batch goes on.
            _log.exception("a run could not be asked for")
            run.failure, run.detail = "defect", type(error).__name__
        return run

    async def _ask_in_order(self, run: Run) -> None:
        for position, name in enumerate(run.agent.providers, start=run.asked):
            run.recording_is_urgent = run.state.release.providers[name].kind != "scripted"
            since = tracing.now_ns()
            run.answer = await self._ask_one(run, position, name)
            run.watched.asked(since, run.facts)
            if run.answer is not None:
                run.failure = None
                return

    async def _ask_one(self, run: Run, position: int, name: str) -> str | None:
        request = _request(run, name)
        asked = ModelAsked(
            position=position,
            provider=name,
            model=request.model,
            prompt_digest=run.contents.add_bytes(prompt_bytes(request)),
        )
        started = self._clock.now()
        fault_points.reached(FaultPoint.BEFORE_EFFECT, Queue.AGENT_RUNS)
        try:
            async with asyncio.timeout(request.timeout_seconds):
                answer = await self._providers.open(run.state.release, name).ask(request)
        except TimeoutError:
            run.facts += [asked, _failed(position, name, Fate.TRANSIENT, "timed_out")]
            # The agent's own limit for one question; `timed_out` is a run beyond its stage's.
            run.failure, run.detail = "provider_unavailable", f"{name}: timed_out"
            return None
        except InterlockError as error:
            run.facts += [asked, _failed(position, name, error.fate, error.code)]
            run.failure, run.detail = "provider_unavailable", f"{name}: {error.code}"
            return None
        duration = int((self._clock.now() - started).total_seconds() * 1000)
        # What is interpreted is what was recorded, to the byte: a lone surrogate has no UTF-8.
        text = answer.text.encode("utf-8", "replace")
        run.facts += [asked, _answered(run, asked, answer, text, to_text(started), duration)]
        return text.decode()


def _request(run: Run, provider: str) -> ModelRequest:
    return ModelRequest(
        agent=run.agent.name,
        model=run.state.release.providers[provider].model,
        instructions=run.agent.instructions,
        inputs=run.inputs,
        schema=run.stage.proposal,
        temperature=run.agent.temperature,
        max_output_tokens=run.agent.max_output_tokens,
        timeout_seconds=run.agent.timeout_seconds,
    )


def _answered(
    run: Run, asked: ModelAsked, answer: ModelAnswer, text: bytes, started_at: str, duration_ms: int
) -> ModelAnswered:
    return ModelAnswered(
        position=asked.position,
        provider=asked.provider,
        model=answer.model,
        answer_digest=run.contents.add_bytes(text),
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        started_at=started_at,
        duration_ms=duration_ms,
    )


def _failed(position: int, provider: str, fate: Fate, code: str) -> ModelFailed:
    return ModelFailed(position=position, provider=provider, code=code, fate=fate.value)
