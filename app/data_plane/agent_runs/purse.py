"""A process's purse: reserves what questions may cost, those of all its runs together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.data_plane.agent_runs.together import Together
from app.data_plane.budgets.reservations import (
    Account,
    Amounts,
    Budgets,
    Refusal,
    Settlement,
    TenantAccounts,
    Wanted,
    fits_alone,
    limits_of,
)
from app.data_plane.ports import Claim
from app.kernel.release import Stage, WorkflowTemplate


@dataclass(frozen=True, slots=True)
class Asking:
    """Whose question it is, what it may cost, and what the questions before it did cost."""

    claim: Claim
    template: WorkflowTemplate
    stage: Stage
    worst: Amounts
    settlements: tuple[Settlement, ...] = ()
    reservation_id: str = ""


@dataclass(frozen=True, slots=True)
class Reserved:
    """The question may be asked; the id is empty where nothing is limited."""

    reservation_id: str = ""


class Purse:
    """Reserves at every level that has a limit. For one event loop.

    Args:
        budgets: where reservations are kept.
        tenants: what tenants may spend.
    """

    def __init__(self, budgets: Budgets, tenants: TenantAccounts) -> None:
        self._budgets = budgets
        self._tenants = tenants
        self._numbers = itertools.count(1)
        self._reserving: Together[Asking, Reserved | Refusal] = Together(self._reserve)
        self._sending: Together[str, bool] = Together(self._send)

    async def reserve(self, asking: Asking) -> Reserved | Refusal:
        """Reserve the worst case, or say why it does not fit. Raises TransientError when the store is away."""
        claim = asking.claim
        # Drawn once: the batch may be repeated when its commit was not heard of, and reserves once all the same.
        name = f"{claim.step_id}/{claim.fence}/{next(self._numbers)}"
        return await self._reserving.ask(replace(asking, reservation_id=name))

    async def sending(self, reservation_id: str) -> bool:
        """Whether the reservation still stands now that the question goes out. Raises as ``reserve``."""
        return not reservation_id or await self._sending.ask(reservation_id)

    def _reserve(self, batch: Sequence[Asking]) -> list[Reserved | Refusal]:
        # First: what a run's failed question held is no reason to refuse its next one.
        settled = [one for asking in batch for one in asking.settlements]
        if settled:
            self._budgets.settle([asking.claim.tenant_id for asking in batch], settled)
        answers: list[Reserved | Refusal] = []
        wanted: list[tuple[int, Wanted]] = []
        for place, asking in enumerate(batch):
            refusal = fits_alone(limits_of(asking.stage.call_budget), asking.worst)
            answers.append(refusal or Reserved())
            accounts = () if refusal else self._accounts(asking)
            if accounts:
                wanted.append((place, self._wanted(asking, accounts)))
        verdicts = self._budgets.reserve([one for _, one in wanted]) if wanted else []
        for (place, one), verdict in zip(wanted, verdicts, strict=True):
            answers[place] = verdict or Reserved(one.reservation_id)
        return answers

    def _send(self, reservation_ids: Sequence[str]) -> list[bool]:
        standing = self._budgets.sending(reservation_ids)
        return [one in standing for one in reservation_ids]

    def _wanted(self, asking: Asking, accounts: tuple[Account, ...]) -> Wanted:
        claim = asking.claim
        return Wanted(
            reservation_id=asking.reservation_id,
            tenant_id=claim.tenant_id,
            step_id=claim.step_id,
            fence=claim.fence,
            worst=asking.worst,
            accounts=accounts,
        )

    def _accounts(self, asking: Asking) -> tuple[Account, ...]:
        claim = asking.claim
        found = (
            self._tenants.account(claim.tenant_id),
            Account(claim.orchestration_id, "orchestration", limits_of(asking.template.budget)),
            Account(claim.step_id, "run", limits_of(asking.stage.run_budget)),
        )
        return tuple(account for account in found if account is not None and account.limits)
