"""Asking the models: an agent's providers in order, until one answers, within the stage's limit."""

from __future__ import annotations

import asyncio
import logging

from app.data_plane.agent_runs import moves
from app.data_plane.agent_runs.moves import Ask, GiveUp
from app.data_plane.agent_runs.question import Asked, Question, Questioner
from app.data_plane.agent_runs.run import Run
from app.kernel.errors import TransientError

_log = logging.getLogger(__name__)


class BudgetsUnavailableError(TransientError):
    """The budgets could not be asked within the stage's limit: the run is done later."""

    code = "budgets_unavailable"

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"The budgets of {run_id} could not be asked.", "It is done later; check that PostgreSQL is up."
        )


class Asker:
    """Asks for runs. What a provider did not answer is a fact with its reason, and so is each turn to the next one."""

    def __init__(self, questioner: Questioner) -> None:
        self._questioner = questioner

    async def ask(self, run: Run) -> Run:
        """The run with an answer to interpret, or with why there is none. Never raises for what a model did.

        Raises TransientError when budgets cannot be asked, as their store is away, or when the run's lease is over:
        the run is done later, by whoever has it then.
        """
        if run.answer is not None or run.given_up is not None:
            return run
        loop = asyncio.get_running_loop()
        if run.ends_at is None:
            run.ends_at = loop.time() + run.stage.timeout_seconds
        known = len(run.chain)
        try:
            async with asyncio.timeout_at(run.ends_at):
                await self._ask_in_order(run)
        except TimeoutError as error:
            if run.is_reserving and len(run.chain) == known:
                # Nobody was asked, as the budgets' store was away: that says nothing of the models.
                raise BudgetsUnavailableError(run.claim.step_id) from error
            run.given_up = GiveUp("timed_out", f"the stage's limit is {run.stage.timeout_seconds:g} s")
        except TransientError:
            raise
        except Exception as error:
            # The boundary: a defect in asking one run becomes that run's failure, and the batch goes on.
            _log.exception("a run could not be asked for")
            run.given_up = GiveUp("defect", type(error).__name__)
        return run

    async def _ask_in_order(self, run: Run) -> None:
        now = asyncio.get_running_loop().time
        move = run.next_move(now())
        while isinstance(move, Ask):
            await asyncio.sleep(move.wait_seconds)
            left = await self._ask(run, move)
            if run.answer is not None:
                return
            move = run.leave(left.provider, left.reason, now())
        run.given_up = move

    async def _ask(self, run: Run, move: Ask) -> Asked:
        """Ask one provider, or a second one beside it when it is slow; the last that gave no answer, and why."""
        question = self._question(run, move)
        run.outrun = ""
        hedge_after = run.agent.hedge_after_seconds
        second = _beside(run, move) if hedge_after is not None else None
        if hedge_after is None or second is None:
            return await self._questioner.ask(run, question)
        return await self._ask_hedged(run, question, hedge_after, second)

    async def _ask_hedged(self, run: Run, question: Question, seconds: float, second: str) -> Asked:
        asking = {asyncio.create_task(self._questioner.ask(run, question))}
        try:
            await asyncio.wait(asking, timeout=seconds)
            if not any(task.done() for task in asking):
                run.hedge(question.provider, second)
                beside = Question(run.take_position(), second, hedge=True)
                asking.add(asyncio.create_task(self._questioner.ask(run, beside)))
            left = Asked(question.provider, "")
            while asking and run.answer is None:
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                left = [task.result() for task in done][-1]
            run.outrun = question.provider if asking else ""
            return left
        finally:
            for task in asking:
                task.cancel()
            # What a cancelled question may have cost stands in the run when this is over.
            await asyncio.gather(*asking, return_exceptions=True)

    def _question(self, run: Run, move: Ask) -> Question:
        return Question(run.take_position(), move.provider, again=move.again)


def _beside(run: Run, move: Ask) -> str | None:
    """Who is asked beside a slow provider: the next one that was not asked yet. A re-ask is not hedged."""
    if move.again is not None:
        return None
    later = moves.untried(run.agent.providers, run.chain)
    return next((name for name in later if name != move.provider), None)
