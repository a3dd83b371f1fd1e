"""A team's module of tools for tests of hostile models, loaded as INTERLOCK_TOOL_MODULES names it.

``pages.read`` is what a web page or a ticket is: free text that anybody may have written, and so not trusted.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.data_plane.tools import Arguments, Content, Outgoing, Reading, Result, tool
from interlock.canonical import JsonObject

MODULE = __name__

Line = Annotated[str, Field(min_length=1, max_length=300)]
Prose = Annotated[str, Field(max_length=4000), Content]


class PageArguments(Arguments):
    """Which page is read."""

    page: Line


class Page(Result):
    """Whoever wrote the page wrote all of this."""

    text: str = ""
    contact: str = ""


class Mail(Arguments):
    """A mail: who gets it decides, what it says is for people."""

    to: Line
    subject: Prose
    body: Prose
    cc: tuple[Line, ...] = ()


class Refund(Arguments):
    """Money for an account."""

    account: Line
    amount: int = Field(ge=1)
    reference: Prose = ""


class Hook(Arguments):
    """An address that is called, and what for."""

    url: Line
    event: Literal["created", "closed"]


class Lock(Arguments):
    """Whose account it is; the name becomes a part of a path."""

    login: str = Field(pattern="^[a-z0-9-]{1,40}$")


class Done(Result):
    """The target took it."""

    applied: bool = True


@tool("pages.read", version=1, effect="read", capabilities=["pages.read"])
async def read_page(arguments: PageArguments, reading: Reading) -> Page:
    """Reads a page of the wiki, which everybody may write."""
    entry = await reading.entry("pages", arguments.page) or {}
    return Page(text=str(entry.get("text", "")), contact=str(entry.get("contact", "")))


@tool("mail.send", version=1, effect="egress", capabilities=["messages.send"])
def send_mail(arguments: Mail) -> Outgoing[Done]:
    """Sends a mail."""
    return _posted("mail.send", arguments.model_dump(mode="json"))


@tool("refunds.pay", version=1, effect="write", capabilities=["money.send"])
def pay_refund(arguments: Refund) -> Outgoing[Done]:
    """Pays money back to an account."""
    return _posted("refunds.pay", arguments.model_dump(mode="json"))


@tool("hooks.call", version=1, effect="egress")
def call_hook(arguments: Hook) -> Outgoing[Done]:
    """Tells a system of the customer's what happened."""
    return _posted("hooks.call", arguments.model_dump(mode="json"))


@tool("accounts.lock", version=1, effect="write")
def lock_account(arguments: Lock) -> Outgoing[Done]:
    """Locks the account of a login."""
    return _posted(f"accounts.lock/{arguments.login}", {})


def _posted(where: str, body: JsonObject) -> Outgoing[Done]:
    return Outgoing(f"/v1/effects/{where}", body)
