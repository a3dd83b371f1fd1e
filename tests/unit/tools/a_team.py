"""A team's own module of tools, as INTERLOCK_TOOL_MODULES would name it; and what a tool reads, in a dictionary."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from app.data_plane.tools import Arguments, Content, Outgoing, Reading, Result, Structured, tool
from app.kernel.errors import TransientError
from interlock.canonical import JsonObject


@dataclass
class DictReading:
    """``Reading`` of entries by collection and key."""

    entries: Mapping[tuple[str, str], JsonObject] = field(default_factory=dict)

    async def entry(self, collection: str, key: str) -> JsonObject | None:
        if collection == "down":
            raise TransientError("The directory is down.", "Ask again.")
        return self.entries.get((collection, key))


class Question(Arguments):
    """This docstring is for programmers."""

    customer: str = Field(max_length=20, description="The customer's number.")
    how: str = "plainly"


class Customer(Result):
    """Whom we know."""

    name: Annotated[str, Structured]
    years: int = 0


class Letter(Arguments):
    """What is sent to whom."""

    to: str
    text: Annotated[str, Content]
    on: datetime.date | None = None


class Sent(Result):
    """The post's answer."""

    number: int


@tool(
    "customers.find",
    version=3,
    effect="read",
    capabilities=["customers.read"],
    cost="0.002",
    timeout_seconds=0.05,
    trusted=True,
    sensitive=True,
    most_result_bytes=60,
)
async def find_customer(arguments: Question, reading: Reading) -> Customer:
    """Finds a customer
    by number.

    What follows is for programmers.
    """
    if arguments.how == "slowly":
        await asyncio.sleep(5)
    if arguments.how == "clumsily":
        raise KeyError("a secret of the customer's")
    if arguments.how == "in anger":
        raise TimeoutError
    if arguments.how == "falsely":
        return Customer.model_construct(name=7)
    if arguments.how == "elsewise":
        return {"name": "a dictionary"}  # type: ignore[return-value]
    entry = await reading.entry(arguments.how if arguments.how == "down" else "customers", arguments.customer)
    return Customer(name=str((entry or {}).get("name", "nobody")))


@tool("letters.send", version=1, effect="egress", idempotency="field:request_id", most_result_bytes=40)
def send_letter(arguments: Letter) -> Outgoing[Sent]:
    """Sends a letter to an address."""
    if arguments.text == "broken":
        raise ValueError("a secret of the letter's")
    return Outgoing("/letters", {"to": arguments.to, "text": arguments.text})


find_customer_again = find_customer
