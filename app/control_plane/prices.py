"""What a model costs, as a release freezes it: from the provider's document, else from genai-prices.

Only the prices that came with the installed version of genai-prices are read, as of one fixed moment: the same
documents and the same version give the same release on every machine and at any time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

from app.kernel.release import Price, RemoteProvider, WorkflowTemplate

if TYPE_CHECKING:
    from genai_prices.types import TieredPrices

PRICED_AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
"""Prices have days on which they begin, and some have cheap hours, at night. Move it with genai-prices' version."""

_MICRO = 1_000_000


def price_of(provider: RemoteProvider) -> Price | None:
    """Its price, rounded up to whole micro-dollars for a million tokens; None when nobody says one.

    Of a price that rises with a prompt's length it is the first, which holds up to some hundred thousand tokens.
    """
    if provider.price is not None:
        return Price(
            input_per_million=_micro(Decimal(provider.price.input_usd)),
            output_per_million=_micro(Decimal(provider.price.output_usd)),
            source=f"providers/{provider.name}/{provider.version}",
        )
    return _published_price(provider.model, provider.price_provider)


def counts_money(template: WorkflowTemplate) -> bool:
    """Whether a budget of the workflow is in US dollars, at any level."""
    budgets = [template.budget]
    for stage in template.stages:
        budgets += [stage.run_budget, stage.call_budget]
    return any(budget is not None and budget.usd is not None for budget in budgets)


def _published_price(model: str, provider: str | None) -> Price | None:
    # Here: most releases ask no model that costs money, and the prices weigh several megabytes.
    import genai_prices
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    # Not the library's own snapshot, which it may replace by newer prices from the network.
    bundled = DataSnapshot(providers=providers, from_auto_update=False)
    try:
        _, found = bundled.find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    prices = found.get_prices(PRICED_AT)
    cost_in, cost_out = _first(prices.input_mtok), _first(prices.output_mtok)
    if cost_in is None or cost_out is None:
        return None
    return Price(
        input_per_million=_micro(cost_in),
        output_per_million=_micro(cost_out),
        source=f"genai-prices/{genai_prices.__version__}",
    )


def _first(price: Decimal | TieredPrices | None) -> Decimal | None:
    return price if price is None or isinstance(price, Decimal) else price.base


def _micro(usd: Decimal) -> int:
    return int((usd * _MICRO).to_integral_value(ROUND_CEILING))
