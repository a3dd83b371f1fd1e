"""What is known of circuit breakers beside whom they admit: where they stand, how they moved, what operators ordered.

Where a breaker stands is in Redis, which may forget it: it is closed again, and counts anew. What a person ordered is
in PostgreSQL, and stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from app.kernel.errors import ConflictError, NotFoundError, PermanentError
from app.kernel.release import BreakerPolicy

BreakerState = Literal["closed", "open", "half-open"]
Ordered = Literal["forced_open", "forced_closed", "released"]
MOST_WORDS = 500


class UnknownBreakerError(NotFoundError):
    """No breaker goes by that provider and model."""

    code = "unknown_breaker"


class AmbiguousModelError(PermanentError):
    """The provider has several models, and none was named."""

    code = "ambiguous_model"


class NoBreakerError(PermanentError):
    """That kind of provider is asked over no network, and has no breaker."""

    code = "no_breaker"


class UnexplainedOrderError(PermanentError):
    """Who orders a breaker says who they are and why."""

    code = "unexplained_order"


class OrderStandsError(ConflictError):
    """What is ordered is what stands already."""

    code = "order_stands"


@dataclass(frozen=True, slots=True, order=True)
class BreakerName:
    """One breaker for each provider's name and model, whatever version or release asks through it."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider} ({self.model})"


@dataclass(frozen=True, slots=True)
class BreakerReading:
    """Where a breaker stands, as one look into Redis found it."""

    state: BreakerState
    turn: str
    """Changes with every move: what was admitted in another turn no longer counts. Empty before the first move."""
    failures: int
    """In a row, over all processes."""
    since: datetime | None
    """When it moved last; None before its first move. By Redis's clock, as ``now``."""
    now: datetime
    probing: bool
    """A probe is under way, or its holder died and its time is not over."""


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """A breaker moved by itself."""

    change_id: str
    breaker: BreakerName
    from_state: BreakerState
    to_state: BreakerState
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class NewOrder:
    """What a person wants of a breaker."""

    breaker: BreakerName
    state: Ordered
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class BreakerOrder:
    """What a person ordered of a breaker, and when."""

    breaker: BreakerName
    state: Ordered
    actor: str
    reason: str
    at: datetime

    @property
    def forces(self) -> bool:
        """Whether it keeps the breaker from moving by itself."""
        return self.state != "released"


class BreakerRecord(Protocol):
    """What the processes that ask models share of breakers in the database. Each method is one transaction.

    Raises TransientError when the database is away.
    """

    def orders(self) -> Mapping[BreakerName, BreakerOrder]:
        """The newest order for each breaker that has any."""
        ...

    def write(self, changes: Sequence[BreakerChange]) -> None:
        """Append changes; those that are written already are left alone."""
        ...


@dataclass(frozen=True, slots=True)
class KnownProvider:
    """A provider's model as published releases name it."""

    breaker: BreakerName
    kind: str
    routed: bool
    """A release that takes traffic names it."""
    policy: BreakerPolicy | None
    """None: a provider of this kind has no breaker. Where releases differ, the one that opens first."""


@dataclass(frozen=True, slots=True)
class BreakerStanding:
    """All that an operator wants to know of one provider's model."""

    breaker: BreakerName
    kind: str
    """Empty: no published release names it."""
    routed: bool
    policy: BreakerPolicy | None
    reading: BreakerReading | None
    """None: Redis did not answer."""
    order: BreakerOrder | None
    changed: BreakerChange | None
    """Its last change."""

    @property
    def probed_at(self) -> datetime | None:
        """When an open breaker lets its next probe through."""
        found = self.reading
        if found is None or found.state != "open" or found.since is None or self.policy is None:
            return None
        return found.since + timedelta(seconds=self.policy.open_seconds)


def standings(
    providers: Iterable[KnownProvider],
    readings: Mapping[BreakerName, BreakerReading] | None,
    orders: Mapping[BreakerName, BreakerOrder],
    changes: Mapping[BreakerName, BreakerChange],
) -> tuple[BreakerStanding, ...]:
    """Of every provider that takes traffic, and of every other breaker that is not simply closed or is forced.

    ``readings`` is None when Redis did not answer; ``changes`` holds the last of each.
    """
    known = {one.breaker: one for one in providers}
    wanted = {name for name, one in known.items() if one.routed}
    wanted |= {name for name, order in orders.items() if order.forces}
    wanted |= {name for name, found in (readings or {}).items() if found.state != "closed" or found.failures}
    return tuple(
        BreakerStanding(
            breaker=name,
            kind=known[name].kind if name in known else "",
            routed=name in known and known[name].routed,
            policy=known[name].policy if name in known else None,
            reading=readings.get(name) if readings is not None else None,
            order=orders.get(name),
            changed=changes.get(name),
        )
        for name in sorted(wanted)
    )


def named(
    providers: Iterable[KnownProvider], touched: Iterable[BreakerName], provider: str, model: str | None
) -> BreakerName:
    """The one breaker that a person means.

    Args:
        providers: those of published releases.
        touched: breakers that have a record, whether or not a release still names them.
        model: may be left out where the provider has only one.

    Raises:
        UnknownBreakerError, AmbiguousModelError, NoBreakerError
    """
    known = {one.breaker: one for one in providers if one.breaker.provider == provider}
    models = {name.model for name in known} | {name.model for name in touched if name.provider == provider}
    if not models or (model is not None and model not in models):
        what = (
            f"the provider {provider!r}" if not models else f"a model {model!r} of the provider {provider!r}"
        )
        has = f" It has {', '.join(sorted(models))}." if models else ""
        raise UnknownBreakerError(
            f"No published release names {what}.{has}", "Look at `python -m app providers status`."
        )
    if model is None and len(models) > 1:
        raise AmbiguousModelError(
            f"The provider {provider!r} has several models: {', '.join(sorted(models))}.",
            "Name one with --model.",
        )
    name = BreakerName(provider, model if model is not None else next(iter(models)))
    if name in known and known[name].policy is None:
        raise NoBreakerError(
            f"{name} is {known[name].kind}: it is asked over no network and has no breaker.",
            "Publish a release whose agents name another provider, and route it.",
        )
    return name


def check_order(new: NewOrder, standing: BreakerOrder | None) -> None:
    """Whether it may be ordered; ``standing`` is the breaker's newest order.

    Raises:
        UnexplainedOrderError, OrderStandsError
    """
    for what, words in (("actor", new.actor), ("reason", new.reason)):
        if not words.strip() or len(words) > MOST_WORDS or "\0" in words:
            raise UnexplainedOrderError(
                f"The {what} is empty, or longer than {MOST_WORDS} characters, or not text.",
                f"Say it with --{what}; it is kept.",
            )
    stands = standing.state if standing is not None else "released"
    if new.state != stands:
        return
    if standing is None or not standing.forces:
        raise OrderStandsError(f"{new.breaker} is not forced: there is nothing to release.")
    raise OrderStandsError(
        f"{new.breaker} is {new.state} already, by {standing.actor}: {standing.reason}.",
        "Nothing was changed. `python -m app providers history` shows who ordered what.",
    )
