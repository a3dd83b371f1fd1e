"""What a question costs by the release's price table, and what it may cost at most. Pure."""

from __future__ import annotations

from app.data_plane.budgets.reservations import Amounts
from app.data_plane.models import ModelRequest
from app.kernel.release import Price

UNPRICED_NANO_USD = 10**18
"""What a model may cost whose price nobody knows: more than any budget in money has room for."""

MARGIN_SECONDS = 1.0
"""How much longer than its own limit a question may be under way: its adapter says what became of it first."""

FRAMING_TOKENS = 64
"""What a provider adds around the messages (roles, separators, its answer format), at most."""


TOOLS_TOKENS = 1024
"""What a provider adds to a question with tools, to tell its model how they are called, at most."""


def cost(price: Price | None, input_tokens: int, output_tokens: int) -> int:
    """In billionths of a US dollar, each side rounded up; without a price nothing."""
    if price is None:
        return 0
    # Tokens times micro-dollars for a million tokens are millionths of micro-dollars: thousandths of nano-dollars.
    return _thousandth(input_tokens * price.input_per_million) + _thousandth(
        output_tokens * price.output_per_million
    )


def worst_case(request: ModelRequest, prompt: bytes, price: Price | None, *, is_free: bool) -> Amounts:
    """What the question may cost at most.

    Args:
        prompt: the question's prompt, as it is recorded.
        is_free: the provider costs no money, and so needs no price.

    A token is at least one byte of the prompt in every tokenizer that falls back to bytes, so that the bytes bound the
    tokens: they hold the offered tools and what earlier calls came to as well. The answer is bounded by
    ``max_output_tokens``, the time by the question's own limit.
    """
    input_tokens = len(prompt) + FRAMING_TOKENS + (TOOLS_TOKENS if request.tools or request.turns else 0)
    output_tokens = request.max_output_tokens
    return Amounts(
        tokens=input_tokens + output_tokens,
        nano_usd=cost(price, input_tokens, output_tokens) if price or is_free else UNPRICED_NANO_USD,
        calls=1,
        milliseconds=int((request.timeout_seconds + MARGIN_SECONDS) * 1000),
    )


def _thousandth(amount: int) -> int:
    return -(-amount // 1000)
